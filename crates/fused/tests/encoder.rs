//! The operations of encoders against burn's own operations on padded sequences with a mask, an f64
//! implementation in plain loops with its central differences, and `PyTorch`.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use burn::tensor::Tensor;
use fused::Packing;
use proptest::prelude::*;
use serde::Deserialize;
use support::{Case, distance, evaluate, inputs, switched, upstream};

/// `Phi(x)` by Simpson's rule from 0, in f64: an error below 1e-12 for |x| < 13.
fn normal(x: f64) -> f64 {
    let steps = 2000;
    let h = x / f64::from(steps);
    let density = |x: f64| (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let inner = (1..steps).map(|i| if i % 2 == 1 { 4.0 } else { 2.0 } * density(f64::from(i) * h));
    0.5 + h / 3.0 * (density(0.0) + inner.sum::<f64>() + density(x))
}

fn erf_gelu([n, d]: [usize; 2]) -> Case {
    Case {
        name: format!("erf_gelu {n} x {d}"),
        lens: vec![n * d],
        burn: Box::new(move |x| fused::erf_gelu(x[0].clone().reshape([n, d])).reshape([n * d])),
        exact: Box::new(|x| x[0].iter().map(|&x| x * normal(x)).collect()),
    }
}

/// Attention over sequences of the given lengths.
fn bidirectional(lengths: &[usize], [h, hd]: [usize; 2]) -> Case {
    let packing = Packing::new(lengths.iter().map(|&length| (length, Vec::new())));
    let (rows, d) = (packing.rows(), h * hd);
    let lengths = lengths.to_vec();
    Case {
        name: format!("bidirectional_attention over {lengths:?}, {h} heads of {hd}"),
        lens: vec![rows * 3 * d],
        burn: Box::new(move |x| {
            let qkv = x[0].clone().reshape([rows, 3 * d]);
            fused::bidirectional_attention(qkv, &packing, h).reshape([rows * d])
        }),
        exact: Box::new(move |x| {
            let at = |row: usize, part: usize, c: usize| x[0][row * 3 * d + part * d + c];
            let mut out = vec![0.0; rows * d];
            let mut start = 0;
            for &length in &lengths {
                let sequence = start..start + length;
                for (i, c) in sequence.clone().flat_map(|i| (0..d).map(move |c| (i, c))) {
                    let head = c / hd * hd;
                    let score = |j: usize| {
                        let pairs = (head..head + hd).map(|c| at(i, 0, c) * at(j, 1, c));
                        (pairs.sum::<f64>() / (hd as f64).sqrt()).exp()
                    };
                    let weights: Vec<f64> = sequence.clone().map(score).collect();
                    let total: f64 = weights.iter().sum();
                    let values = sequence.clone().zip(&weights).map(|(j, w)| w / total * at(j, 2, c));
                    out[i * d + c] = values.sum();
                }
                start += length;
            }
            out
        }),
    }
}

/// Sizes that are odd, tiny, longer than a band of the kernel, or of sequences of different lengths.
fn cases() -> Vec<Case> {
    vec![
        erf_gelu([1, 1]),
        erf_gelu([3, 37]),
        erf_gelu([33, 521]),
        bidirectional(&[1], [1, 1]),
        bidirectional(&[1, 1], [2, 5]),
        bidirectional(&[17, 17, 17], [2, 12]),
        bidirectional(&[3, 70, 1, 33], [3, 7]),
        bidirectional(&[130], [2, 16]),
    ]
}

#[test]
fn kernels_agree_with_the_padded_and_masked_path() {
    for case in cases() {
        let inputs = inputs(&case, 1.0);
        let [fused, reference] = [true, false].map(|enabled| {
            let _guard = switched(enabled);
            evaluate(&case, &inputs)
        });
        let outputs = distance(&fused.output, &reference.output);
        let gradients = distance(&fused.gradients[0], &reference.gradients[0]);
        assert!(outputs < 2e-5 && gradients < 2e-5, "{}: {outputs}, {gradients}", case.name);
    }
}

fn check_f64(case: &Case, amplitude: f64) {
    let inputs = inputs(case, amplitude);
    let outcome = evaluate(case, &inputs);
    let mut exact: Vec<Vec<f64>> = vec![inputs[0].iter().copied().map(f64::from).collect()];
    let close = |got: f32, want: f64, tolerance: f64, what: &str| {
        let error = (f64::from(got) - want).abs() / (1.0 + want.abs());
        assert!(error < tolerance, "{}: {what} is {got}, expected {want}", case.name);
    };
    let expected = (case.exact)(&exact);
    assert_eq!(expected.len(), outcome.output.len());
    for (i, (got, want)) in outcome.output.iter().zip(&expected).enumerate() {
        close(*got, *want, 1e-5, &format!("output {i}"));
    }
    let weights = upstream(expected.len());
    let step = 1e-5;
    for at in (0..exact[0].len()).step_by(exact[0].len().div_ceil(30)) {
        let x = exact[0][at];
        let mut loss = |to: f64| -> f64 {
            exact[0][at] = to;
            (case.exact)(&exact).iter().zip(&weights).map(|(y, w)| y * f64::from(*w)).sum()
        };
        let slope = (loss(x + step) - loss(x - step)) / (2.0 * step);
        exact[0][at] = x;
        close(outcome.gradients[0][at], slope, 5e-5, &format!("gradient {at}"));
    }
}

#[test]
fn outputs_and_gradients_match_f64() {
    let _guard = switched(true);
    let small = [
        erf_gelu([3, 37]),
        bidirectional(&[1], [1, 1]),
        bidirectional(&[3, 9, 1, 5], [3, 7]),
        bidirectional(&[70], [1, 4]),
    ];
    for case in small {
        check_f64(&case, 1.0);
    }
    check_f64(&erf_gelu([5, 20]), 12.0);
    check_f64(&bidirectional(&[20, 3], [2, 6]), 3.0);
}

#[test]
fn the_tail_of_gelu_keeps_its_digits() {
    let _guard = switched(true);
    let x = [-0.5_f32, -2.0, -4.0, -8.0];
    // x Phi(x), to ten digits, from tables of the normal distribution.
    let want = [-0.154_268_769_4, -0.045_500_263_9, -1.266_849_673e-4, -4.976_768_459e-15];
    // 1 + erf, of which the plain version is made, has lost them.
    let y = fused::erf_gelu(Tensor::<1>::from_floats(x.as_slice(), &support::cpu()).reshape([1, 4]));
    for (got, want) in y.into_data().try_to_vec::<f32>().unwrap().into_iter().zip(want) {
        assert!((f64::from(got) - want).abs() < 1e-5 * f64::abs(want), "{got} is not {want}");
    }
}

#[derive(Deserialize)]
struct Fixture {
    op: String,
    dims: Vec<usize>,
    amplitude: f64,
    /// `(index, value)` of some elements.
    output: Vec<(usize, f64)>,
    gradients: Vec<Vec<(usize, f64)>>,
}

#[test]
fn operations_agree_with_pytorch() {
    let fixtures: Vec<Fixture> = serde_json::from_str(include_str!("fixtures/encoder.json")).unwrap();
    assert!(fixtures.len() > 4);
    let _guard = switched(true);
    for Fixture { op, dims, amplitude, output, gradients } in fixtures {
        let case = match (op.as_str(), dims.as_slice()) {
            ("erf_gelu", &[n, d]) => erf_gelu([n, d]),
            ("bidirectional_attention", &[b, t, h, hd]) => bidirectional(&vec![t; b], [h, hd]),
            other => panic!("unknown operation {other:?}"),
        };
        let outcome = evaluate(&case, &inputs(&case, amplitude));
        for (found, expected) in [(&outcome.output, &output), (&outcome.gradients[0], &gradients[0])] {
            assert!(!expected.is_empty());
            for &(at, want) in expected {
                let error = (f64::from(found[at]) - want).abs() / (1.0 + want.abs());
                assert!(
                    error < support::tolerance(2e-5),
                    "{} at {at}: {}, PyTorch has {want}",
                    case.name,
                    found[at]
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_sequence_does_not_see_its_neighbours(
        lengths in prop::collection::vec(1usize..90, 1..5), h in 1usize..4, hd in 1usize..9,
    ) {
        let _guard = switched(true);
        let whole = bidirectional(&lengths, [h, hd]);
        let values = inputs(&whole, 1.0);
        let together = evaluate(&whole, &values).output;
        let mut start = 0;
        for &length in &lengths {
            let rows = |width: usize| start * width..(start + length) * width;
            let alone = &values[0][rows(3 * h * hd)];
            let device = support::device();
            let tensor = Tensor::<1>::from_floats(alone, &device);
            let alone = (bidirectional(&[length], [h, hd]).burn)(&[tensor]);
            let alone = alone.into_data().try_to_vec::<f32>().unwrap();
            prop_assert!(distance(&alone, &together[rows(h * hd)]) < 1e-6);
            start += length;
        }
    }
}

#[test]
fn thread_count_does_not_change_a_bit() {
    let _guard = switched(true);
    for case in [erf_gelu([80, 512]), bidirectional(&[70, 3, 129, 20], [3, 8])] {
        let inputs = inputs(&case, 1.0);
        let [one, two] = [1, 2].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| evaluate(&case, &inputs))
        });
        assert_eq!(one, two, "{}", case.name);
    }
}

#[test]
fn nan_is_not_hidden() {
    let _guard = switched(true);
    for case in [erf_gelu([1, 40]), bidirectional(&[3], [1, 2])] {
        let mut inputs = inputs(&case, 1.0);
        inputs[0][1] = f32::NAN;
        assert!(evaluate(&case, &inputs).output[0..2].iter().any(|v| v.is_nan()), "{}", case.name);
    }
}

#[test]
#[should_panic(expected = "several sequences share a prefix")]
fn a_shared_prefix_is_refused() {
    let packing = Packing::new([(2, vec![1, 1])]);
    let _ = fused::bidirectional_attention(Tensor::zeros([4, 6], &support::device()), &packing, 1);
}

/// No row is written by two, on any device.
#[test]
fn attention_repeats_to_the_bit() {
    let _guard = switched(true);
    for case in [bidirectional(&[3, 70, 1, 33], [3, 7]), bidirectional(&[9, 14, 5], [2, 6])] {
        let inputs = inputs(&case, 1.0);
        let bits = || {
            let outcome = evaluate(&case, &inputs);
            let all = outcome.gradients.into_iter().flatten().chain(outcome.output);
            all.map(f32::to_bits).collect::<Vec<_>>()
        };
        let first = bits();
        assert!((0..5).all(|_| bits() == first), "{}", case.name);
    }
}
