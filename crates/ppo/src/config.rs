//! Every number that PPO needs, none of them hidden.

use lm::{Config, OptimizerConfig, Problem, Sampling};
use serde::{Deserialize, Serialize};

/// Settings of PPO.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PpoConfig {
    /// Iterations: each one samples, scores and updates.
    pub steps: usize,
    /// Responses per iteration.
    pub rollouts: usize,
    /// Responses to each prompt within an iteration; divides `rollouts`.
    pub samples_per_prompt: usize,
    /// First iterations in which the value model alone is updated, and the policy stays the reference:
    /// advantages of a value model that expects nothing are mostly noise. The policy's learning-rate
    /// schedule, its warm-up included, spans the optimiser steps of the other iterations only. The adaptive
    /// KL coefficient rests meanwhile. Below `steps`; 0 for none.
    pub value_warmup: usize,
    /// Passes of policy and value model over the rollouts of each iteration.
    pub ppo_epochs: usize,
    /// Passes of the value model alone over the same rollouts, after those; 0 for none.
    pub value_epochs: usize,
    /// Rollouts per optimiser step; divides `rollouts`.
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
    /// Divide rewards by their standard deviation over the iteration, mean kept. The score and the KL penalty
    /// shrink by the same factor, so their balance and with it the optimum stay; only the value model sees
    /// another unit, one that moves between iterations.
    pub scale_rewards: bool,
    /// Subtracted from the score of a response that did not end; 0 for none.
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
        /// The coefficient, in units of the score per nat.
        kl_coef: f64,
    },
    /// The coefficient of the optimum `pi_ref exp(r / kl_coef)` whose KL from the reference is the target. It
    /// takes scores of the reference's responses, which this crate does not see: whoever has them computes
    /// the coefficient and puts [`KlControl::Fixed`] in this one's place. A trainer refuses it.
    Optimum {
        /// The KL of whole responses to aim at, in nats.
        target_kl: f64,
    },
    /// The proportional controller of Ziegler et al. (2019), section 2.2.
    Adaptive {
        /// The KL of whole responses to steer to, in nats.
        target_kl: f64,
        /// The coefficient at the first iteration for a target of 1 nat. For a target of T nats it starts at
        /// `kl_coef / sqrt(T)`, as the optimum's does: for a reward of unit variance, the optimum at a small
        /// KL of T has the coefficient `1 / sqrt(2 T)`.
        kl_coef: f64,
        /// Rollouts over which an error of 1 changes the coefficient by a factor of about e; at least
        /// `rollouts`.
        horizon: f64,
    },
}

impl PpoConfig {
    /// Minibatches of one pass over the rollouts.
    pub fn minibatches(&self) -> usize {
        self.rollouts / self.minibatch_size.max(1)
    }

    /// Passes of the policy over the rollouts of iteration `step`, counted from 0.
    pub fn policy_epochs(&self, step: usize) -> usize {
        if step < self.value_warmup { 0 } else { self.ppo_epochs }
    }

    /// Steps of the policy's optimiser: `(steps - value_warmup) * ppo_epochs * minibatches`. Skipped
    /// minibatches take none of them.
    pub fn policy_steps(&self) -> usize {
        self.steps.saturating_sub(self.value_warmup) * self.ppo_epochs * self.minibatches()
    }

    /// Steps of the value model's optimiser: `steps * (ppo_epochs + value_epochs) * minibatches`. Skipped
    /// minibatches take none of them.
    pub fn value_steps(&self) -> usize {
        self.steps * (self.ppo_epochs + self.value_epochs) * self.minibatches()
    }

    /// Passes of a rollout's token through a model in iteration `step`, counted from 0, as
    /// [`crate::PpoTrainer`] counts them. It is generated; it is scored by the policy, the reference, the
    /// value model and the scorer; and policy and value model train on it in their epochs.
    pub fn passes_per_token(&self, step: usize) -> usize {
        5 + self.policy_epochs(step) + self.ppo_epochs + self.value_epochs
    }

