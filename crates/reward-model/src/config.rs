//! The numbers of a reward model's training; nothing has a default.

use lm::OptimizerConfig;
use serde::{Deserialize, Serialize};

use crate::RewardModelError;

/// Everything that [`RewardModelTrainer`](crate::RewardModelTrainer) needs beside its data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardModelConfig {
    /// Preference pairs a step.
    pub batch_size: usize,
    /// Optimiser steps in all; the learning-rate schedule spans them.
    pub steps: usize,
    /// Steps between two validations; the last step always ends with one.
    pub evaluate_every: usize,
    /// The optimiser.
    pub optimizer: OptimizerConfig,
}

impl RewardModelConfig {
    /// Checks the constants.
    ///
    /// # Errors
    /// [`RewardModelError::Config`] or the optimiser's error for the first impossible one.
    pub fn check(&self) -> Result<(), RewardModelError> {
        let counts =
            [("batch_size", self.batch_size), ("steps", self.steps), ("evaluate_every", self.evaluate_every)];
        for (key, value) in counts {
            if value == 0 {
                return Err(RewardModelError::Config {
                    key,
                    found: value.to_string(),
                    expected: "at least 1".to_owned(),
                });
            }
        }
        Ok(self.optimizer.check()?)
    }
}
