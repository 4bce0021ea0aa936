//! What can go wrong in this crate, one message each.

use lm::{LmError, Problems};

/// An error of a reward model or its training.
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
    /// A pair's label is impossible.
    #[error("{which} pair {pair}, probability: found {found}, expected 0.5 to 1")]
    Probability {
        /// `training` or `validation`.
        which: &'static str,
        /// Position of the pair in the list that was passed.
        pair: usize,
        /// Its probability.
        found: f32,
    },
    /// The language model or the optimiser failed.
    #[error(transparent)]
    Lm(#[from] LmError),
}
