//! Every number that PPO needs, none of them hidden.

use lm::{LmError, OptimizerConfig, Sampling};
use serde::{Deserialize, Serialize};

use crate::error::ConfigProblem;

/// Settings of PPO.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PpoConfig {
    /// Iterations: each one samples, scores and updates.
    pub steps: usize,
    /// Responses an iteration.
    pub rollouts: usize,
    /// Responses to each prompt of an iteration; divides `rollouts`.
    pub samples_per_prompt: usize,
    /// Passes over the rollouts of an iteration.
    pub ppo_epochs: usize,
    /// Rollouts an optimiser step; divides `rollouts`.
    pub minibatch_size: usize,
    /// How responses are drawn; the temperature belongs to the policy.
    pub sampling: Sampling,
    /// The KL coefficient, fixed or controlled.
    pub kl: KlControl,
    /// Discount of later rewards; 1 where a response is worth its whole score.
    pub gamma: f64,
    /// Weight of longer looks ahead in the advantage: 0 is one-step TD, 1 is the return minus the value.
    pub gae_lambda: f64,
    /// The ratio to the old policy earns nothing outside `1 ± clip_range`.
    pub clip_range: f64,
    /// The value earns nothing further than this from its old value.
    pub value_clip_range: f64,
    /// Divide rewards by their standard deviation over the iteration, mean kept. The score and the KL penalty shrink
    /// by the same factor, so their balance and with it the optimum stay; only the value model sees another unit,
    /// one that moves between iterations.
    pub scale_rewards: bool,
    /// Subtracted from the normalised score of a response that did not end; 0 for none.
    pub missing_end_penalty: f64,
    /// A minibatch is skipped if its mean ratio is above this, or if its mean `log(ratio)^2` is above
    /// `log(ratio_guard)^2`: the policy has left the region where the old samples say anything.
    pub ratio_guard: f64,
    /// The policy's optimiser.
    pub policy_optimizer: OptimizerConfig,
    /// The value model's optimiser.
    pub value_optimizer: OptimizerConfig,
}

/// How the KL coefficient is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
pub enum KlControl {
    /// One coefficient throughout: the optimum is `pi_ref exp(r / kl_coef)`.
    Fixed {
        /// The coefficient, in units of the normalised score a nat.
        kl_coef: f64,
    },
    /// The proportional controller of Ziegler et al. (2019), section 2.2.
    Adaptive {
        /// The coefficient at the first iteration.
        initial: f64,
        /// The KL of whole responses to steer to, in nats.
        target: f64,
        /// Rollouts over which an error of 1 changes the coefficient by a factor of about e; at least `rollouts`.
        horizon: f64,
    },
}

impl PpoConfig {
    /// Minibatches of one pass over the rollouts.
    pub fn minibatches(&self) -> usize {
        self.rollouts / self.minibatch_size.max(1)
    }

    /// Steps of each optimiser: `steps * ppo_epochs * minibatches`. Skipped minibatches take none of them.
    pub fn optimizer_steps(&self) -> usize {
        self.steps * self.ppo_epochs * self.minibatches()
    }

    /// Passes of a rollout's token through a model in one iteration, as [`crate::PpoTrainer`] counts them. It is
    /// generated; it is scored by the policy, the reference, the value model and the scorer; and the policy and the
    /// value model train on it in each epoch.
    pub fn passes_per_token(ppo_epochs: usize) -> usize {
        5 + 2 * ppo_epochs
    }

    /// Lists the impossible values, none if all is well.
    pub fn check(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        self.check_counts(&mut problems);
        self.check_numbers(&mut problems);
        for (name, optimizer) in
            [("policy_optimizer", &self.policy_optimizer), ("value_optimizer", &self.value_optimizer)]
        {
            match optimizer.check() {
                Ok(()) => {}
                Err(LmError::Config { key, found, expected }) => {
                    problems.push(ConfigProblem { key: format!("{name}.{key}"), found, expected });
                }
                Err(other) => problems.push(ConfigProblem {
                    key: name.to_owned(),
                    found: other.to_string(),
                    expected: "an optimiser".to_owned(),
                }),
            }
        }
        problems
    }

    fn check_counts(&self, problems: &mut Vec<ConfigProblem>) {
        let counts = [
            ("steps", self.steps),
            ("rollouts", self.rollouts),
            ("samples_per_prompt", self.samples_per_prompt),
            ("ppo_epochs", self.ppo_epochs),
            ("minibatch_size", self.minibatch_size),
            ("sampling.max_new_tokens", self.sampling.max_new_tokens),
            ("sampling.batch_size", self.sampling.batch_size),
        ];
        for (key, found) in counts {
            require(problems, found > 0, key, found, "at least 1");
        }
        let divisors =
            [("samples_per_prompt", self.samples_per_prompt), ("minibatch_size", self.minibatch_size)];
        for (key, found) in divisors {
            let divides = found == 0 || self.rollouts.is_multiple_of(found);
            require(problems, divides, key, found, &format!("a divisor of rollouts = {}", self.rollouts));
        }
    }

    fn check_numbers(&self, problems: &mut Vec<ConfigProblem>) {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let unit = |value: f64| (0.0..=1.0).contains(&value);
        let (clip, value_clip) = (self.clip_range, self.value_clip_range);
        require(problems, unit(self.gamma), "gamma", self.gamma, "0 to 1");
        require(problems, unit(self.gae_lambda), "gae_lambda", self.gae_lambda, "0 to 1");
        require(problems, positive(clip) && clip < 1.0, "clip_range", clip, "between 0 and 1, both excluded");
        require(problems, positive(value_clip), "value_clip_range", value_clip, "a positive number");
        let penalty = self.missing_end_penalty;
        let penalty_ok = penalty >= 0.0 && penalty.is_finite();
        require(problems, penalty_ok, "missing_end_penalty", penalty, "0 or more");
        let guard_ok = self.ratio_guard > 1.0 && self.ratio_guard.is_finite();
        require(problems, guard_ok, "ratio_guard", self.ratio_guard, "a number above 1");
        match self.kl {
            KlControl::Fixed { kl_coef } => {
                require(problems, kl_coef >= 0.0 && kl_coef.is_finite(), "kl.kl_coef", kl_coef, "0 or more");
            }
            KlControl::Adaptive { initial, target, horizon } => {
                require(problems, positive(initial), "kl.initial", initial, "a positive number");
                require(problems, positive(target), "kl.target", target, "a positive number of nats");
                let horizon_ok = horizon >= self.rollouts as f64 && horizon.is_finite();
                let expected = format!("at least rollouts = {}", self.rollouts);
                require(problems, horizon_ok, "kl.horizon", horizon, &expected);
            }
        }
    }
}

fn require(
    problems: &mut Vec<ConfigProblem>,
    possible: bool,
    key: &str,
    found: impl std::fmt::Display,
    expected: &str,
) {
    if !possible {
        problems.push(ConfigProblem {
            key: key.to_owned(),
            found: found.to_string(),
            expected: expected.to_owned(),
        });
    }
}
