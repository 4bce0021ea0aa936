//! Ceilings against enumeration, brute force and numeric minimisation.
use frontier::best_of_n::{best_of_n_curve, expected_max, kl_bound, kl_estimate};
use frontier::floor::{kl_floor, largest_reward, violations};
use frontier::optimum::{optimum_at, optimum_curve, optimum_reward};
use frontier::{EvalRow, FrontierRow, Method, PromptSamples, Reference};
use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-10
}

/// The reward of pi* and its KL from the reference, by their definitions, on an enumerated space.
fn enumerated(reference: &[f64], rewards: &[f64], lambda: f64) -> (f64, f64) {
    let weights: Vec<f64> = reference.iter().zip(rewards).map(|(p, r)| p * (lambda * r).exp()).collect();
    let total: f64 = weights.iter().sum();
    let policy: Vec<f64> = weights.iter().map(|w| w / total).collect();
    let reward = policy.iter().zip(rewards).map(|(p, r)| p * r).sum();
    let kl = policy.iter().zip(reference).map(|(p, q)| p * (p / q).ln()).sum();
    (reward, kl)
}

/// The jackknife by its definition, on the empirical distribution of `scores` and of all but one of them.
fn jackknifed(scores: &[f64], lambda: f64) -> (f64, f64) {
    let plug_in = |scores: &[f64]| enumerated(&vec![1.0 / scores.len() as f64; scores.len()], scores, lambda);
    let without = |i: usize| plug_in(&[&scores[..i], &scores[i + 1..]].concat());
    let m = scores.len() as f64;
    let all = plug_in(scores);
    let rest: Vec<(f64, f64)> = (0..scores.len()).map(without).collect();
    let corrected = |whole: f64, sum: f64| m * whole - (m - 1.0) * sum / m;
    (
        corrected(all.0, rest.iter().map(|pair| pair.0).sum()),
        corrected(all.1, rest.iter().map(|pair| pair.1).sum()),
    )
}

#[test]
fn reweighting_is_the_jackknife_of_enumeration() {
    let samples: Vec<f64> = [vec![0.9; 1], vec![0.2; 5], vec![0.6; 2]].concat();
    let uniform = vec![0.1, 0.4, 0.5, 1.0];
    let both = PromptSamples::new(vec![samples.clone(), uniform.clone()]).unwrap();
    for lambda in [0.0, 0.7, 3.0, 25.0, 400.0] {
        let (first, second) = (jackknifed(&samples, lambda), jackknifed(&uniform, lambda));
        let point = optimum_at(&both, lambda);
        assert!(close(point.reward, f64::midpoint(first.0, second.0)), "{lambda}: {point:?}");
        assert!((point.sequence_kl - f64::midpoint(first.1, second.1)).abs() < 1e-8, "{lambda}: {point:?}");
        // s.e. of two values: |a - b| / 2.
        assert!(close(point.reward_se, (first.0 - second.0).abs() / 2.0));
    }
    let start = optimum_at(&both, 0.0);
    assert!(close(start.effective_samples, 6.0) && close(start.sequence_kl, 0.0));
}

#[test]
fn the_jackknife_takes_most_of_the_bias_away() {
    // Rewards 0, 0.25, ..., 1, equally likely; 64 samples; lambda 4. NumPy finds biases of -0.0034 and
    // -0.0042 without the jackknife, and below 0.0005 with it.
    let rewards: Vec<f64> = (0..5).map(|i| f64::from(i) / 4.0).collect();
    let truth = enumerated(&[0.2; 5], &rewards, 4.0);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut draw = || (0..64).map(|_| rewards[rng.random_range(0..5)]).collect::<Vec<f64>>();
    let scores: Vec<Vec<f64>> = (0..100_000).map(|_| draw()).collect();
    let plug_in = scores.iter().map(|scores| enumerated(&[1.0 / 64.0; 64], scores, 4.0));
    let sums = plug_in.fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
    let point = optimum_at(&PromptSamples::new(scores).unwrap(), 4.0);
    for (plug_in, corrected, truth, se) in [
        (sums.0 / 1e5, point.reward, truth.0, point.reward_se),
        (sums.1 / 1e5, point.sequence_kl, truth.1, point.sequence_kl_se),
    ] {
        let (before, after) = ((plug_in - truth).abs(), (corrected - truth).abs());
        assert!(before > 4.0 * se, "plug-in {plug_in}, truth {truth}, s.e. {se}");
        assert!(after < before / 2.0, "corrected {corrected}, truth {truth}, s.e. {se}");
    }
}

