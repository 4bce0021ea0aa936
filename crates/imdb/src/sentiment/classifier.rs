//! A sentiment classifier: a linear function of the set of n-grams of a text, calibrated by length.
//!
//! With S the n-grams of the text that the vocabulary knows and n = max(|S|, 1):
//!
//! ```text
//! evidence = sum_{j in S} w_j / sqrt(n) + b
//! logit    = (a_0 + a_1 ln(n / 100)) evidence + c
//! p(positive) = sigma(logit)
//! ```
//!
//! w and b come from a logistic regression on whole reviews and on windows of them; a and c from a second one
//! on reviews that the first has not seen, so that the probabilities mean what they say for short texts as
//! for long ones.

use feedback::{FeedbackError, TextScorer};
use half::f16;
use rayon::prelude::*;

use crate::sentiment::calibration::Agreement;
use crate::sentiment::features::{FeatureKind, Vocabulary};
use crate::sentiment::logistic::sigmoid;

/// Number of n-grams at which the slope of the calibration is `a_0`.
const REFERENCE_NGRAMS: f64 = 100.0;

/// The second regression's numbers: logit = (`slope` + `slope_by_length` ln(n / 100)) evidence + `offset`,
/// with n held within the lengths that it was fitted on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LengthCalibration {
    pub(super) slope: f32,
    pub(super) slope_by_length: f32,
    pub(super) offset: f32,
    pub(super) fewest: f32,
    pub(super) most: f32,
}

impl LengthCalibration {
    /// ln(n / 100) of a text with this many known n-grams.
    pub(super) fn log_length(&self, ngrams: usize) -> f64 {
        ((ngrams as f64).clamp(self.fewest as f64, self.most as f64).max(1.0) / REFERENCE_NGRAMS).ln()
    }

    /// The factor on the evidence of a text with this many known n-grams.
    pub(super) fn slope_at(&self, ngrams: usize) -> f64 {
        self.slope as f64 + self.slope_by_length as f64 * self.log_length(ngrams)
    }
}

/// A trained classifier; see the module for the equation.
#[derive(Debug, Clone, PartialEq)]
pub struct SentimentClassifier {
    pub(super) kind: FeatureKind,
    pub(super) vocabulary: Vocabulary,
    /// One weight for each key of the vocabulary, exact in half precision.
    pub(super) weights: Vec<f32>,
    pub(super) bias: f32,
    pub(super) calibration: LengthCalibration,
}

impl SentimentClassifier {
    /// Which n-grams it reads.
    pub fn kind(&self) -> FeatureKind {
        self.kind
    }

    /// Number of n-grams with a weight.
    pub fn features(&self) -> usize {
        self.weights.len()
    }

    /// The evidence and the number of known n-grams.
    pub(super) fn evidence(&self, text: &str) -> (f64, usize) {
        let hashes = self.kind.hashes(text);
        let (mut sum, mut known) = (0.0, 0_usize);
        for column in self.vocabulary.columns(&hashes) {
            sum += self.weights[column as usize] as f64;
            known += 1;
        }
        (sum / (known.max(1) as f64).sqrt() + self.bias as f64, known)
    }

    /// ln(p / (1 - p)).
    pub fn logit(&self, text: &str) -> f64 {
        let (evidence, known) = self.evidence(text);
        self.calibration.slope_at(known) * evidence + self.calibration.offset as f64
    }

    /// p(positive) in [0, 1].
    pub fn probability(&self, text: &str) -> f64 {
        sigmoid(self.logit(text))
    }

    /// p(positive) of many texts, on all cores, in their order.
    pub fn probabilities<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Vec<f64> {
        texts.par_iter().map(|text| self.probability(text.as_ref())).collect()
    }

    /// How far two classifiers agree on some texts, such as one trained afresh and the shipped one.
    pub fn agreement<T: AsRef<str> + Sync>(&self, other: &Self, texts: &[T]) -> Agreement {
        let pairs: Vec<(f64, f64)> =
            self.probabilities(texts).into_iter().zip(other.probabilities(texts)).collect();
        Agreement::new(&pairs)
    }
}

impl TextScorer for SentimentClassifier {
    /// p(positive) in [0, 1] of prompt and response together.
    fn score(&self, texts: &[(String, String)]) -> Result<Vec<f32>, FeedbackError> {
        let whole = |(prompt, response): &(String, String)| {
            self.probability(&[prompt.as_str(), response].concat()) as f32
        };
        Ok(texts.par_iter().map(whole).collect())
    }
}

/// Rounds to the nearest half-precision number.
pub(super) fn half_precision(value: f64) -> f32 {
    f16::from_f64(value).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logit_by_hand() {
        let keys = FeatureKind::WordBigrams.hashes("good film");
        let calibration =
            LengthCalibration { slope: 2.0, slope_by_length: 0.5, offset: 0.25, fewest: 1.0, most: 1000.0 };
        let classifier = SentimentClassifier {
            kind: FeatureKind::WordBigrams,
            vocabulary: Vocabulary::from_keys(keys),
            weights: vec![1.0, 1.0, 1.0],
            bias: -0.5,
            calibration,
        };
        // "good", "film" and "good film" are known: evidence = 3/sqrt(3) - 0.5, n = 3.
        let expected = (2.0 + 0.5 * 0.03_f64.ln()) * (3.0_f64.sqrt() - 0.5) + 0.25;
        assert!((classifier.logit("Good film") - expected).abs() < 1e-12);
        // Nothing known: evidence = -0.5, n = 1.
        let expected = (2.0 + 0.5 * 0.01_f64.ln()) * -0.5 + 0.25;
        assert!((classifier.logit("") - expected).abs() < 1e-12);
    }
}
