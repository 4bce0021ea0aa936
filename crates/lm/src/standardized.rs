//! The unit of a score: standard deviations above the mean of the reference.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::LmError;
use crate::scorer::Scorer;
use crate::sequences::Sequence;

/// Mean and standard deviation of a score on responses that the reference wrote.
///
/// They are measured once, before training, and kept: a KL coefficient then means the same for every scorer,
/// and a policy that improves is not told otherwise by a mean that follows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalization {
    mean: f64,
    sd: f64,
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    mean: f64,
    sd: f64,
}

impl Normalization {
    /// A mean and a standard deviation.
    ///
    /// # Errors
    /// [`LmError::Normalization`] if a number is not finite or the standard deviation is not positive.
    pub fn new(mean: f64, sd: f64) -> Result<Self, LmError> {
        if mean.is_finite() && sd > 0.0 && sd.is_finite() {
            return Ok(Self { mean, sd });
        }
        let found = format!("mean {mean} and standard deviation {sd}");
        Err(LmError::Normalization { found, expected: "finite numbers and a standard deviation above 0" })
    }

    /// Measures mean and population standard deviation of a scorer on responses of the reference.
    ///
    /// # Errors
    /// [`LmError::Normalization`] if there are fewer than two samples, or if they all score the same; the
    /// scorer's own error if it fails.
    pub fn measure(scorer: &dyn Scorer, reference_samples: &[Sequence]) -> Result<Self, LmError> {
        if reference_samples.len() < 2 {
            let found = format!("{} samples", reference_samples.len());
            return Err(LmError::Normalization { found, expected: "at least 2" });
        }
        let scores = scorer.score_f64(reference_samples)?;
        let count = scores.len() as f64;
        let mean = scores.iter().sum::<f64>() / count;
        let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / count;
        Self::new(mean, variance.sqrt())
    }

    /// Mean score of the reference.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Standard deviation of the score on the reference, above 0.
    pub fn sd(&self) -> f64 {
        self.sd
    }

    /// Writes a JSON file with the numbers `mean` and `sd`.
    ///
    /// # Errors
    /// [`LmError::Io`] if the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), LmError> {
        let stored = Stored { mean: self.mean, sd: self.sd };
        let json = serde_json::to_string_pretty(&stored).map_err(|error| LmError::io(path, error.into()))?;
        std::fs::write(path, json + "\n").map_err(|error| LmError::io(path, error))
    }

    /// Reads what [`Normalization::write`] wrote.
    ///
    /// # Errors
    /// If the file is missing or damaged, or its numbers are impossible.
    pub fn read(path: &Path) -> Result<Self, LmError> {
        let text = std::fs::read_to_string(path).map_err(|error| LmError::io(path, error))?;
        let Stored { mean, sd } = serde_json::from_str(&text).map_err(|error| {
            LmError::file(path, error.to_string(), "JSON with the numbers `mean` and `sd`")
        })?;
        Self::new(mean, sd).map_err(|error| match error {
            LmError::Normalization { found, expected } => LmError::file(path, found, expected),
            other => other,
        })
    }
}

/// A scorer in standard deviations of the reference: `(score - mean) / sd`.
#[derive(Clone, Debug)]
pub struct Standardized<S> {
    scorer: S,
    normalization: Normalization,
}

impl<S: Scorer> Standardized<S> {
    /// A scorer with a mean and a standard deviation that were measured before.
    pub fn new(scorer: S, normalization: Normalization) -> Self {
        Self { scorer, normalization }
    }

    /// Measures mean and standard deviation on responses of the reference.
    ///
    /// # Errors
    /// As [`Normalization::measure`].
    pub fn measure(scorer: S, reference_samples: &[Sequence]) -> Result<Self, LmError> {
        let normalization = Normalization::measure(&scorer, reference_samples)?;
        Ok(Self { scorer, normalization })
    }

    /// The scorer in its own unit.
    pub fn scorer(&self) -> &S {
        &self.scorer
    }

    /// Mean and standard deviation on the reference.
    pub fn normalization(&self) -> Normalization {
        self.normalization
    }
}

impl<S: Scorer> Scorer for Standardized<S> {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        Ok(self.score_f64(sequences)?.into_iter().map(|score| score as f32).collect())
    }

    fn score_f64(&self, sequences: &[Sequence]) -> Result<Vec<f64>, LmError> {
        let Normalization { mean, sd } = self.normalization;
        Ok(self.scorer.score_f64(sequences)?.into_iter().map(|score| (score - mean) / sd).collect())
    }
}