#[test]
fn reweighting_survives_huge_lambda() {
    let samples = PromptSamples::new(vec![vec![-1e3, 0.0, 0.0, 1e3]]).unwrap();
    let point = optimum_at(&samples, 1e3);
    assert!(point.reward.is_finite() && point.sequence_kl.is_finite());
    assert_eq!(point.effective_samples, 1.0);
}

#[test]
fn the_curve_rises_until_too_few_samples_carry_it() {
    let scores: Vec<f64> = (0..100).map(|i| f64::from(i) / 99.0).collect();
    let curve = optimum_curve(&PromptSamples::new(vec![scores]).unwrap(), 8.0);
    assert!(close(curve[0].sequence_kl, 0.0));
    assert!(close(curve[0].reward, 0.5));
    assert!(curve.windows(2).all(|w| w[1].reward > w[0].reward && w[1].sequence_kl > w[0].sequence_kl));
    let last = curve.last().unwrap();
    assert!(last.effective_samples >= 8.0 && last.effective_samples < 9.0, "{last:?}");
    let middle = f64::midpoint(curve[9].sequence_kl, curve[10].sequence_kl);
    assert!(close(optimum_reward(&curve, middle).unwrap(), f64::midpoint(curve[9].reward, curve[10].reward)));
    assert_eq!(optimum_reward(&curve, last.sequence_kl), Some(last.reward));
    assert_eq!(optimum_reward(&curve, last.sequence_kl + 0.01), None);
    assert_eq!(optimum_reward(&[], 1.0), None);
    // Constant scores: nothing to gain, whatever lambda.
    let flat = optimum_curve(&PromptSamples::new(vec![vec![0.5; 10]]).unwrap(), 8.0);
    assert!(flat.iter().all(|point| close(point.reward, 0.5) && point.sequence_kl.abs() < 1e-10));
}

/// The mean maximum over all subsets of n, one bit mask after the other.
fn brute_force_max(scores: &[f64], n: usize) -> f64 {
    let subsets = (0_u32..1 << scores.len()).filter(|mask| mask.count_ones() as usize == n);
    let largest = |mask: u32| {
        let chosen = scores.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1);
        chosen.map(|(_, score)| *score).fold(f64::NEG_INFINITY, f64::max)
    };
    let maxima: Vec<f64> = subsets.map(largest).collect();
    maxima.iter().sum::<f64>() / maxima.len() as f64
}

#[test]
fn order_statistics_by_hand() {
    // Of {1, 2, 4}: pairs have maxima 2, 4, 4.
    assert!(close(expected_max(&[4.0, 1.0, 2.0], 2).unwrap(), 10.0 / 3.0));
    assert_eq!(expected_max(&[4.0, 1.0, 2.0], 3), Some(4.0));
    assert_eq!(expected_max(&[5.0], 1), Some(5.0));
    assert_eq!([expected_max(&[1.0], 0), expected_max(&[1.0], 2)], [None, None]);
    assert_eq!(kl_bound(1), 0.0);
    assert!(close(kl_bound(4), 4.0_f64.ln() - 0.75));
}

