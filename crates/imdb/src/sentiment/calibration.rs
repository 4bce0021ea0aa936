//! How well probabilities agree with what happened, and with each other.

use serde::{Deserialize, Serialize};

/// Number of equal bins of [0, 1] in [`Calibration::reliability`].
pub const BINS: usize = 10;

/// One bin of the reliability diagram.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityRow {
    /// The bin holds probabilities from here on.
    pub lower: f64,
    /// The bin holds probabilities below this (the last bin: up to this).
    pub upper: f64,
    /// Texts in the bin.
    pub count: usize,
    /// Their mean probability; 0 if there are none.
    pub mean_probability: f64,
    /// The share of them that is positive; 0 if there are none.
    pub positive_share: f64,
}

/// Accuracy and calibration of probabilities of a binary label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Texts.
    pub n: usize,
    /// Share of texts with p(positive) >= 0.5 exactly where the label is positive.
    pub accuracy: f64,
    /// Mean of -ln p(label), in nats.
    pub log_loss: f64,
    /// Expected calibration error: sum over bins of (count/n) |mean probability - positive share|
    /// (Naeini, Cooper and Hauskrecht 2015).
    pub ece: f64,
    /// The bins, which are also the histogram of the probabilities.
    pub reliability: Vec<ReliabilityRow>,
}

impl Calibration {
    /// Compares probabilities with labels, pair by pair.
    pub fn new(pairs: &[(f64, bool)]) -> Self {
        let n = pairs.len();
        let share = |sum: f64, count: usize| if count == 0 { 0.0 } else { sum / count as f64 };
        let mut bins = [(0, 0.0, 0.0); BINS];
        let (mut correct, mut log_loss) = (0.0, 0.0);
        for &(probability, positive) in pairs {
            let (count, sum, positives) = &mut bins[((probability * BINS as f64) as usize).min(BINS - 1)];
            *count += 1;
            *sum += probability;
            *positives += f64::from(u8::from(positive));
            correct += f64::from(u8::from((probability >= 0.5) == positive));
            let right = if positive { probability } else { 1.0 - probability };
            log_loss -= right.max(f64::MIN_POSITIVE).ln();
        }
        let reliability: Vec<ReliabilityRow> = bins
            .iter()
            .enumerate()
            .map(|(index, &(count, sum, positives))| ReliabilityRow {
                lower: index as f64 / BINS as f64,
                upper: (index + 1) as f64 / BINS as f64,
                count,
                mean_probability: share(sum, count),
                positive_share: share(positives, count),
            })
            .collect();
        let gaps = reliability
            .iter()
            .map(|row| row.count as f64 * (row.mean_probability - row.positive_share).abs());
        Self {
            n,
            accuracy: share(correct, n),
            log_loss: share(log_loss, n),
            ece: share(gaps.sum(), n),
            reliability,
        }
    }
}

/// How far two lists of probabilities of the same texts agree.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Texts.
    pub n: usize,
    /// Pearson correlation; NaN when either list is constant or empty.
    pub correlation: f64,
    /// Mean absolute difference.
    pub mean_difference: f64,
    /// Share of texts that both put on the same side of 0.5.
    pub same_side: f64,
}

impl Agreement {
    /// Compares two probabilities of each text.
    pub fn new(pairs: &[(f64, f64)]) -> Self {
        let n = pairs.len();
        let mean =
            |of: &dyn Fn(f64, f64) -> f64| pairs.iter().map(|&(a, b)| of(a, b)).sum::<f64>() / n as f64;
        let (mean_a, mean_b) = (mean(&|a, _| a), mean(&|_, b| b));
        let covariance = mean(&|a, b| (a - mean_a) * (b - mean_b));
        let variance_a = mean(&|a, _| (a - mean_a).powi(2));
        let variance_b = mean(&|_, b| (b - mean_b).powi(2));
        Self {
            n,
            correlation: covariance / (variance_a * variance_b).sqrt(),
            mean_difference: mean(&|a, b| (a - b).abs()),
            same_side: mean(&|a, b| f64::from(u8::from((a >= 0.5) == (b >= 0.5)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }

    #[test]
    fn calibration_by_hand() {
        // Bins 0.9-1: (0.95 + 0.97)/2 = 0.96 against 1/2; 0.2-0.3: 0.25 against 0; 0.5-0.6: 0.5 against 1.
        let found = Calibration::new(&[(0.95, true), (0.97, false), (0.25, false), (0.5, true)]);
        close(found.accuracy, 0.75);
        close(found.ece, (2.0 * 0.46 + 0.25 + 0.5) / 4.0);
        close(found.log_loss, -(0.95_f64.ln() + 0.03_f64.ln() + 0.75_f64.ln() + 0.5_f64.ln()) / 4.0);
        let counts: Vec<usize> = found.reliability.iter().map(|row| row.count).collect();
        assert_eq!(counts, [0, 0, 1, 0, 0, 1, 0, 0, 0, 2]);
        close(found.reliability[9].positive_share, 0.5);
        assert_eq!(Calibration::new(&[(1.0, true)]).reliability[9].count, 1, "1.0 belongs to the last bin");
    }

    #[test]
    fn agreement_by_hand() {
        // Differences 0.1, 0.2, 0; a second list that is 1 - the first one correlates by -1.
        let found = Agreement::new(&[(0.4, 0.5), (0.9, 0.7), (0.2, 0.2)]);
        close(found.mean_difference, 0.1);
        close(found.same_side, 2.0 / 3.0);
        close(Agreement::new(&[(0.1, 0.9), (0.4, 0.6), (0.8, 0.2)]).correlation, -1.0);
        assert!(Agreement::new(&[(0.5, 0.1), (0.5, 0.2)]).correlation.is_nan());
    }
}
