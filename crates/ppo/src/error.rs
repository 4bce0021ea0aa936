//! What can go wrong in this crate, one message each.

use lm::Problems;

/// An error of PPO.
#[derive(Debug, thiserror::Error)]
pub enum PpoError {
    /// Values of the configuration are impossible: all of them.
    #[error(transparent)]
    Config(#[from] Problems),
    /// There is nothing to write responses to.
    #[error("`prompts`: found none, expected at least one")]
    NoPrompts,
    /// A scorer lost or invented sequences.
    #[error("scorer: found {found} scores, expected {expected}, one per sequence")]
    ScoreCount {
        /// Scores returned.
        found: usize,
        /// Sequences passed.
        expected: usize,
    },
    /// A scorer gave a number that no policy can learn from.
    #[error("scorer: found {value} for sequence {index}, expected a finite number")]
    Score {
        /// Position of the sequence in the list that was passed.
        index: usize,
        /// Its score.
        value: f64,
    },
    /// The language model failed.
    #[error(transparent)]
    Lm(#[from] lm::LmError),
}
