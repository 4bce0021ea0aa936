//! The kernels against the same mathematics in burn's own operations.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use burn::tensor::Tensor;
use fused::{Heads, OutputHead};
use proptest::prelude::*;
use support::{Case, Outcome, distance, evaluate, inputs, odd_cases, switched, wave};

fn both_paths(case: &Case, amplitude: f64) -> [Outcome; 2] {
    let inputs = inputs(case, amplitude);
    [true, false].map(|enabled| {
        let _guard = switched(enabled);
        evaluate(case, &inputs)
    })
}

fn assert_parity(case: &Case) {
    // Both paths in f32 differ by rounding: so many units of `1 + |value|`.
    let tolerance = support::tolerance(2e-5) as f32;
    let [fused, reference] = both_paths(case, 1.0);
    let d = distance(&fused.output, &reference.output);
    assert!(d < tolerance, "{}: outputs differ by {d}", case.name);
    for (i, (a, b)) in fused.gradients.iter().zip(&reference.gradients).enumerate() {
        let d = distance(a, b);
        assert!(d < tolerance, "{}: gradients of input {i} differ by {d}", case.name);
    }
}

#[test]
fn every_operation_agrees_with_the_reference_path() {
    for case in odd_cases() {
        assert_parity(&case);
    }
}

#[test]
fn gpt2_vocabulary_agrees_with_the_reference_path() {
    assert_parity(&support::logprobs([3, 8, 50_257]));
    // More rows than one chunk of the recomputing backward.
    assert_parity(&support::logprobs([150, 3, 16_500]));
    assert_parity(&support::biased_logprobs([150, 3, 16_500]));
}

#[test]
fn more_rows_than_one_partial_sum_agree_with_the_reference_path() {
    // Three partial sums of dW, db, dgamma and dbeta, the last one short; dW longer than one piece of their
    // total.
    assert_parity(&support::linear([1030, 70, 66]));
    assert_parity(&support::layer_norm([1030, 7]));
    assert_parity(&support::product([1030, 70, 66]));
    assert_parity(&support::affine([1030, 70, 66]));
    assert_parity(&support::rms_norm([1030, 7]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn odd_shapes_agree(n in 1usize..70, d in 1usize..50, h in 1usize..4, v in 1usize..90) {
        assert_parity(&support::linear([n, d, v]));
        assert_parity(&support::layer_norm([n, d + 1]));
        assert_parity(&support::gelu([n, d]));
        assert_parity(&support::attention([h, n, h, 1 + d / 4]));
        assert_parity(&support::grouped_attention([h, n, 3 * h, h, 1 + d / 4]));
        assert_parity(&support::product([n, d, v]));
        assert_parity(&support::affine_add([n, d, v]));
        assert_parity(&support::rms_norm([n, d + 1]));
        assert_parity(&support::rope([n, 2 * h, h, 2 + 2 * (d / 8)]));
        assert_parity(&support::rope_of_neighbours([n, h, 2 + d, 2 + 2 * (d / 4)]));
        assert_parity(&support::swiglu([n, d]));
        assert_parity(&support::logprobs([n, d, v]));
        assert_parity(&support::biased_logprobs([n, d, v]));
        assert_parity(&support::embedding([v, d, n]));
    }
}

#[test]
fn thread_count_does_not_change_a_bit() {
    // The threads are the CPU's; on a GPU the gradient of an embedding adds in any order.
    if !support::is_cpu() {
        return;
    }
    let cases = [
        support::linear([700, 40, 500]),
        support::layer_norm([300, 40]),
        support::gelu([80, 512]),
        support::attention([4, 40, 3, 8]),
        support::long_branches(3, 8),
        support::grouped_attention([4, 40, 6, 2, 8]),
        support::long_branches(Heads { queries: 6, keys: 2 }, 8),
        support::product([700, 40, 500]),
        support::product_add([700, 40, 500]),
        support::product([9, 40, 500]),
        support::affine_add([700, 40, 500]),
        support::affine([9, 40, 500]),
        support::rms_norm([300, 40]),
        support::rope([300, 4, 2, 16]),
        support::rope_of_neighbours([300, 4, 16, 8]),
        support::swiglu([80, 512]),
        support::logprobs([600, 8, 300]),
        support::logprobs([200, 4, 17_000]),
        support::biased_logprobs([600, 8, 300]),
        support::biased_logprobs([200, 4, 17_000]),
        support::embedding([30, 8, 200]),
    ];
    let _guard = switched(true);
    for case in cases {
        let inputs = inputs(&case, 1.0);
        let [one, two] = [1, 2].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| evaluate(&case, &inputs))
        });
        assert_eq!(one, two, "{}", case.name);
    }
}

#[test]
fn huge_logits_stay_finite() {
    let case = support::logprobs([5, 8, 100]);
    let [fused, reference] = both_paths(&case, 16.0);
    assert!(fused.output.iter().chain(fused.gradients.iter().flatten()).all(|v| v.is_finite()));
    assert!(fused.output.iter().any(|&v| v < -500.0), "the logits are not large");
    assert!(distance(&fused.output, &reference.output) < support::tolerance(2e-5) as f32);
}

