//! Estimates with intervals that hold the noise of seeds and of prompts together.

use std::f64::consts::TAU;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// A number with its 95% interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The estimate: the mean over seeds of what was observed.
    pub value: f64,
    /// The two-sided 95% interval. With one seed it holds the noise of prompts alone.
    pub interval: (f64, f64),
    /// The number of seeds.
    pub seeds: usize,
    /// The standard deviation between seeds; `None` with fewer than two.
    pub seed_sd: Option<f64>,
}

/// Where an estimate may lie: as many draws as there are replicates.
///
/// Seeds and prompts are crossed: each seed's policies answer the same prompts. With `v_s` the observed value
/// of seed s, S seeds, and `v_bs` its value in replicate b of the prompts,
///
/// ```text
/// draw_b = c + f (mean_s v_bs - c) + t_b s / sqrt(S),   c = mean_b mean_s v_bs
/// s²  = sum_s (v_s - mean(v))² / (S - 1)
/// I²  = sum_s Var_b(v_bs - mean_s v_bs) / (S - 1)
/// f²  = max(0, 1 - I² / (S Var_b(mean_s v_bs)))
/// ```
///
/// with `t_b` from Student's t distribution with S - 1 degrees of freedom. Drawing few seeds with replacement
/// would understate their spread by sqrt((S-1)/S) and their tails by those of t. I² is the interaction of
/// seeds and prompts, which both sums contain: f takes it out once (the two-way clustered variance of
/// Cameron, Gelbach and Miller 2011).
///
/// With one seed the draws are the replicates.
#[derive(Clone, Debug)]
pub(crate) struct Distribution {
    pub(crate) value: f64,
    pub(crate) seed_sd: Option<f64>,
    pub(crate) seeds: usize,
    /// In increasing order.
    draws: Vec<f64>,
}

impl Distribution {
    /// `observed[s]` and `replicates[b * S + s]`.
    pub(crate) fn new(observed: &[f64], replicates: &[f64], noise: &SeedNoise) -> Self {
        let seeds = observed.len();
        let value = mean(observed);
        let means: Vec<f64> = replicates.chunks_exact(seeds).map(mean).collect();
        if seeds < 2 {
            return Self::of_draws(value, means, seeds, None);
        }
        let centre = mean(&means);
        let count = seeds as f64;
        let interaction: f64 = (0..seeds)
            .map(|seed| {
                let own = replicates.chunks_exact(seeds).map(|row| row[seed] - mean(row));
                variance(&own.collect::<Vec<_>>())
            })
            .sum::<f64>()
            / (count - 1.0);
        let between = variance(observed);
        let of_prompts = variance(&means);
        let factor =
            if of_prompts > 0.0 { (1.0 - interaction / (count * of_prompts)).max(0.0).sqrt() } else { 0.0 };
        let scale = (between / count).sqrt();
        let t = noise.draws(seeds - 1);
        let draws = means.iter().zip(t).map(|(m, t)| centre + factor * (m - centre) + scale * t).collect();
        Self::of_draws(value, draws, seeds, Some(between.sqrt()))
    }

    fn of_draws(value: f64, mut draws: Vec<f64>, seeds: usize, seed_sd: Option<f64>) -> Self {
        draws.sort_by(f64::total_cmp);
        Self { value, seed_sd, seeds, draws }
    }

    pub(crate) fn estimate(&self) -> Estimate {
        let interval = (quantile(&self.draws, 0.025), quantile(&self.draws, 0.975));
        Estimate { value: self.value, interval, seeds: self.seeds, seed_sd: self.seed_sd }
    }

    /// The share of draws above `threshold`; a tie counts half.
    pub(crate) fn probability_above(&self, threshold: f64) -> f64 {
        let above = self.draws.iter().map(|draw| {
            // Rounding must not turn a tie into a win.
            let gap = draw - threshold;
            if gap.abs() < 1e-12 { 0.5 } else { f64::from(gap > 0.0) }
        });
        above.sum::<f64>() / self.draws.len() as f64
    }
}

/// Draws from Student's t distributions, the same for every statistic, so that its draws stay coherent.
pub(crate) struct SeedNoise(Vec<Vec<f64>>);

impl SeedNoise {
    /// `count` draws for each number of degrees of freedom from 1 to `most`.
    pub(crate) fn new(most: usize, count: usize, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let draw = |rng: &mut ChaCha8Rng, degrees: usize| {
            let squares: f64 = (0..degrees).map(|_| standard_normal(rng).powi(2)).sum();
            standard_normal(rng) / (squares / degrees as f64).sqrt()
        };
        // Each draw with its mirror image, so that intervals are centred.
        let pairs = |rng: &mut ChaCha8Rng, degrees: usize| -> Vec<f64> {
            (0..count.div_ceil(2)).flat_map(|_| [draw(rng, degrees)].map(|t| [t, -t])).flatten().collect()
        };
        Self((1..=most).map(|degrees| pairs(&mut rng, degrees)).collect())
    }

    fn draws(&self, degrees: usize) -> &[f64] {
        &self.0[degrees - 1]
    }
}

/// A standard normal draw (Box and Muller 1958).
pub(crate) fn standard_normal(rng: &mut ChaCha8Rng) -> f64 {
    // 1 - u lies in (0, 1], where the logarithm is finite.
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (TAU * rng.random::<f64>()).cos()
}

/// The arithmetic mean; NaN for no value.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The variance with n - 1; 0 for fewer than two values.
pub(crate) fn variance(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = mean(values);
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0)
}

/// The standard error of the mean, s / sqrt(n) with s over n - 1; 0 for fewer than two values.
pub fn standard_error(values: &[f64]) -> f64 {
    (variance(values) / values.len().max(1) as f64).sqrt()
}

/// The quantile of sorted values, linear between neighbours (type 7 of Hyndman and Fan 1996).
pub(crate) fn quantile(sorted: &[f64], probability: f64) -> f64 {
    let position = probability * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}
