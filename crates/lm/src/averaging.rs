//! Which policy of a training counts: the last, or the average of those on its way.
//!
//! Adaptive optimisers move each parameter by about the learning rate whatever the gradient's noise, so a
//! policy walks around the one that its loss asks for. The walk is distance from the reference that earns
//! nothing, and an average of the weights is free of most of it. The average is that of Shamir and Zhang 2013
//! (arXiv 1212.1824, section 4, polynomial-decay averaging):
//!
//! ```text
//! mean_t = (1 - a_t) mean_{t-1} + a_t theta_t,   a_t = (power + 1) / (t + power)
//! ```
//!
//! with `theta_t` the weights after step t = 1, 2, ... They count by about t^power: power 0 is the mean of
//! all policies, and the larger the power, the later those that count. Training goes on from the last policy:
//! only what is evaluated and kept is the average. Averages of the weights of preference-tuned policies:
//! Ramé et al. 2024 (arXiv 2406.16768).

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::LmError;
use crate::parameters;
use crate::policy::Policy;
use crate::problem::{Config, Problem};
use crate::state::State;
use crate::trainer::{Metrics, PolicyTrainer, StepError, Trainer};

/// The policy of a training that is evaluated and kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Iterate {
    /// The last.
    #[default]
    Last,
    /// The average of all so far.
    Average {
        /// Not negative; see the [module](self).
        power: f64,
    },
}

impl Iterate {
    /// The trainer with this as its policy, before its first step or before it is restored.
    pub fn of(self, trainer: Box<dyn PolicyTrainer>) -> Box<dyn PolicyTrainer> {
        match self {
            Self::Last => trainer,
            Self::Average { power } => Box::new(AveragedTrainer::new(trainer, power)),
        }
    }

    /// Whether it is the last.
    pub fn is_last(&self) -> bool {
        match self {
            Self::Last => true,
            Self::Average { .. } => false,
        }
    }
}

impl Config for Iterate {
    fn problems(&self) -> Vec<Problem> {
        let problem = match *self {
            Self::Last => None,
            Self::Average { power } => {
                let possible = power >= 0.0 && power.is_finite();
                Problem::unless(possible, "average.power", power, "a number from 0 on")
            }
        };
        problem.into_iter().collect()
    }
}

/// A trainer whose policy is the average of those that another trainer has had.
struct AveragedTrainer {
    trainer: Box<dyn PolicyTrainer>,
    average: Policy,
    /// The parameters that train: all others are the same in every policy.
    trained: HashSet<String>,
    power: f64,
    step: usize,
}

impl AveragedTrainer {
    fn new(trainer: Box<dyn PolicyTrainer>, power: f64) -> Self {
        let average = trainer.policy();
        let trained = parameters::trained(average.model());
        Self { trainer, average, trained, power, step: 0 }
    }
}

impl Trainer for AveragedTrainer {
    fn step(&mut self) -> Result<Metrics, StepError> {
        let metrics = self.trainer.step()?;
        self.step += 1;
        let share = (self.power + 1.0) / (self.step as f64 + self.power);
        let model = self.average.model().clone();
        let model = parameters::towards(model, self.trainer.policy().model(), &self.trained, share);
        self.average = Policy::new(model, self.average.temperature(), self.average.end())?;
        Ok(metrics)
    }

    fn tokens(&self) -> u64 {
        self.trainer.tokens()
    }

    fn save(&self, into: &mut State) {
        self.trainer.save(into);
        into.set_module("average", self.average.model());
    }

    fn restore(&mut self, from: &State) -> Result<(), LmError> {
        let (average, step) = (from.policy("average", &self.average)?, from.count("step")?);
        self.trainer.restore(from)?;
        (self.average, self.step) = (average, step);
        Ok(())
    }
}

impl PolicyTrainer for AveragedTrainer {
    fn policy(&self) -> Policy {
        self.average.clone()
    }
}