#[test]
fn nan_is_not_hidden() {
    let _guard = switched(true);
    let cases = [
        support::logprobs([2, 3, 40]),
        support::gelu([1, 40]),
        support::attention([1, 3, 1, 2]),
        support::rms_norm([1, 40]),
        support::rope([1, 1, 1, 2]),
        support::rope_of_neighbours([1, 1, 2, 2]),
        support::affine([1, 2, 3]),
        support::biased_logprobs([2, 3, 40]),
        support::swiglu([1, 40]),
    ];
    for case in cases {
        let mut inputs = inputs(&case, 1.0);
        inputs[0][1] = f32::NAN;
        assert!(evaluate(&case, &inputs).output[0..2].iter().any(|v| v.is_nan()), "{}", case.name);
    }
}

#[test]
fn logprobs_with_and_without_gradients_are_the_same_bits() {
    let _guard = switched(true);
    let cases = [[300, 16, 500], [140, 4, 17_000]];
    for case in
        cases.into_iter().flat_map(|sizes| [support::logprobs(sizes), support::biased_logprobs(sizes)])
    {
        let inputs = inputs(&case, 2.0);
        let plain: Vec<Tensor<1>> =
            inputs.iter().map(|x| Tensor::from_floats(x.as_slice(), &support::device())).collect();
        let plain = (case.burn)(&plain).into_data().try_to_vec::<f32>().unwrap();
        let apart = distance(&plain, &evaluate(&case, &inputs).output);
        // Bits are the CPU kernels' promise; elsewhere the two may add in other orders.
        assert!(apart <= if support::is_cpu() { 0.0 } else { 1e-6 }, "{}: {apart}", case.name);
    }
}

#[test]
fn constants_get_no_gradient_and_variables_keep_theirs() {
    let _guard = switched(true);
    let device = support::device().autodiff();
    let x = Tensor::<1>::from_floats(wave(12, 1.0, 0.0).as_slice(), &device).reshape([3, 4]);
    let w = Tensor::<1>::from_floats(wave(8, 1.0, 1.0).as_slice(), &device).reshape([4, 2]).require_grad();
    let b = Tensor::<1>::zeros([2], &device);
    let grads = fused::linear(x.clone(), w.clone(), b).sum().backward();
    assert!(x.grad(&grads).is_none());
    // d sum(x W) / dW: the column sums of x, in every column.
    let sums = x.sum_dim(0).into_data().try_to_vec::<f32>().unwrap();
    let dw = w.grad(&grads).unwrap().into_data().try_to_vec::<f32>().unwrap();
    for (i, pair) in dw.chunks(2).enumerate() {
        assert!((pair[0] - sums[i]).abs() < 1e-5 && (pair[1] - sums[i]).abs() < 1e-5);
    }
}

#[test]
fn views_are_read_through_their_strides() {
    let _guard = switched(true);
    let device = support::device();
    let wide = Tensor::<1>::from_floats(wave(60, 1.0, 0.0).as_slice(), &device).reshape([6, 10]);
    let dense = |t: Tensor<2>| {
        let dims = t.dims();
        Tensor::<2>::from_data(t.into_data(), &device).reshape(dims)
    };
    for view in [wide.clone().transpose(), wide.clone().slice([1..4, 2..7]), wide.slice([2..4, 0..10])] {
        let expected = fused::gelu(dense(view.clone()));
        assert_eq!(fused::gelu(view).into_data(), expected.into_data());
    }
}

#[test]
fn the_switch_is_read_for_flex_only() {
    let _guard = switched(true);
    // Libtorch computes all by burn's own operations.
    let fused = std::env::var("DEVICE").map_or(true, |name| name != "tch");
    assert_eq!(fused::is_fused(&support::device()), fused);
    assert_eq!(fused::is_fused(&support::device().autodiff()), fused);
    fused::set_enabled(false);
    assert!(!fused::is_fused(&support::device()));
    fused::set_enabled(true);
}

#[test]
#[should_panic(expected = "token id 5 is not in 0..5")]
fn a_target_outside_the_vocabulary_is_refused() {
    let _guard = switched(true);
    // Another device would have to be waited for.
    let device = support::cpu();
    let hidden = Tensor::<2>::zeros([1, 2], &device);
    let target = support::ids(&[5], &Tensor::zeros([1], &device));
    let _ = fused::target_logprobs(hidden, Tensor::zeros([5, 2], &device), target);
}

#[test]
#[should_panic(expected = "target_logprobs: the head has 5 rows and 4 biases")]
fn a_bias_for_other_tokens_is_refused() {
    let _guard = switched(true);
    let zeros = |rows| Tensor::<2>::zeros([rows, 2], &support::device());
    let bias = Some(Tensor::zeros([4], &support::device()));
    let target = support::ids(&[0], &Tensor::zeros([1], &support::device()));
    let _ = fused::target_logprobs(zeros(1), OutputHead { weight: zeros(5), bias }, target);
}

#[test]
#[should_panic(expected = "rotation: 6 of 4 columns are not pairs of a head")]
fn a_rotation_of_more_than_a_head_is_refused() {
    let _ = fused::Rotation::of_neighbours(&[0], 4, 6, 100.0);
}

#[test]
#[should_panic(expected = "20 columns are not q|k|v of 3 heads")]
fn a_head_count_that_does_not_divide_is_refused() {
    let _ =
        fused::causal_attention(Tensor::zeros([2, 20], &support::device()), &fused::Packing::equal(1, 2), 3);
}

#[test]
#[should_panic(expected = "3 heads of queries do not share 2 of keys")]
fn heads_that_cannot_be_shared_are_refused() {
    let qkv = Tensor::zeros([2, 28], &support::device());
    let _ = fused::causal_attention(qkv, &fused::Packing::equal(1, 2), Heads { queries: 3, keys: 2 });
}
