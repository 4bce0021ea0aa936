//! Drawing tokens against the cumulative distribution in f64.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use burn::tensor::Tensor;
use fused::OutputHead;
use proptest::prelude::*;
use support::{switched, wave};

/// The largest number below 1.
const LAST: f64 = 1.0 - f64::EPSILON / 2.0;

fn matrix(values: &[f32], rows: usize) -> Tensor<2> {
    Tensor::<1>::from_floats(values, &support::device()).reshape([rows, values.len() / rows])
}

fn sample(hidden: &[f32], head: &[f32], vocab: usize, uniforms: &[f64]) -> Vec<(usize, f32)> {
    sample_biased(hidden, head, None, vocab, uniforms)
}

fn sample_biased(
    hidden: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    vocab: usize,
    uniforms: &[f64],
) -> Vec<(usize, f32)> {
    let bias = bias.map(|bias| Tensor::from_floats(bias, &support::device()));
    let head = OutputHead { weight: matrix(weight, vocab), bias };
    let (tokens, logprobs) = fused::sample(matrix(hidden, uniforms.len()), head, uniforms);
    let tokens: Vec<usize> = tokens.into_data().iter::<i64>().map(|token| token as usize).collect();
    tokens.into_iter().zip(logprobs.into_data().try_to_vec::<f32>().unwrap()).collect()
}

/// Draws from one row of logits: they are the head, and every hidden state is 1.
fn sample_logits(logits: &[f32], uniforms: &[f64]) -> Vec<(usize, f32)> {
    sample(&vec![1.0; uniforms.len()], logits, logits.len(), uniforms)
}

/// Numbers in the middle of `count` equal parts of `[0, 1)`.
fn strata(count: usize) -> Vec<f64> {
    (0..count).map(|i| (i as f64 + 0.5) / count as f64).collect()
}

/// Checks that every uniform number lies in its token's part of `[0, 1)`, with room for rounding.
fn assert_inverts(rows: usize, width: usize, vocab: usize, amplitude: f64) {
    let (hidden, head) = (wave(rows * width, amplitude, 0.0), wave(vocab * width, amplitude, 1.0));
    // Out of order, so that a row cannot pass with another row's number.
    let uniforms: Vec<f64> = (0..rows).map(|i| (i as f64 * 0.618_034 + 0.01).fract()).collect();
    let bias = wave(vocab, amplitude, 2.0);
    for (enabled, bias) in [true, false].into_iter().flat_map(|on| [(on, None), (on, Some(bias.as_slice()))])
    {
        let _guard = switched(enabled);
        let drawn = sample_biased(&hidden, &head, bias, vocab, &uniforms);
        assert_eq!(drawn.len(), rows);
        for ((state, uniform), (token, logprob)) in hidden.chunks(width).zip(&uniforms).zip(drawn) {
            let logit = |w: &[f32]| state.iter().zip(w).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            let mut logits: Vec<f64> = head.chunks(width).map(logit).collect();
            logits.iter_mut().zip(bias.into_iter().flatten()).for_each(|(z, b)| *z += f64::from(*b));
            let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = logits.iter().map(|z| (z - top).exp()).sum();
            let p: Vec<f64> = logits.iter().map(|z| (z - top).exp() / total).collect();
            let below: f64 = p[..token].iter().sum();
            assert!(
                below - 5e-6 < *uniform && *uniform < below + p[token] + 5e-6,
                "fused {enabled}: {uniform} drew {token}, which has {below} below it and {}",
                p[token]
            );
            assert!((f64::from(logprob) - p[token].ln()).abs() < 1e-5 * (1.0 + top.abs()));
        }
    }
}

