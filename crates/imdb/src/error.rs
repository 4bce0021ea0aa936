//! What can go wrong with reviews and classifiers, each with one message that says where.

use std::fmt;
use std::path::{Path, PathBuf};

/// One way to the reviews that was tried and did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteFailure {
    /// The route in words, such as "download from <https://...>".
    pub route: String,
    /// Why it failed.
    pub reason: String,
}

impl fmt::Display for RouteFailure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.route, self.reason)
    }
}

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum ImdbError {
    /// Something expected at a path is not there.
    #[error("{}: not found; expected {expected}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// What should be there.
        expected: String,
    },
    /// Data that is there but is not what it should be.
    #[error("{}: found {found}, expected {expected}", path.display())]
    Damaged {
        /// The file or folder.
        path: PathBuf,
        /// What it should hold.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// A verb, such as "read".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
    /// No route to the reviews worked.
    #[error("found no IMDb reviews by any route:\n  - {}", list(.failures))]
    NoRoute {
        /// Every route that was tried, in order.
        failures: Vec<RouteFailure>,
    },
    /// Impossible settings.
    #[error(transparent)]
    Problems(#[from] lm::Problems),
    /// Too few reviews for what was asked.
    #[error("{purpose}: found {found} {what}, expected at least {expected}")]
    TooFew {
        /// What the reviews were for.
        purpose: &'static str,
        /// Which reviews.
        what: &'static str,
        /// How many are needed.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// The language model or its tokenizer refused.
    #[error(transparent)]
    Lm(#[from] lm::LmError),
}

impl ImdbError {
    /// Data that is not what it should be.
    pub(crate) fn damaged(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), expected: expected.into(), found: found.into() }
    }
}

fn list(failures: &[RouteFailure]) -> String {
    failures.iter().map(RouteFailure::to_string).collect::<Vec<_>>().join("\n  - ")
}

/// Attaches a path and a verb to an [`std::io::Error`].
pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> ImdbError {
    let path = path.into();
    move |source| ImdbError::Io { action, path, source }
}
