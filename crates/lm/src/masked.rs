//! Reductions over real tokens only: the mask is applied before the sum, never after the mean.

use burn::tensor::Tensor;

/// `sum(x m) / sum(m)`; zero where the mask is empty. Shapes `[B, R]`.
pub fn mean(values: Tensor<2>, mask: Tensor<2>) -> Tensor<1> {
    let count = mask.clone().sum().clamp_min(1.0);
    (values * mask).sum() / count
}

/// Masked mean and (population) variance of host rows.
fn moments(rows: &[Vec<f32>]) -> (f64, f64) {
    let count = rows.iter().map(Vec::len).sum::<usize>().max(1) as f64;
    let values = || rows.iter().flatten().map(|&value| f64::from(value));
    let mean = values().sum::<f64>() / count;
    let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    (mean, variance)
}

/// Floor of a variance before its square root is divided by, as in lm-human-preferences.
const VARIANCE_FLOOR: f64 = 1e-8;

/// `(x - mean) / sd` over all real tokens: what advantages get. Ragged rows hold real tokens only, so
/// there is nothing to mask out.
pub fn whiten(rows: &mut [Vec<f32>]) {
    let (mean, variance) = moments(rows);
    let scale = (variance + VARIANCE_FLOOR).sqrt().recip();
    for value in rows.iter_mut().flatten() {
        *value = ((f64::from(*value) - mean) * scale) as f32;
    }
}

/// `x / sd` over all real tokens, the mean kept: what rewards get, because a shift of a reward that is summed
/// over a sequence would pay for length.
pub fn scale_to_unit_variance(rows: &mut [Vec<f32>]) {
    let (_, variance) = moments(rows);
    let scale = (variance + VARIANCE_FLOOR).sqrt().recip();
    for value in rows.iter_mut().flatten() {
        *value = (f64::from(*value) * scale) as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Values 1, 2, 3 and 6: mean 3, population variance (4 + 1 + 0 + 9) / 4 = 3.5.
    fn rows() -> Vec<Vec<f32>> {
        vec![vec![1.0, 2.0, 3.0], vec![], vec![6.0]]
    }

    #[test]
    fn whitening_shifts_and_scales() {
        let mut rows = rows();
        whiten(&mut rows);
        let sd = 3.5_f32.sqrt();
        for (got, want) in rows.iter().flatten().zip([-2.0 / sd, -1.0 / sd, 0.0, 3.0 / sd]) {
            assert!((got - want).abs() < 1e-6, "{got} is not {want}");
        }
    }

    #[test]
    fn scaling_keeps_the_mean_in_place() {
        let mut rows = rows();
        scale_to_unit_variance(&mut rows);
        let sd = 3.5_f32.sqrt();
        for (got, want) in rows.iter().flatten().zip([1.0 / sd, 2.0 / sd, 3.0 / sd, 6.0 / sd]) {
            assert!((got - want).abs() < 1e-6, "{got} is not {want}");
        }
    }
}
