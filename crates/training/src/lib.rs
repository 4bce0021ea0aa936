//! The loop that every training goes through: step, record, evaluate, go on.
//!
//! [`run`] steps an [`lm::Trainer`] to the end of its [`Loop`], writes the numbers of each step to a CSV
//! file, and lets an [`Observer`] measure the trainer on the way. Supervised fine-tuning, the reward model,
//! DPO and PPO all go through it, so their curves have one form and their seconds mean the same. An observer
//! ends a training between two steps by an error of its own; the trainer can then be saved as it is.
//!
//! A training that stopped goes on from a saved [`lm::State`]: restore the trainer and begin the loop at the
//! step of the state ([`Loop::first`]).
//!
//! What this crate refuses to know: what is trained, on what, and what an evaluation measures.

mod error;
mod metrics;

use std::path::Path;
use std::time::Instant;

use lm::{Metrics, Trainer};

pub use error::TrainingError;
use metrics::MetricsWriter;

/// How far a training goes, and where its curve is written.
#[derive(Clone, Copy, Debug)]
pub struct Loop<'a> {
    /// Steps taken before this loop: 0, or those of the state that the trainer was restored from.
    pub first: usize,
    /// Steps in all.
    pub steps: usize,
    /// Steps between two evaluations; 0 for none but those before the first step and after the last.
    pub evaluate_every: usize,
    /// The file that gets a row for each step: `step` (counted from 1), `seconds` (spent in steps so far,
    /// evaluations not included), and the trainer's own numbers. `None` records nothing.
    ///
    /// A loop from step 0 begins the file anew. A later one keeps the rows up to `first` and counts seconds
    /// on from there, so that the file of a training that was stopped and restored is that of one that was
    /// not, but for the seconds.
    pub metrics: Option<&'a Path>,
}

/// What a step has done.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// Steps taken so far.
    pub step: usize,
    /// Seconds spent in steps so far, evaluations not included.
    pub seconds: f64,
    /// The numbers of this step.
    pub metrics: &'a Metrics,
}

impl Progress<'_> {
    /// The number of that name; NaN if the trainer has none.
    pub fn metric(&self, name: &str) -> f64 {
        self.metrics.iter().find(|(key, _)| *key == name).map_or(f64::NAN, |(_, value)| *value)
    }
}

/// Who watches a training.
pub trait Observer<T: ?Sized> {
    /// Its own errors, and those of the loop.
    type Error: From<TrainingError>;

    /// Measures the trainer after `step` steps: before the first, every
    /// [`Loop::evaluate_every`] and after the last.
    ///
    /// # Errors
    /// If it cannot be measured, which ends the training.
    fn evaluate(&mut self, step: usize, trainer: &T) -> Result<(), Self::Error>;

    /// Hears of every step, after its evaluation if it had one.
    ///
    /// # Errors
    /// If the news cannot be passed on, which ends the training.
    fn progress(&mut self, progress: &Progress<'_>, trainer: &T) -> Result<(), Self::Error>;
}

/// Steps `trainer` to the end of `plan`.
///
/// # Errors
/// [`TrainingError`] if a step fails or the file of metrics cannot be written, and the observer's own errors.
pub fn run<T, O>(trainer: &mut T, plan: &Loop<'_>, observer: &mut O) -> Result<(), O::Error>
where
    T: Trainer + ?Sized,
    O: Observer<T>,
{
    let mut metrics = plan.metrics.map(|path| MetricsWriter::open(path, plan.first)).transpose()?;
    let mut seconds = metrics.as_ref().map_or(0.0, MetricsWriter::seconds);
    if plan.first == 0 {
        observer.evaluate(0, trainer)?;
    }
    for step in plan.first + 1..=plan.steps {
        let before = Instant::now();
        let numbers = trainer.step().map_err(|source| TrainingError::Step { step, source })?;
        seconds += before.elapsed().as_secs_f64();
        if let Some(metrics) = &mut metrics {
            metrics.write(step, seconds, &numbers)?;
        }
        if step.is_multiple_of(plan.evaluate_every) || step == plan.steps {
            observer.evaluate(step, trainer)?;
        }
        observer.progress(&Progress { step, seconds, metrics: &numbers }, trainer)?;
    }
    Ok(())
}
