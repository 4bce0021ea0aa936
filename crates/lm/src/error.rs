//! What can go wrong in this crate, one message each.

use std::path::{Path, PathBuf};

use crate::problem::{Problem, Problems};

/// An error of the language model, its files or its configuration.
#[derive(Debug, thiserror::Error)]
pub enum LmError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// A file was read, but its content is not what it should be.
    #[error("{}: found {found}, expected {expected}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the file holds.
        found: String,
        /// What it should hold.
        expected: String,
    },
    /// A tensor in a checkpoint is missing or has the wrong shape or type.
    #[error("{}: tensor `{tensor}`: found {found}, expected {expected}", path.display())]
    Tensor {
        /// The checkpoint.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// What the file holds.
        found: String,
        /// What it should hold.
        expected: String,
    },
    /// Values of a configuration are impossible: all of them.
    #[error(transparent)]
    Config(#[from] Problems),
    /// A sequence does not fit the model.
    #[error("sequence {index}: found {found}, expected {expected}")]
    Sequence {
        /// Position of the sequence in the list that was passed.
        index: usize,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// The tokenizer failed.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// There is no such device, or it does not work.
    #[error("device `{device}`: found {found}, expected {expected}")]
    Device {
        /// The device asked for.
        device: String,
        /// What its driver says.
        found: String,
        /// What it takes.
        expected: String,
    },
    /// The device was not compiled into this binary.
    #[error("device `{device}` is not part of this build; build it with `{build}`")]
    DeviceNotBuilt {
        /// The device asked for.
        device: &'static str,
        /// The command that builds it.
        build: &'static str,
    },
    /// The loss or a gradient stopped being a finite number.
    #[error("{what} is {value} after {step} steps; lower the learning rate or look at the data")]
    NotFinite {
        /// Which number.
        what: &'static str,
        /// Its value.
        value: f64,
        /// Steps taken before.
        step: usize,
    },
    /// The saved state of a training does not fit the trainer that it is restored into.
    #[error("state of a training: `{name}`: found {found}, expected {expected}")]
    State {
        /// The tensor or counter.
        name: String,
        /// What the state holds.
        found: String,
        /// What the trainer has.
        expected: String,
    },
    /// Scores of the reference do not say what the unit of a score is.
    #[error("scores of the reference: found {found}, expected {expected}")]
    Normalization {
        /// Their mean and standard deviation, or what is missing.
        found: String,
        /// What would do.
        expected: &'static str,
    },
    /// A scorer lost or invented sequences.
    #[error("scorer: found {found} scores, expected {expected}, one per sequence")]
    ScoreCount {
        /// Scores returned.
        found: usize,
        /// Sequences passed.
        expected: usize,
    },
    /// A scorer said a number that no policy can learn from.
    #[error("scorer: found {value} for sequence {index}, expected a finite number")]
    Score {
        /// Position of the sequence in the list that was passed.
        index: usize,
        /// Its score.
        value: f64,
    },
    /// A scorer refused its input.
    #[error("scorer: {0}")]
    Scorer(String),
}

impl From<Problem> for LmError {
    fn from(problem: Problem) -> Self {
        Self::Config(problem.into())
    }
}

impl LmError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn file(path: &Path, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), found: found.into(), expected: expected.into() }
    }
}