#[test]
fn the_kl_of_best_of_n_counts_ties() {
    // Without ties, the bound, whatever the scores.
    for n in [1, 2, 7] {
        assert!((kl_estimate(&[0.3, 0.1, 0.9, 0.5], n) - kl_bound(n)).abs() < 1e-12);
    }
    // Two values of 1/2 each: the best of 2 has the lower with 1/4, the upper with 3/4.
    let two = 0.25 * 0.5_f64.ln() + 0.75 * 1.5_f64.ln();
    assert!(close(kl_estimate(&[0.0, 1.0, 0.0, 1.0], 2), two));
    assert!(close(kl_estimate(&[0.7; 5], 3), 0.0));
    // Half tied at the bottom, the rest without ties: (1/2)^n ln((1/2)^(n-1)) below, and above u = 1/2 the
    // integral of n u^(n-1) ln(n u^(n-1)) by a fine midpoint sum.
    let n = 3;
    let cells = 100_000;
    let sum: f64 = (0..cells)
        .map(|i| 0.5 + 0.5 * (f64::from(i) + 0.5) / f64::from(cells))
        .map(|u| 3.0 * u * u * (3.0 * u * u).ln())
        .sum();
    let expected = 0.125 * 0.25_f64.ln() + 0.5 * sum / f64::from(cells);
    assert!((kl_estimate(&[0.0, 0.0, 0.0, 0.1, 0.2, 0.3], n) - expected).abs() < 1e-6);
}

#[test]
fn best_of_n_goes_to_half_of_the_samples() {
    let scores = vec![(0..8).map(f64::from).collect(), (0..9).map(f64::from).collect()];
    let samples = PromptSamples::new(scores.clone()).unwrap();
    let curve = best_of_n_curve(&samples);
    assert_eq!(curve.iter().map(|point| point.n).collect::<Vec<_>>(), [1, 2, 4]);
    let expected = f64::midpoint(brute_force_max(&scores[0], 4), brute_force_max(&scores[1], 4));
    assert!(close(curve[2].reward, expected));
}

proptest! {
    #[test]
    fn best_of_n_equals_brute_force(scores in prop::collection::vec(0.0..1.0_f64, 1..11), n in 1..11_usize) {
        prop_assume!(n <= scores.len());
        let found = expected_max(&scores, n).unwrap();
        prop_assert!((found - brute_force_max(&scores, n)).abs() < 1e-12);
    }

    #[test]
    fn no_policy_is_beyond_the_floor(
        reference in prop::collection::vec(0.01..1.0_f64, 4),
        policy in prop::collection::vec(0.01..1.0_f64, 4),
        rewards in prop::collection::vec(0.0..1.0_f64, 4),
    ) {
        let normalise = |v: &[f64]| v.iter().map(|x| x / v.iter().sum::<f64>()).collect::<Vec<_>>();
        let (reference, policy) = (normalise(&reference), normalise(&policy));
        let mean = |p: &[f64]| p.iter().zip(&rewards).map(|(p, r)| p * r).sum::<f64>();
        let kl: f64 = policy.iter().zip(&reference).map(|(p, q)| p * (p / q).ln()).sum();
        prop_assert!(kl_floor(mean(&policy), mean(&reference)) <= kl + 1e-12);
    }

    #[test]
    fn largest_reward_inverts_the_floor(p in 0.01..0.99_f64, kl in 0.0..3.0_f64) {
        let q = largest_reward(kl, p);
        prop_assert!(q >= p);
        if q < 1.0 {
            prop_assert!((kl_floor(q, p) - kl).abs() < 1e-6);
        } else {
            prop_assert!(kl >= -p.ln());
        }
    }
}

#[test]
fn the_floor_is_the_least_kl_of_all_policies_of_that_reward() {
    // Four responses of reward 0, 0, 1, 1 and reference mean 0.48. The policies of mean q are (a, 1-q-a, b,
    // q-b); the least KL among 500 x 500 of them.
    let (q, reference) = (0.9, [0.20, 0.32, 0.30, 0.18]);
    let kl = |a: f64, b: f64| {
        let policy = [a, 1.0 - q - a, b, q - b];
        policy.iter().zip(reference).map(|(p, r)| p * (p / r).ln()).sum::<f64>()
    };
    let grid = |i: i32, mass: f64| mass * (f64::from(i) + 0.5) / 500.0;
    let kls = (0..500).flat_map(|i| (0..500).map(move |j| kl(grid(i, 1.0 - q), grid(j, q))));
    let least = kls.fold(f64::INFINITY, f64::min);
    let floor = kl_floor(q, 0.48);
    assert!(floor <= least && least < floor + 1e-5, "floor {floor}, least {least}");
    // 0.9 ln(0.9/0.48) + 0.1 ln(0.1/0.52), and the same for 0.99.
    assert!((floor - 0.400_882).abs() < 1e-6, "{floor}");
    assert!((kl_floor(0.99, 0.48) - 0.677_167).abs() < 1e-6, "{}", kl_floor(0.99, 0.48));
    assert_eq!(kl_floor(0.3, 0.3), 0.0);
    assert!(close(kl_floor(1.0, 0.25), 4.0_f64.ln()));
    assert_eq!(kl_floor(0.5, 0.0), f64::INFINITY);
    assert!(kl_floor(1.1, 0.5).is_nan());
}

