//! What can go wrong in this crate, one message each.

use lm::{LmError, Problems};

/// An error of preference training.
#[derive(Debug, thiserror::Error)]
pub enum DpoError {
    /// There is nothing to learn from.
    #[error("preference pairs: found none, expected at least one")]
    NoPairs,
    /// There is nothing to write responses to.
    #[error("`prompts`: found none, expected at least one")]
    NoPrompts,
    /// Values of the configuration are impossible: all of them.
    #[error(transparent)]
    Config(#[from] Problems),
    /// A preference pair does not fit the model.
    #[error("preference pair {pair}, {side} response: {source}")]
    Pair {
        /// Position of the pair in the list that was passed.
        pair: usize,
        /// `chosen` or `rejected`.
        side: &'static str,
        /// What does not fit; its sequence index is 0.
        source: Box<LmError>,
    },
    /// Reference log-probs belong to other pairs.
    #[error("reference log-probs, `{key}`: found {found}, expected {expected}")]
    Reference {
        /// `chosen` or `rejected`.
        key: &'static str,
        /// What was passed.
        found: String,
        /// What the pairs need.
        expected: String,
    },
    /// A pair's label is impossible.
    #[error("preference pair {pair}, probability: found {found}, expected 0.5 to 1")]
    Probability {
        /// Position of the pair in the list that was passed.
        pair: usize,
        /// Its probability.
        found: f32,
    },
    /// The language model or the optimiser failed.
    #[error(transparent)]
    Lm(#[from] LmError),
}
