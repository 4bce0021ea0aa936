//! Calibration of predicted probabilities, as data for a table.

use serde::{Deserialize, Serialize};

/// One bin of predicted probabilities.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationBin {
    /// Lower end of the bin.
    pub low: f64,
    /// Upper end of the bin.
    pub high: f64,
    /// Predictions in the bin.
    pub count: usize,
    /// Mean prediction in the bin; `None` if it is empty.
    pub predicted: Option<f64>,
    /// Share of true labels in the bin; `None` if it is empty.
    pub observed: Option<f64>,
}

/// Sorts (predicted probability, label) into `bins` bins of equal width over \[0, 1\].
///
/// Predictions outside \[0, 1\] fall into the end bins; NaN is left out. No bins give an empty table.
pub fn calibration_table(predictions: &[(f64, bool)], bins: usize) -> Vec<CalibrationBin> {
    let mut sums = vec![(0_usize, 0.0, 0_usize); bins];
    for (probability, label) in predictions.iter().filter(|(probability, _)| !probability.is_nan()) {
        if let Some(sum) = sums.get_mut(bin_of(*probability, bins)) {
            *sum = (sum.0 + 1, sum.1 + probability, sum.2 + usize::from(*label));
        }
    }
    let edge = |index: usize| index as f64 / bins as f64;
    sums.iter()
        .enumerate()
        .map(|(index, &(count, predicted, positive))| CalibrationBin {
            low: edge(index),
            high: edge(index + 1),
            count,
            predicted: (count > 0).then(|| predicted / count as f64),
            observed: (count > 0).then(|| positive as f64 / count as f64),
        })
        .collect()
}

/// Expected calibration error: the mean over predictions of |predicted - observed| of their bin (Guo et al.
/// 2017). `None` for an empty table.
pub fn calibration_error(table: &[CalibrationBin]) -> Option<f64> {
    let total: usize = table.iter().map(|bin| bin.count).sum();
    let gaps = table.iter().filter_map(|bin| {
        let gap = (bin.predicted? - bin.observed?).abs();
        Some(gap * bin.count as f64)
    });
    (total > 0).then(|| gaps.sum::<f64>() / total as f64)
}

/// The index of the bin of `value` among `bins` equal bins of \[0, 1\]; 1 belongs to the last.
pub(crate) fn bin_of(value: f64, bins: usize) -> usize {
    let index = (value.max(0.0) * bins as f64).floor() as usize;
    index.min(bins.saturating_sub(1))
}
