//! Intervals and comparisons: by hand, and their coverage on simulated data.
use frontier::comparison::{Bootstrap, Comparison, compare};
use frontier::intervals::{Estimate, t_quantile_975};
use frontier::{EvalRow, Method};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::synthetic::{self, noise};

#[test]
fn quantiles_of_student_t() {
    // From printed tables.
    let table = [
        (1, 12.7062),
        (2, 4.3027),
        (10, 2.2281),
        (11, 2.2010),
        (12, 2.1788),
        (20, 2.0860),
        (30, 2.0423),
        (120, 1.9799),
    ];
    for (degrees, quantile) in table {
        let found = t_quantile_975(degrees);
        assert!((found - quantile).abs() < 1e-4, "{degrees}: {found}, expected {quantile}");
    }
    assert_eq!(t_quantile_975(0), f64::INFINITY);
}

#[test]
fn an_interval_needs_two_values() {
    // Mean 4, s = 2, s.e. 2 / sqrt(3).
    let estimate = Estimate::of(&[2.0, 4.0, 6.0]).unwrap();
    let (low, high) = estimate.interval.unwrap();
    assert_eq!((estimate.mean, estimate.seeds), (4.0, 3));
    assert!((high - 4.0 - 4.3027 * 2.0 / 3.0_f64.sqrt()).abs() < 1e-12 && (low + high - 8.0).abs() < 1e-12);
    assert_eq!(Estimate::of(&[5.0]), Some(Estimate { mean: 5.0, interval: None, seeds: 1 }));
    assert_eq!(Estimate::of(&[]), None);
}

#[test]
fn the_t_interval_covers_the_mean_as_often_as_it_says() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for seeds in [2, 3, 5] {
        let covers = |rng: &mut ChaCha8Rng| {
            let values: Vec<f64> = (0..seeds).map(|_| 0.7 + 0.05 * noise(rng)).collect();
            let (low, high) = Estimate::of(&values).unwrap().interval.unwrap();
            low <= 0.7 && 0.7 <= high
        };
        let covered = (0..2000).filter(|_| covers(&mut rng)).count();
        // 1900 expected; five binomial standard deviations are 49.
        assert!((1851..=1949).contains(&covered), "{seeds} seeds: {covered} of 2000");
    }
}

fn row(method: Method, seed: u64, sequence_kl: f64, score: f64, score_se: f64) -> EvalRow {
    EvalRow {
        method,
        knob: "beta".into(),
        value: 0.1,
        seed,
        step: 1,
        tokens: 1,
        score,
        score_se,
        judge: 0.5,
        judge_se: 0.0,
        sequence_kl,
        sequence_kl_se: 0.0,
        k1: sequence_kl,
        k1_se: 0.0,
        length: 8.0,
        length_se: 0.0,
    }
}

const PAIR: (Method, Method) = (Method::Dpo, Method::Ppo);

#[test]
fn a_comparison_without_noise_is_the_difference_of_envelopes() {
    let rows = [
        row(Method::Dpo, 0, 0.8, 0.75, 0.0),
        row(Method::Ppo, 0, 0.9, 0.5, 0.0),
        row(Method::Ppo, 0, 1.5, 1.0, 0.0),
        // Seeds that only one of the two has are left out.
        row(Method::Dpo, 1, 0.1, 1.0, 0.0),
        row(Method::Ppo, 2, 0.1, 1.0, 0.0),
    ];
    let found = compare(&rows, PAIR, 0.25, &[0.5, 1.0, 2.0], Bootstrap { resamples: 50, seed: 1 });
    let of = |c: &Comparison| (c.difference.mean, c.bootstrap, c.probability_ahead, c.difference.seeds);
    assert_eq!(of(&found[0]), (0.0, (0.0, 0.0), 0.5, 1));
    assert_eq!(of(&found[1]), (0.25, (0.25, 0.25), 1.0, 1));
    assert_eq!(of(&found[2]), (-0.25, (-0.25, -0.25), 0.0, 1));
    assert_eq!(found[0].difference.interval, None);
    assert_eq!(compare(&rows[..1], PAIR, 0.25, &[1.0], Bootstrap::default()), []);
}

