//! What can go wrong with prompts, scores and pairs, one message each.

use std::path::PathBuf;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum FeedbackError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// A verb, such as "read".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: std::io::Error,
    },
    /// A line of a JSONL file that cannot be read.
    #[error("{}:{line}: found {found}, expected {expected}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        found: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A value in a line of a JSONL file that is not what it should be.
    #[error("{}:{line}:{key}: found {found}, expected {expected}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The key, dots and brackets between its levels: `chosen[0].content`.
        key: String,
        /// The value, or what it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A file of JSONL records that has none, or none that can be used.
    #[error("{}: found {found}, expected {expected}", path.display())]
    NoRecords {
        /// The file.
        path: PathBuf,
        /// What is there in their place.
        found: String,
        /// What should be there.
        expected: &'static str,
    },
    /// A model's chat template is missing, damaged, or refuses a conversation.
    #[error("chat template of {}: {reason}", path.display())]
    ChatTemplate {
        /// The file, or the model's folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Responses or scores that do not fit each other.
    #[error("{what}: found {found}, expected {expected}")]
    Unfit {
        /// What does not fit.
        what: &'static str,
        /// What was found.
        found: String,
        /// What would fit.
        expected: String,
    },
    /// Labelling left no pairs.
    #[error(
        "preferences: found no pair to {purpose}: {ties} of {pairs} pairs are ties (both scores or both \
         responses are the same), which are dropped. Sample more (prompts, responses_per_prompt), longer or \
         more varied responses (max_new_tokens, temperature), or use a scorer that tells responses apart"
    )]
    NoPairs {
        /// What pairs are missing for: "train on" or "validate with".
        purpose: &'static str,
        /// Pairs dropped.
        ties: usize,
        /// Pairs in all.
        pairs: usize,
    },
    /// A [`crate::TextScorer`] failed, in its own words.
    #[error("text scorer: {0}")]
    Scorer(String),
    /// A [`crate::judge::Judge`] cannot be asked, or its budget is spent.
    #[error("judge {0}")]
    Judge(String),
    /// Impossible settings.
    #[error(transparent)]
    Problems(#[from] lm::Problems),
    /// The language model or its tokenizer refused.
    #[error(transparent)]
    Lm(#[from] lm::LmError),
}

impl From<FeedbackError> for lm::LmError {
    /// How an [`lm::Scorer`] that scores text passes on what went wrong.
    fn from(error: FeedbackError) -> Self {
        match error {
            FeedbackError::Lm(error) => error,
            FeedbackError::Scorer(reason) => Self::Scorer(reason),
            other => Self::Scorer(other.to_string()),
        }
    }
}
