//! What can go wrong in this crate, one message each.

use std::fmt;

/// A configuration value that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The key as the configuration spells it, dots between levels.
    pub key: String,
    /// The value found.
    pub found: String,
    /// What would be possible.
    pub expected: String,
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: found {}, expected {}", self.key, self.found, self.expected)
    }
}

/// An error of PPO.
#[derive(Debug, thiserror::Error)]
pub enum PpoError {
    /// Configuration values are impossible: all of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Config(Vec<ConfigProblem>),
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
