//! Every number that RLOO needs, none of them hidden.

use lm::{Config, OptimizerConfig, Problem, Sampling};
use serde::{Deserialize, Serialize};

use crate::config::KlControl;

/// Settings of [`RlooTrainer`](crate::RlooTrainer).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RlooConfig {
    /// Iterations: each one samples, scores and takes one optimiser step; the learning-rate schedule spans
    /// them.
    pub steps: usize,
    /// Responses per iteration.
    pub rollouts: usize,
    /// Responses to each prompt within an iteration, at least two, for they are each other's
    /// baseline; divides `rollouts`.
    pub samples_per_prompt: usize,
    /// How responses are drawn; the temperature belongs to the policy.
    pub sampling: Sampling,
    /// The KL coefficient, fixed or controlled.
    pub kl: KlControl,
    /// Subtracted from the score of a response that did not end; 0 for none.
    pub missing_end_penalty: f64,
    /// The policy's optimiser.
    pub optimizer: OptimizerConfig,
}

impl RlooConfig {
    /// Passes of a rollout's token through a model: it is generated, scored by the reference and
    /// the scorer, and trained on.
    pub const PASSES_PER_TOKEN: usize = 4;
}

impl Config for RlooConfig {
    fn problems(&self) -> Vec<Problem> {
        let (samples, penalty) = (self.samples_per_prompt, self.missing_end_penalty);
        let divides = samples < 2 || self.rollouts.is_multiple_of(samples);
        let divisor = format!("a divisor of rollouts = {}", self.rollouts);
        let takes = penalty >= 0.0 && penalty.is_finite();
        let found = [
            Problem::unless_counted("steps", self.steps),
            Problem::unless_counted("rollouts", self.rollouts),
            Problem::unless(samples >= 2, "samples_per_prompt", samples, "at least 2"),
            Problem::unless(divides, "samples_per_prompt", samples, divisor),
            Problem::unless(takes, "missing_end_penalty", penalty, "0 or more"),
        ];
        let mut problems: Vec<Problem> = found.into_iter().flatten().collect();
        problems.extend(self.sampling.problems_within("sampling"));
        problems.extend(self.kl.problems_within("kl"));
        problems.extend(self.kl.horizon_problem(self.rollouts).map(|problem| problem.within("kl")));
        problems.extend(self.optimizer.problems_within("optimizer"));
        problems
    }
}