#[test]
fn one_point_of_known_error_gives_its_normal_interval() {
    // The difference is N(0.1, 0.03² + 0.04²): s.d. 0.05. The start is so low that no envelope stays there.
    let rows = [row(Method::Dpo, 0, 0.5, 0.7, 0.03), row(Method::Ppo, 0, 0.5, 0.6, 0.04)];
    let bootstrap = Bootstrap { resamples: 20_000, seed: 5 };
    let found = compare(&rows, PAIR, 0.0, &[1.0], bootstrap)[0];
    assert!((found.bootstrap.0 - (0.1 - 1.96 * 0.05)).abs() < 0.004, "{found:?}");
    assert!((found.bootstrap.1 - (0.1 + 1.96 * 0.05)).abs() < 0.004, "{found:?}");
    // P(z > -2) = 0.97725.
    assert!((found.probability_ahead - 0.977_25).abs() < 0.005, "{found:?}");
    assert_eq!(found, compare(&rows, PAIR, 0.0, &[1.0], bootstrap)[0]);
    assert_ne!(found, compare(&rows, PAIR, 0.0, &[1.0], Bootstrap { seed: 6, ..bootstrap })[0]);
}

#[test]
fn many_noisy_points_do_not_push_the_interval_off_the_difference() {
    // Thirty equal points: their resampled maximum is inflated by about 2 s.e., here 0.04.
    let mut rows: Vec<EvalRow> = (0..30).map(|_| row(Method::Dpo, 0, 0.5, 0.7, 0.02)).collect();
    rows.push(row(Method::Ppo, 0, 0.5, 0.7, 0.02));
    let found = compare(&rows, PAIR, 0.0, &[1.0], Bootstrap { resamples: 4000, seed: 1 })[0];
    assert_eq!(found.difference.mean, 0.0);
    assert!((found.bootstrap.0 + found.bootstrap.1).abs() < 0.006, "{found:?}");
    assert!((found.probability_ahead - 0.5).abs() < 0.05, "{found:?}");
}

#[test]
fn swapping_the_methods_turns_the_sign() {
    let rows: Vec<EvalRow> = synthetic::sweep(3, 4).into_iter().map(|row| row.eval).collect();
    let bootstrap = Bootstrap { resamples: 200, seed: 2 };
    let forward = compare(&rows, PAIR, synthetic::START, &[1.0], bootstrap)[0];
    let backward = compare(&rows, (PAIR.1, PAIR.0), synthetic::START, &[1.0], bootstrap)[0];
    assert!((forward.difference.mean + backward.difference.mean).abs() < 1e-12);
    assert!((forward.probability_ahead + backward.probability_ahead - 1.0).abs() < 0.1);
    assert_eq!(forward.difference.seeds, 3);
}

#[test]
fn the_bootstrap_covers_the_true_difference() {
    // Eight seeds; between seeds a s.d. of 0.03 for each method, and an evaluation error of 0.01.
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut covered = 0;
    for trial in 0..200 {
        let mut rows = Vec::new();
        for seed in 0..8 {
            for (method, truth) in [(Method::Dpo, 0.8), (Method::Ppo, 0.7)] {
                let score = truth + 0.03 * noise(&mut rng) + 0.01 * noise(&mut rng);
                rows.push(row(method, seed, 0.9, score, 0.01));
            }
        }
        let (low, high) =
            compare(&rows, PAIR, 0.0, &[1.0], Bootstrap { resamples: 300, seed: trial })[0].bootstrap;
        covered += usize::from(low <= 0.1 && 0.1 <= high);
    }
    // Percentile intervals over 8 seeds are known to fall a little short of 95%.
    assert!((172..=198).contains(&covered), "{covered} of 200");
}
