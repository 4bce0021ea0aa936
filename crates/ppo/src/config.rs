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
    /// Passes over the rollouts of each iteration.
    pub ppo_epochs: usize,
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
    /// Divide rewards by their standard deviation over the iteration, mean kept. The score and the KL penalty shrink
    /// by the same factor, so their balance and with it the optimum stay; only the value model sees another unit,
    /// one that moves between iterations.
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
    /// The proportional controller of Ziegler et al. (2019), section 2.2.
    Adaptive {
        /// The KL of whole responses to steer to, in nats.
        target_kl: f64,
        /// The coefficient at the first iteration for a target of 1 nat. For a target of T nats it starts at
        /// `kl_coef / sqrt(T)`, as the optimum's does: for a reward of unit variance, the optimum at a small KL of T has
        /// the coefficient `1 / sqrt(2 T)`.
        kl_coef: f64,
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
        let expected = format!("a divisor of rollouts = {}", self.rollouts);
        let divisors = divisors.into_iter().filter_map(move |(key, count)| {
            let divides = count == 0 || self.rollouts.is_multiple_of(count);
            Problem::unless(divides, key, count, expected.clone())
        });
        counts.into_iter().filter_map(|(key, count)| Problem::unless_counted(key, count)).chain(divisors)
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

    /// The controller moves once per iteration, by its rollouts: a shorter horizon would overshoot.
    fn horizon_problem(&self) -> Option<Problem> {
        match self.kl {
            KlControl::Fixed { .. } => None,
            KlControl::Adaptive { horizon, .. } => {
                let short = horizon > 0.0 && horizon < self.rollouts as f64;
                let expected = format!("at least rollouts = {}", self.rollouts);
                Problem::unless(!short, "kl.horizon", horizon, expected)
            }
        }
    }
}

impl Config for PpoConfig {
    fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self.count_problems().collect();
        problems.extend(self.sampling.problems_within("sampling"));
        problems.extend(self.number_problems());
        problems.extend(self.kl.problems_within("kl"));
        problems.extend(self.horizon_problem());
        problems.extend(self.policy_optimizer.problems_within("policy_optimizer"));
        problems.extend(self.value_optimizer.problems_within("value_optimizer"));
        problems
    }
}

impl Config for KlControl {
    fn problems(&self) -> Vec<Problem> {
        let found = match *self {
            Self::Fixed { kl_coef } => {
                let possible = kl_coef >= 0.0 && kl_coef.is_finite();
                vec![Problem::unless(possible, "kl_coef", kl_coef, "0 or more")]
            }
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
