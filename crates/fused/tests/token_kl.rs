//! KL divergences of the next token against arithmetic in f64 and against burn's own operations.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use burn::tensor::Tensor;
use fused::OutputHead;
use proptest::prelude::*;
use support::{distance, ids, switched, wave};

/// Two policies over one vocabulary, flat and row by row.
struct Pair {
    rows: usize,
    vocab: usize,
    /// Hidden states `[rows, width]` and head `[vocab, width]` of the policy and of the reference.
    policies: [(Vec<f32>, Vec<f32>); 2],
    /// What is added to their logits, `[vocab]`.
    biases: [Option<Vec<f32>>; 2],
}

impl Pair {
    /// Unrelated policies of unequal width.
    fn apart(rows: usize, width: usize, vocab: usize, amplitude: f64) -> Self {
        let policies = [(width, 0.0), (width + 1, 2.0)].map(|(width, phase)| {
            (wave(rows * width, amplitude, phase), wave(vocab * width, amplitude, phase + 1.0))
        });
        Self { rows, vocab, policies, biases: [None, None] }
    }

    /// The same with biases for those that `biased` marks, of one direction and two sizes.
    fn with_biases(self, biased: [bool; 2]) -> Self {
        let bias = |i: usize| wave(self.vocab, 0.5 + i as f64, 3.0);
        Self { biases: [0, 1].map(|i| biased[i].then(|| bias(i))), ..self }
    }

    /// A policy whose head is a step of `size` from the reference's.
    fn near(rows: usize, width: usize, vocab: usize, size: f64) -> Self {
        let (hidden, head) = (wave(rows * width, 1.0, 0.0), wave(vocab * width, 1.0, 1.0));
        let step = wave(vocab * width, size, 2.0);
        let moved = head.iter().zip(step).map(|(a, b)| a + b).collect();
        Self { rows, vocab, policies: [(hidden.clone(), moved), (hidden, head)], biases: [None, None] }
    }

    fn targets(&self) -> Vec<usize> {
        (0..self.rows).map(|i| (i * 7919 + self.vocab - 1) % self.vocab).collect()
    }

    /// Exact KL and k1 on the path that the switch says.
    fn measured(&self) -> [Vec<f32>; 2] {
        let matrix = |values: &[f32], rows: usize| {
            let flat = Tensor::<1>::from_floats(values, &support::device());
            flat.reshape([rows, values.len() / rows])
        };
        let [(hidden, head), (reference_hidden, reference_head)] = [0, 1].map(|i| {
            let (hidden, weight) = &self.policies[i];
            let bias = self.biases[i].as_ref();
            let bias = bias.map(|bias| Tensor::from_floats(bias.as_slice(), &support::device()));
            (matrix(hidden, self.rows), OutputHead { weight: matrix(weight, self.vocab), bias })
        });
        let targets = ids(&self.targets(), &Tensor::zeros([1], &support::device()));
        let (exact, k1) = fused::token_kl(hidden, head, reference_hidden, reference_head, targets);
        [exact, k1].map(|t| t.into_data().try_to_vec::<f32>().unwrap())
    }

    /// The same in f64, term by term as it is defined.
    fn expected(&self) -> [Vec<f64>; 2] {
        let logprobs = |i: usize, row: usize| -> Vec<f64> {
            let ((hidden, head), bias) = (&self.policies[i], &self.biases[i]);
            let width = hidden.len() / self.rows;
            let state = &hidden[row * width..(row + 1) * width];
            let logit = |w: &[f32]| state.iter().zip(w).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            let mut logits: Vec<f64> = head.chunks(width).map(logit).collect();
            logits.iter_mut().zip(bias.iter().flatten()).for_each(|(z, b)| *z += f64::from(*b));
            let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let log_total = logits.iter().map(|z| (z - top).exp()).sum::<f64>().ln();
            logits.iter().map(|z| z - top - log_total).collect()
        };
        let row = |(row, target): (usize, usize)| {
            let [p, q] = [0, 1].map(|i| logprobs(i, row));
            let exact: f64 = p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum();
            (exact, p[target] - q[target])
        };
        let (exact, k1) = self.targets().into_iter().enumerate().map(row).unzip();
        [exact, k1]
    }
}

fn on(enabled: bool, pair: &Pair) -> [Vec<f32>; 2] {
    let _guard = switched(enabled);
    pair.measured()
}

