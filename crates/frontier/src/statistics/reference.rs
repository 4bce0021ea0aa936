//! The reference's mean reward.

use serde::{Deserialize, Serialize};

use super::intervals;
use crate::PromptSamples;

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