fn point(score: f64, score_se: f64, sequence_kl: f64, sequence_kl_se: f64) -> FrontierRow {
    let eval = EvalRow {
        method: Method::DPO,
        knob: "beta".into(),
        value: 0.1,
        seed: 0,
        step: 10,
        tokens: 0,
        score,
        score_se,
        judge: f64::NAN,
        judge_se: f64::NAN,
        sequence_kl,
        sequence_kl_se,
        k1: sequence_kl,
        k1_se: 0.0,
        length: 0.0,
        length_se: 0.0,
        learned: f64::NAN,
        distinct_2: f64::NAN,
        pair_accuracy: f64::NAN,
    };
    FrontierRow { run: format!("score {score}"), eval }
}

#[test]
fn violations_are_beyond_two_standard_errors() {
    let reference = Reference { mean: 0.48, se: 0.0 };
    // The floor at 0.9 is 0.4009. Only errors in KL: 0.35 is 0.0509 short.
    let found = |rows: &[FrontierRow], reference| violations(rows, reference).len();
    assert_eq!(found(&[point(0.9, 0.0, 0.35, 0.025)], reference), 1);
    assert_eq!(found(&[point(0.9, 0.0, 0.35, 0.026)], reference), 0);
    // Only errors in the score: the slope at 0.9 is ln(9 * 52/48) = 2.2773, so 2 s.e. = 4.5546 se.
    assert_eq!(found(&[point(0.9, 0.0111, 0.35, 0.0)], reference), 1);
    assert_eq!(found(&[point(0.9, 0.0113, 0.35, 0.0)], reference), 0);
    // Only errors in the reference: the slope is 0.1/0.52 - 0.9/0.48 = -1.6827.
    assert_eq!(found(&[point(0.9, 0.0, 0.35, 0.0)], Reference { se: 0.0150, ..reference }), 1);
    assert_eq!(found(&[point(0.9, 0.0, 0.35, 0.0)], Reference { se: 0.0153, ..reference }), 0);
    // At the start, on the safe side, at the edge of the range, and not finite.
    let harmless = [point(0.49, 0.01, 0.0, 0.0), point(0.9, 0.0, 0.41, 0.0), point(1.0, 0.0, 0.74, 0.0)];
    assert_eq!(found(&harmless, reference), 0);
    assert_eq!(found(&[point(f64::NAN, 0.0, 0.0, 0.0)], reference), 0);
    let violation = &violations(&[point(1.0, f64::NAN, 0.5, 0.0)], reference)[0];
    assert_eq!((violation.run.as_str(), violation.step, violation.se), ("score 1", 10, 0.0));
}

#[test]
fn samples_are_checked() {
    let message = |scores| PromptSamples::new(scores).unwrap_err().to_string();
    assert!(message(vec![]).contains("no prompt was given"));
    assert!(message(vec![vec![0.0, 1.0], vec![0.5]]).contains("prompt 1: 1 scores, at least 2"));
    assert!(message(vec![vec![0.0, f64::NAN]]).contains("prompt 0: a score is NaN"));
    let samples = PromptSamples::new(vec![vec![0.0, 1.0], vec![0.5, 1.0]]).unwrap();
    let reference = Reference::from_samples(&samples);
    assert_eq!((reference.mean, reference.se), (0.625, 0.125));
}
