//! The numbers of a reward model's training; nothing has a default.

use lm::{Config, OptimizerConfig, Problem};
use serde::{Deserialize, Serialize};

/// Everything that [`RewardModelTrainer`](crate::RewardModelTrainer) needs beside its data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardModelConfig {
    /// Prompts per step, each with all its pairs.
    pub batch_prompts: usize,
    /// Optimiser steps in all; the learning-rate schedule spans them.
    pub steps: usize,
    /// Steps between two validations; the last step always ends with one.
    pub evaluate_every: usize,
    /// The optimiser.
    pub optimizer: OptimizerConfig,
}

impl Config for RewardModelConfig {
    fn problems(&self) -> Vec<Problem> {
        let counts = [
            ("batch_prompts", self.batch_prompts),
            ("steps", self.steps),
            ("evaluate_every", self.evaluate_every),
        ];
        let counts = counts.into_iter().filter_map(|(key, count)| Problem::unless_counted(key, count));
        counts.chain(self.optimizer.problems_within("optimizer")).collect()
    }
}
