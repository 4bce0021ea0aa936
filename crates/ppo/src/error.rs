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
    /// The language model or the scorer failed.
    #[error(transparent)]
    Lm(#[from] lm::LmError),
}
