//! Scores of reference samples, and the reference mean made of them.

use serde::{Deserialize, Serialize};

use crate::{Error, intervals};

/// The true scores of the reference model's samples: one list per evaluation prompt.
///
/// Guaranteed: at least one prompt, at least two scores for each, every score finite.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptSamples(Vec<Vec<f64>>);

impl PromptSamples {
    /// Takes `scores[prompt][sample]`.
    ///
    /// # Errors
    /// [`Error::BadSamples`] if there is no prompt, a prompt with fewer than two scores or a score that is
    /// not finite.
    pub fn new(scores: Vec<Vec<f64>>) -> Result<Self, Error> {
        let bad = |prompt, reason| Err(Error::BadSamples { prompt, reason });
        if scores.is_empty() {
            return bad(0, "no prompt was given, at least one is needed".into());
        }
        for (prompt, scores) in scores.iter().enumerate() {
            if scores.len() < 2 {
                return bad(prompt, format!("{} scores, at least 2 are needed", scores.len()));
            }
            if let Some(score) = scores.iter().find(|score| !score.is_finite()) {
                return bad(prompt, format!("a score is {score}, a finite number is needed"));
            }
        }
        Ok(Self(scores))
    }

    /// The scores of each prompt.
    pub fn prompts(&self) -> &[Vec<f64>] {
        &self.0
    }

    /// The number of samples that every prompt has.
    pub fn samples_per_prompt(&self) -> usize {
        self.0.iter().map(Vec::len).min().unwrap_or_default()
    }
}

/// The mean true reward of the reference model: every envelope starts from it, at KL 0.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Mean score.
    pub mean: f64,
    /// Standard error of the mean over prompts.
    pub se: f64,
}

impl Reference {
    /// The mean over prompts of the mean over samples; its standard error is over prompts.
    pub fn from_samples(samples: &PromptSamples) -> Self {
        let means: Vec<f64> = samples.prompts().iter().map(|scores| intervals::mean(scores)).collect();
        Self { mean: intervals::mean(&means), se: intervals::standard_error(&means) }
    }
}