    fn count_problems(&self) -> impl Iterator<Item = Problem> {
        let counts = [
            ("steps", self.steps),
            ("rollouts", self.rollouts),
            ("samples_per_prompt", self.samples_per_prompt),
            ("ppo_epochs", self.ppo_epochs),
            ("minibatch_size", self.minibatch_size),
        ];
        let divisors =
            [("samples_per_prompt", self.samples_per_prompt), ("minibatch_size", self.minibatch_size)];
        let trains = self.value_warmup < self.steps || self.steps == 0;
        let below = format!("below steps = {}: the policy has to train", self.steps);
        let warmup = Problem::unless(trains, "value_warmup", self.value_warmup, below);
        let expected = format!("a divisor of rollouts = {}", self.rollouts);
        let divisors = divisors.into_iter().filter_map(move |(key, count)| {
            let divides = count == 0 || self.rollouts.is_multiple_of(count);
            Problem::unless(divides, key, count, expected.clone())
        });
        counts
            .into_iter()
            .filter_map(|(key, count)| Problem::unless_counted(key, count))
            .chain(divisors)
            .chain(warmup)
    }

    fn number_problems(&self) -> impl Iterator<Item = Problem> {
        let (clip, penalty, guard) = (self.clip_range, self.missing_end_penalty, self.ratio_guard);
        let share =
            |key: &str, value: f64| Problem::unless((0.0..=1.0).contains(&value), key, value, "0 to 1");
        let clips = clip > 0.0 && clip < 1.0;
        let takes = penalty >= 0.0 && penalty.is_finite();
        let guards = guard > 1.0 && guard.is_finite();
        [
            share("gamma", self.gamma),
            share("gae_lambda", self.gae_lambda),
            Problem::unless(clips, "clip_range", clip, "between 0 and 1, both excluded"),
            Problem::unless_positive("value_clip_range", self.value_clip_range),
            Problem::unless(takes, "missing_end_penalty", penalty, "0 or more"),
            Problem::unless(guards, "ratio_guard", guard, "a number above 1"),
        ]
        .into_iter()
        .flatten()
    }
}

impl Config for PpoConfig {
    fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.count_problems().collect();
        problems.extend(self.sampling.problems_within("sampling"));
        problems.extend(self.number_problems());
        problems.extend(self.kl.problems_within("kl"));
        problems.extend(self.kl.horizon_problem(self.rollouts).map(|problem| problem.within("kl")));
        problems.extend(self.policy_optimizer.problems_within("policy_optimizer"));
        problems.extend(self.value_optimizer.problems_within("value_optimizer"));
        problems
    }
}

impl KlControl {
    /// The controller moves once per iteration, by its rollouts: a shorter horizon would overshoot.
    pub(crate) fn horizon_problem(&self, rollouts: usize) -> Option<Problem> {
        match *self {
            Self::Fixed { .. } | Self::Optimum { .. } => None,
            Self::Adaptive { horizon, .. } => {
                let short = horizon > 0.0 && horizon < rollouts as f64;
                Problem::unless(!short, "horizon", horizon, format!("at least rollouts = {rollouts}"))
            }
        }
    }
}

impl Config for KlControl {
    fn problems(&self) -> Vec<Problem> {
        let found = match *self {
            Self::Fixed { kl_coef } => {
                let possible = kl_coef >= 0.0 && kl_coef.is_finite();
                vec![Problem::unless(possible, "kl_coef", kl_coef, "0 or more")]
            }
            Self::Optimum { target_kl } => vec![Problem::unless_positive("target_kl", target_kl)],
            Self::Adaptive { target_kl, kl_coef, horizon } => {
                vec![
                    Problem::unless_positive("target_kl", target_kl),
                    Problem::unless_positive("kl_coef", kl_coef),
                    Problem::unless_positive("horizon", horizon),
                ]
            }
        };
        found.into_iter().flatten().collect()
    }
}
