//! The constants of an optimiser and its learning rate over the steps.

use serde::{Deserialize, Serialize};

use crate::problem::{Config, Problem};

/// An optimiser with every constant written out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// The update rule and its constants.
    pub algorithm: Algorithm,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// The learning rate over the steps.
    pub schedule: Schedule,
    /// Largest L2 norm of the gradient of all parameters together.
    pub max_grad_norm: f64,
}

/// The update rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
pub enum Algorithm {
    /// AdamW (Loshchilov and Hutter 2019): weight decay is decoupled and applies to matrices only.
    Adamw {
        /// Decay of the first moment.
        beta1: f32,
        /// Decay of the second moment.
        beta2: f32,
        /// Added to the root of the second moment.
        epsilon: f32,
        /// Decoupled weight decay, times the learning rate.
        weight_decay: f32,
    },
    /// `RMSprop` (Tieleman and Hinton 2012) as in PyTorch, without momentum:
    /// `p -= lr g / (sqrt(v) + epsilon)`.
    ///
    /// The squared average v starts at 0 and nothing corrects for that, as Adam does: for a gradient of
    /// constant size, step k is `1 / sqrt(1 - alpha^k)` times as long as later ones. With alpha = 0.99 that
    /// is 10 times at the first step, 2.3 after 20 and 1.3 after 100, so the warm-up should last about
    /// `1 / (1 - alpha)` steps.
    Rmsprop {
        /// Decay of the squared average.
        alpha: f32,
        /// Added to its root.
        epsilon: f32,
    },
}

/// Linear warm-up, then a decay that would reach `floor` times the peak one step after the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Steps of the linear warm-up; step 0 already trains.
    pub warmup_steps: usize,
    /// The shape after the warm-up.
    pub decay: Decay,
    /// Share of the peak that is left at the end; 1 for `constant`.
    pub floor: f64,
}

/// The shape of a learning rate after its warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Stays at the peak.
    Constant,
    /// A straight line down to the floor.
    Linear,
    /// Half a cosine down to the floor.
    Cosine,
}

impl Algorithm {
    /// As a configuration spells it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Adamw { .. } => "adamw",
            Self::Rmsprop { .. } => "rmsprop",
        }
    }

    /// Numbers that it remembers of each parameter.
    pub fn moments(&self) -> usize {
        match self {
            Self::Adamw { .. } => 2,
            Self::Rmsprop { .. } => 1,
        }
    }
}

impl Schedule {
    /// Factor on the peak learning rate at a step (counted from 0) of `total`.
    pub fn factor(&self, step: usize, total: usize) -> f64 {
        if step < self.warmup_steps {
            return (step + 1) as f64 / (self.warmup_steps + 1) as f64;
        }
        let span = total.saturating_sub(self.warmup_steps).max(1) as f64;
        let progress = ((step - self.warmup_steps) as f64 / span).min(1.0);
        let left = match self.decay {
            Decay::Constant => 1.0,
            Decay::Linear => 1.0 - progress,
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        };
        self.floor + (1.0 - self.floor) * left
    }
}

impl Config for OptimizerConfig {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = self.algorithm.problems_within("algorithm");
        problems.extend(Problem::unless_positive("learning_rate", self.learning_rate));
        problems.extend(self.schedule.problems_within("schedule"));
        problems.extend(Problem::unless_positive("max_grad_norm", self.max_grad_norm));
        problems
    }
}

impl Config for Algorithm {
    fn problems(&self) -> Vec<Problem> {
        let decay = |key: &str, value: f32| {
            Problem::unless((0.0..1.0).contains(&value), key, value, "0 up to, not including, 1")
        };
        let found = match *self {
            Self::Adamw { beta1, beta2, epsilon, weight_decay } => {
                let possible = weight_decay >= 0.0 && weight_decay.is_finite();
                vec![
                    decay("beta1", beta1),
                    decay("beta2", beta2),
                    Problem::unless_positive("epsilon", epsilon),
                    Problem::unless(possible, "weight_decay", weight_decay, "0 or more"),
                ]
            }
            Self::Rmsprop { alpha, epsilon } => {
                vec![decay("alpha", alpha), Problem::unless_positive("epsilon", epsilon)]
            }
        };
        found.into_iter().flatten().collect()
    }
}

impl Config for Schedule {
    fn problems(&self) -> Vec<Problem> {
        let possible = (0.0..=1.0).contains(&self.floor);
        Problem::unless(possible, "floor", self.floor, "0 to 1").into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_and_decay() {
        let schedule = Schedule { warmup_steps: 3, decay: Decay::Cosine, floor: 0.2 };
        let want = [0.25, 0.5, 0.75, 1.0];
        for (step, want) in want.into_iter().enumerate() {
            assert!((schedule.factor(step, 13) - want).abs() < 1e-12);
        }
        // Half-way down the cosine: 0.2 + 0.8 / 2.
        assert!((schedule.factor(8, 13) - 0.6).abs() < 1e-12);
        assert!((schedule.factor(13, 13) - 0.2).abs() < 1e-12);
        let linear = Schedule { warmup_steps: 0, decay: Decay::Linear, floor: 0.0 };
        assert!((linear.factor(1, 4) - 0.75).abs() < 1e-12);
    }
}