#[test]
fn odd_sizes_invert_the_distribution() {
    // One token; a part of a group; more rows than a chunk; more tokens than a block; GPT-2's vocabulary.
    let sizes = [[1, 1, 1], [1, 17, 5], [130, 9, 37], [65, 3, 513], [3, 5, 1100], [16, 8, 50_257]];
    for [rows, width, vocab] in sizes {
        assert_inverts(rows, width, vocab, 1.0);
    }
    assert_inverts(40, 20, 90, 4.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn odd_shapes_invert_the_distribution(rows in 1usize..140, width in 1usize..40, vocab in 1usize..700) {
        assert_inverts(rows, width, vocab, 1.0);
    }
}

#[test]
fn shares_are_the_probabilities() {
    // softmax(ln 1, ln 2, -inf, ln 5) = 1/8, 2/8, 0, 5/8, side by side and with gaps of groups and of blocks
    // between.
    let logits = [0.0, 2.0_f32.ln(), f32::NEG_INFINITY, 5.0_f32.ln()];
    for gap in [0, 40, 1600] {
        let mut padded = vec![f32::NEG_INFINITY; gap];
        for logit in logits {
            padded.push(logit);
            padded.extend(vec![f32::NEG_INFINITY; gap]);
        }
        for enabled in [true, false] {
            let _guard = switched(enabled);
            let mut counts = vec![0; padded.len()];
            for (token, logprob) in sample_logits(&padded, &strata(800)) {
                counts[token] += 1;
                let want = f64::from(padded[token]) - 8.0_f64.ln();
                assert!((f64::from(logprob) - want).abs() < 1e-6);
            }
            let shares: Vec<i32> = (0..4).map(|i| counts[gap + i * (gap + 1)]).collect();
            assert_eq!(shares, [100, 200, 0, 500], "fused {enabled}, gap {gap}");
        }
    }
}

#[test]
fn a_bias_alone_is_a_distribution() {
    // Products of zero: what is drawn is softmax(bias).
    let bias = [0.0, 2.0_f32.ln(), f32::NEG_INFINITY, 5.0_f32.ln()];
    for enabled in [true, false] {
        let _guard = switched(enabled);
        let drawn = sample_biased(&[0.0; 800], &[7.0; 4], Some(&bias), 4, &strata(800));
        let count = |token: usize| drawn.iter().filter(|one| one.0 == token).count();
        assert_eq!([0, 1, 2, 3].map(count), [100, 200, 0, 500], "fused {enabled}");
        assert!(drawn.iter().all(|(token, logprob)| (logprob - bias[*token] + 8.0_f32.ln()).abs() < 1e-6));
    }
}

#[test]
fn a_flat_vocabulary_is_drawn_evenly() {
    // Each of 50257 equal parts holds the number in its middle.
    let _guard = switched(true);
    let uniforms = strata(50_257);
    let middle: Vec<f64> = uniforms.iter().copied().step_by(101).collect();
    let drawn = sample_logits(&vec![3.0; uniforms.len()], &middle);
    for (i, (token, logprob)) in drawn.into_iter().enumerate() {
        assert_eq!(token, i * 101);
        assert!((f64::from(logprob) + 50_257_f64.ln()).abs() < 1e-6);
    }
}

#[test]
fn the_ends_belong_to_tokens_with_a_probability() {
    // A number beyond every part, as rounding can make it, is the last possible token's.
    let nothing = f32::NEG_INFINITY;
    for enabled in [true, false] {
        let _guard = switched(enabled);
        for gap in [1, 40, 1600] {
            let edge = vec![nothing; gap];
            let logits = [edge.as_slice(), &[0.1, -0.3, nothing, 0.2], &edge].concat();
            let tokens: Vec<usize> = sample_logits(&logits, &[0.0, LAST, 1.0 + 1e-9])
                .into_iter()
                .map(|(token, _)| token)
                .collect();
            assert_eq!(tokens, [gap, gap + 3, gap + 3], "fused {enabled}");
        }
    }
}

#[test]
fn extreme_logits_stay_finite() {
    for enabled in [true, false] {
        let _guard = switched(enabled);
        assert_eq!(sample_logits(&[-1e30, 1e30, 0.0], &[0.0, 0.5, LAST]), [(1, 0.0); 3]);
        assert_eq!(sample_logits(&[-1e30], &[0.5]), [(0, 0.0)]);
        // Half each, far from zero.
        let [low, high] = sample_logits(&[-3e4, -3e4], &[0.4, 0.6]).try_into().unwrap();
        assert_eq!((low.0, high.0), (0, 1));
        assert!((low.1 + 2.0_f32.ln()).abs() < 1e-6);
    }
}

#[test]
fn thread_count_does_not_change_a_bit() {
    let _guard = switched(true);
    let (rows, width, vocab) = (150, 12, 2100);
    let (hidden, head) = (wave(rows * width, 1.0, 0.0), wave(vocab * width, 1.0, 1.0));
    let uniforms = strata(rows);
    let bias = wave(vocab, 1.0, 2.0);
    for bias in [None, Some(bias.as_slice())] {
        let [one, two] = [1, 2].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| sample_biased(&hidden, &head, bias, vocab, &uniforms))
        });
        assert_eq!(one, two);
    }
}

#[test]
fn nan_is_not_hidden() {
    // WGSL lets a compiler assume that there is none, and Mesa's does.
    if std::env::var("DEVICE").is_ok_and(|name| name.starts_with("wgpu")) {
        return;
    }
    for enabled in [true, false] {
        let _guard = switched(enabled);
        let mut hidden = wave(12, 1.0, 0.0);
        hidden[5] = f32::NAN;
        let drawn = sample(&hidden, &wave(160, 1.0, 1.0), 40, &[0.3, 0.5, 0.7]);
        assert_eq!(drawn.iter().map(|one| one.1.is_nan()).collect::<Vec<_>>(), [false, true, false]);
    }
}

#[test]
fn no_rows_draw_nothing() {
    let _guard = switched(true);
    let (hidden, head) =
        (Tensor::<2>::zeros([0, 4], &support::device()), Tensor::zeros([7, 4], &support::device()));
    let (tokens, logprobs) = fused::sample(hidden, head, &[]);
    assert_eq!((tokens.dims(), logprobs.dims()), ([0], [0]));
}

#[test]
#[should_panic(expected = "hidden has 2 rows, there are 3 uniform numbers and 5 tokens")]
fn too_many_numbers_are_refused() {
    let zeros = |rows| Tensor::<2>::zeros([rows, 4], &support::device());
    let _ = fused::sample(zeros(2), zeros(5), &[0.1, 0.2, 0.3]);
}
