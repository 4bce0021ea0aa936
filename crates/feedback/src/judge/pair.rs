//! Two texts for one prompt, and who of them is preferred.

use crate::error::FeedbackError;

/// Two texts for one prompt, in the order in which they are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// What both answer.
    pub prompt: String,
    /// The text that is shown first.
    pub first: String,
    /// The text that is shown second.
    pub second: String,
}

/// What a judge says of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preference {
    /// The text that was shown first is better.
    First,
    /// The text that was shown second is better.
    Second,
    /// Neither is.
    Neither,
    /// The judge answered, but not the question.
    Unreadable,
}

/// Who decides which of two texts is better.
pub trait Judge: Send + Sync {
    /// The name in records.
    fn name(&self) -> &str;

    /// A preference for each pair, in their order.
    ///
    /// # Errors
    /// If the judge cannot be asked. An answer that cannot be read is a
    /// [`Preference::Unreadable`] and no error.
    fn compare(&self, pairs: &[Pair]) -> Result<Vec<Preference>, FeedbackError>;
}