fn assert_both_paths(pair: &Pair, tolerance: f64) {
    let expected = pair.expected();
    for enabled in [true, false] {
        for (name, (got, expected)) in ["exact", "k1"].iter().zip(on(enabled, pair).iter().zip(&expected)) {
            assert_eq!(got.len(), expected.len());
            for (row, (got, expected)) in got.iter().zip(expected).enumerate() {
                let error = (f64::from(*got) - expected).abs() / (1.0 + expected.abs());
                assert!(error < tolerance, "fused {enabled}, {name} {row}: {got}, expected {expected}");
            }
        }
    }
}

#[test]
fn odd_sizes_match_f64_on_both_paths() {
    // One token; a part of a group; more rows than a chunk; more tokens than a block; GPT-2's vocabulary.
    let sizes = [[1, 1, 1], [1, 17, 5], [130, 9, 37], [65, 3, 513], [3, 5, 1100], [3, 8, 50_257]];
    for [rows, width, vocab] in sizes {
        for biased in [[false, false], [true, true], [true, false], [false, true]] {
            assert_both_paths(&Pair::apart(rows, width, vocab, 1.0).with_biases(biased), 1e-5);
        }
    }
}

#[test]
fn large_logits_match_f64() {
    // Logits of some hundreds, rounded to 3e-5: probabilities of one and far below the smallest float.
    let pair = Pair::apart(20, 30, 90, 5.0);
    assert!(pair.expected()[0].iter().any(|&kl| kl > 100.0));
    assert_both_paths(&pair, 1e-4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn odd_shapes_agree(rows in 1usize..140, width in 1usize..40, vocab in 1usize..700) {
        let pair = Pair::apart(rows, width, vocab, 1.0);
        let (fused, reference) = (on(true, &pair), on(false, &pair));
        for (fused, reference) in fused.iter().zip(&reference) {
            prop_assert!(f64::from(distance(fused, reference)) < support::tolerance(2e-5));
        }
        prop_assert!(fused[0].iter().all(|&kl| kl >= 0.0));
    }
}

#[test]
fn near_policies_keep_their_precision() {
    // Around 1e-7 nats a sum of `p r` in f32 is mostly rounding; what remains here is that of the logits. On
    // another device it is that of its exponential, and nothing can be said of the nearer policy.
    let sizes: &[_] = if support::is_cpu() { &[(1e-2, 2e-4), (3e-4, 1e-2)] } else { &[(1e-2, 1e-2)] };
    for &(size, tolerance) in sizes {
        let pair = Pair::near(40, 24, 700, size);
        let [expected, _] = pair.expected();
        let [got, _] = on(true, &pair);
        for (got, expected) in got.iter().zip(expected) {
            assert!((1e-9..1e-2).contains(&expected));
            assert!((f64::from(*got) / expected - 1.0).abs() < tolerance, "{got}, expected {expected}");
        }
    }
}

#[test]
fn a_policy_is_at_zero_from_itself() {
    let same = Pair::near(70, 19, 1300, 0.0);
    let bias = Some(wave(1300, 1.0, 3.0));
    let biased = Pair { biases: [bias.clone(), bias], ..Pair::near(70, 19, 1300, 0.0) };
    for values in [same, biased].iter().flat_map(|pair| on(true, pair)) {
        assert_eq!(values, vec![0.0; 70]);
    }
}

#[test]
fn thread_count_does_not_change_a_bit() {
    let _guard = switched(true);
    let pair = Pair::apart(200, 12, 1300, 1.0).with_biases([true, true]);
    let [one, two] = [1, 2].map(|threads| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| pair.measured())
    });
    assert_eq!(one, two);
}

#[test]
fn nan_is_not_hidden() {
    for policy in 0..2 {
        let mut pair = Pair::apart(3, 4, 40, 1.0);
        pair.policies[policy].0[5] = f32::NAN;
        for values in on(true, &pair) {
            assert_eq!(values.iter().map(|v| v.is_nan()).collect::<Vec<_>>(), [false, true, false]);
        }
    }
}

#[test]
#[should_panic(
    expected = "the policy has 2 rows over 3 tokens, the reference 2 over 4, and there are 2 targets"
)]
fn unequal_vocabularies_are_refused() {
    let zeros = |rows| Tensor::<2>::zeros([rows, 5], &support::device());
    let targets = ids(&[0, 0], &Tensor::zeros([1], &support::device()));
    let _ = fused::token_kl(zeros(2), zeros(3), zeros(2), zeros(4), targets);
}
