//! Paired comparisons of two methods at the same KL.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::intervals::{Estimate, mean};
use crate::{Envelope, EvalRow, Method, usable};

/// How to resample: the number of replicates and the seed of the generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Replicates; 2000 give a percentile to about 1% of coverage.
    pub resamples: usize,
    /// Seed of the `ChaCha8Rng`.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 2000, seed: 0 }
    }
}

/// The difference in reward, `first` - `second`, between two methods' mean envelopes at one KL.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The method whose reward counts as positive.
    pub first: Method,
    /// The method that it is compared with.
    pub second: Method,
    /// The KL, in nats.
    pub kl: f64,
    /// The difference over the seeds that both methods have, with the paired 95% t interval over seeds.
    pub difference: Estimate,
    /// The 95% bootstrap interval over seeds and the scores' standard errors.
    pub bootstrap: (f64, f64),
    /// The share of bootstrap replicates in which `first` is ahead; a tie counts half.
    pub probability_ahead: f64,
}

#[derive(Clone, Copy)]
struct Point {
    kl: f64,
    score: f64,
    score_se: f64,
}

/// Compares `first` with `second` at each KL of `kls`, in nats, on the seeds that both have.
///
/// For replicate b: draw seeds with replacement, the same draw for both methods because a seed shares its
/// data and prompts; draw each point's score from N(score, `score_se`²); take the envelopes above `start`;
///
/// ```text
/// d_b = mean over the drawn seeds of E_first(K) - E_second(K)
/// ```
///
/// A maximum over scores with added noise is inflated, so the replicates are shifted by their mean inflation,
/// which centres them on the difference that is reported. The interval is their 0.025 and 0.975 quantiles
/// (Efron and Tibshirani 1993, ch. 13).
///
/// With one seed the bootstrap holds the noise of evaluation only, not that of training. With few seeds it
/// is too narrow (by sqrt((n-1)/n) at least), which the t interval is not. Scores on shared prompts have
/// positively correlated errors, which drawing them apart overstates.
///
/// Returns an empty list if no seed is common to both or nothing is to be resampled.
pub fn compare(
    rows: &[EvalRow],
    (first, second): (Method, Method),
    start: f64,
    kls: &[f64],
    bootstrap: Bootstrap,
) -> Vec<Comparison> {
    let pairs = common_seeds(rows, first, second);
    if pairs.is_empty() || bootstrap.resamples == 0 {
        return Vec::new();
    }
    let mut replicates = replicate(&pairs, start, kls, bootstrap);
    let observed: Vec<Vec<f64>> =
        pairs.iter().map(|(a, b)| differences(&exact(a), &exact(b), start, kls)).collect();
    kls.iter()
        .zip(&mut replicates)
        .enumerate()
        .filter_map(|(index, (&kl, replicates))| {
            let per_seed: Vec<f64> = observed.iter().map(|seed| seed[index]).collect();
            let difference = Estimate::of(&per_seed)?;
            let shift = mean(replicates) - difference.mean;
            for value in replicates.iter_mut() {
                *value -= shift;
            }
            replicates.sort_by(f64::total_cmp);
            Some(Comparison {
                first,
                second,
                kl,
                difference,
                bootstrap: (quantile(replicates, 0.025), quantile(replicates, 0.975)),
                probability_ahead: mean(&replicates.iter().map(|d| ahead(*d)).collect::<Vec<_>>()),
            })
        })
        .collect()
}

/// The points of both methods for each seed that both have.
fn common_seeds(rows: &[EvalRow], first: Method, second: Method) -> Vec<(Vec<Point>, Vec<Point>)> {
    let mut seeds: BTreeMap<u64, (Vec<Point>, Vec<Point>)> = BTreeMap::new();
    for row in rows.iter().filter(|row| usable(row)) {
        let score_se = if row.score_se.is_finite() { row.score_se } else { 0.0 };
        let point = Point { kl: row.sequence_kl, score: row.score, score_se };
        if row.method == first {
            seeds.entry(row.seed).or_default().0.push(point);
        }
        if row.method == second {
            seeds.entry(row.seed).or_default().1.push(point);
        }
    }
    seeds.into_values().filter(|(a, b)| !a.is_empty() && !b.is_empty()).collect()
}

/// `replicates[k][b]`: the difference at `kls[k]` in replicate b.
fn replicate(
    pairs: &[(Vec<Point>, Vec<Point>)],
    start: f64,
    kls: &[f64],
    bootstrap: Bootstrap,
) -> Vec<Vec<f64>> {
    let mut rng = ChaCha8Rng::seed_from_u64(bootstrap.seed);
    let mut replicates = vec![Vec::with_capacity(bootstrap.resamples); kls.len()];
    for _ in 0..bootstrap.resamples {
        let mut sums = vec![0.0; kls.len()];
        for _ in pairs {
            let (a, b) = &pairs[rng.random_range(0..pairs.len())];
            let (a, b) = (noisy(a, &mut rng), noisy(b, &mut rng));
            let seed = differences(&a, &b, start, kls);
            sums.iter_mut().zip(seed).for_each(|(sum, difference)| *sum += difference);
        }
        for (replicates, sum) in replicates.iter_mut().zip(sums) {
            replicates.push(sum / pairs.len() as f64);
        }
    }
    replicates
}

fn differences(first: &[(f64, f64)], second: &[(f64, f64)], start: f64, kls: &[f64]) -> Vec<f64> {
    let envelope = |points: &[(f64, f64)]| Envelope::new(start, points.iter().copied());
    let (first, second) = (envelope(first), envelope(second));
    kls.iter().map(|&kl| first.at(kl) - second.at(kl)).collect()
}

fn exact(points: &[Point]) -> Vec<(f64, f64)> {
    points.iter().map(|point| (point.kl, point.score)).collect()
}

fn noisy(points: &[Point], rng: &mut ChaCha8Rng) -> Vec<(f64, f64)> {
    points.iter().map(|point| (point.kl, point.score + point.score_se * standard_normal(rng))).collect()
}

/// A standard normal draw (Box and Muller 1958).
fn standard_normal(rng: &mut ChaCha8Rng) -> f64 {
    // 1 - u lies in (0, 1], where the logarithm is finite.
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (TAU * rng.random::<f64>()).cos()
}

fn ahead(difference: f64) -> f64 {
    // Rounding in the shift must not turn a tie into a win.
    if difference.abs() < 1e-12 { 0.5 } else { f64::from(difference > 0.0) }
}

/// The quantile of sorted values, linear between neighbours (type 7 of Hyndman and Fan 1996).
fn quantile(sorted: &[f64], probability: f64) -> f64 {
    let position = probability * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}
