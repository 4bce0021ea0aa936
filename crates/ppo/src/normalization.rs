//! The unit of a score.

use lm::{Scorer, Sequence};
use serde::{Deserialize, Serialize};

use crate::advantage::{mean, variance};
use crate::error::PpoError;

/// `(score - mean) / sd`, with mean and standard deviation of reference samples.
///
/// Measured once, before training, and kept: a KL coefficient then means the same for every scorer, and a policy that
/// improves is not told otherwise by a mean that follows it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreNormalization {
    /// Mean score of reference samples.
    pub mean: f64,
    /// Their standard deviation, above 0.
    pub sd: f64,
}

impl ScoreNormalization {
    /// Leaves scores as they are: mean 0, standard deviation 1.
    pub const IDENTITY: Self = Self { mean: 0.0, sd: 1.0 };

    /// Measures mean and population standard deviation on responses that the reference policy wrote.
    ///
    /// # Errors
    /// If the scorer fails, or if all samples score the same.
    pub fn measure(scorer: &dyn Scorer, reference_samples: &[Sequence]) -> Result<Self, PpoError> {
        let scores: Vec<f64> =
            checked_scores(scorer, reference_samples)?.into_iter().map(f64::from).collect();
        let measured = Self { mean: mean(&scores), sd: variance(&scores).sqrt() };
        measured.check(scores.len())?;
        Ok(measured)
    }

    /// The score in standard deviations above the mean.
    pub fn apply(&self, score: f32) -> f64 {
        (f64::from(score) - self.mean) / self.sd
    }

    pub(crate) fn check(&self, count: usize) -> Result<(), PpoError> {
        if self.mean.is_finite() && self.sd.is_finite() && self.sd > 0.0 {
            return Ok(());
        }
        Err(PpoError::Normalization { mean: self.mean, sd: self.sd, count })
    }
}

/// Scores that are as many as the sequences, and finite.
pub(crate) fn checked_scores(scorer: &dyn Scorer, sequences: &[Sequence]) -> Result<Vec<f32>, PpoError> {
    let scores = scorer.score(sequences)?;
    if scores.len() != sequences.len() {
        return Err(PpoError::ScoreCount { found: scores.len(), expected: sequences.len() });
    }
    match scores.iter().enumerate().find(|(_, score)| !score.is_finite()) {
        Some((index, &value)) => Err(PpoError::Score { index, value }),
        None => Ok(scores),
    }
}
