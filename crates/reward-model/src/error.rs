//! What can go wrong in this crate, one message each.

use std::path::PathBuf;

use lm::{LmError, Problems};

/// An error of a reward model, its training or its files.
#[derive(Debug, thiserror::Error)]
pub enum RewardModelError {
    /// A list of pairs is empty.
    #[error("{which} preference pairs: found none, expected at least one")]
    NoPairs {
        /// `training` or `validation`.
        which: &'static str,
    },
    /// Values of the configuration are impossible: all of them.
    #[error(transparent)]
    Config(#[from] Problems),
    /// A preference pair does not fit the model.
    #[error("{which} pair {pair}, {side} response: {source}")]
    Pair {
        /// `training` or `validation`.
        which: &'static str,
        /// Position of the pair in the list that was passed.
        pair: usize,
        /// `chosen` or `rejected`.
        side: &'static str,
        /// What does not fit; its sequence index is 0.
        source: Box<LmError>,
    },
    /// The scores of the reference samples cannot be normalised.
    #[error("normalisation on {samples} reference samples: found {found}, expected {expected}")]
    Normalization {
        /// Number of samples.
        samples: usize,
        /// Their mean and standard deviation, or what is missing.
        found: String,
        /// What would do.
        expected: String,
    },
    /// The file with the normalisation could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The file with the normalisation holds something else.
    #[error("{}: found {found}, expected {expected}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the file holds.
        found: String,
        /// What it should hold.
        expected: String,
    },
    /// The language model or the optimiser failed.
    #[error(transparent)]
    Lm(#[from] LmError),
}
