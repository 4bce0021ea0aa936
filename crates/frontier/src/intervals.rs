//! Means with 95% Student-t intervals over seeds.

use serde::{Deserialize, Serialize};

/// A mean over seeds with its two-sided 95% interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// The interval; `None` with fewer than two seeds.
    pub interval: Option<(f64, f64)>,
    /// The number of seeds.
    pub seeds: usize,
}

impl Estimate {
    /// mean ± t_{0.975, n-1} s / sqrt(n), where s is the standard deviation with n - 1.
    ///
    /// The interval assumes that the seeds' values are independent and close to normal, and is not cut to
    /// the range of rewards. `None` for no value.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let mean = mean(values);
        let interval = (values.len() >= 2).then(|| {
            let half = t_quantile_975(values.len() - 1) * standard_error(values);
            (mean - half, mean + half)
        });
        Some(Self { mean, interval, seeds: values.len() })
    }
}

/// The arithmetic mean; NaN for no value.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The standard error of the mean, s / sqrt(n) with s over n - 1; 0 for fewer than two values.
pub fn standard_error(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let count = values.len() as f64;
    (squares / (count - 1.0) / count).sqrt()
}

/// The 0.975 quantile of Student's t distribution.
///
/// A table up to 10 degrees of freedom, beyond it the expansion about the normal quantile (Abramowitz and
/// Stegun 1964, 26.7.5), right to 4 digits there. 0 degrees give infinity.
pub fn t_quantile_975(degrees_of_freedom: usize) -> f64 {
    const TABLE: [f64; 11] =
        [f64::INFINITY, 12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281];
    if let Some(quantile) = TABLE.get(degrees_of_freedom) {
        return *quantile;
    }
    let z = 1.959_963_985_f64;
    let n = degrees_of_freedom as f64;
    let g1 = (z.powi(3) + z) / 4.0;
    let g2 = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let g3 = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    let g4 = (79.0 * z.powi(9) + 776.0 * z.powi(7) + 1482.0 * z.powi(5) - 1920.0 * z.powi(3) - 945.0 * z)
        / 92_160.0;
    z + g1 / n + g2 / n.powi(2) + g3 / n.powi(3) + g4 / n.powi(4)
}
