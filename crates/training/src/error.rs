//! What can go wrong in this crate, one message each.

use std::path::{Path, PathBuf};

use lm::StepError;

/// An error of a training.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// A step failed.
    #[error("step {step}")]
    Step {
        /// The step, counted from 1.
        step: usize,
        /// The trainer's reason.
        source: StepError,
    },
    /// The file of metrics could not be read or written.
    #[error("{}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: csv::Error,
    },
    /// The file of metrics does not reach the step at which a training goes on.
    #[error("{}: found {found}, expected {expected}", path.display())]
    Metrics {
        /// The file.
        path: PathBuf,
        /// What the file holds.
        found: String,
        /// What it should hold.
        expected: String,
    },
}

impl TrainingError {
    pub(crate) fn io(path: &Path, source: impl Into<csv::Error>) -> Self {
        Self::Io { path: path.to_owned(), source: source.into() }
    }
}
