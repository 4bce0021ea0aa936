//! Scores of text, and how they become scores of token sequences.

use lm::{LmError, Scorer, Sequence, Tokenizer};
use rayon::prelude::*;

use crate::error::FeedbackError;

/// Something that says how good a response is by reading it: a classifier, a program, a service.
///
/// The counterpart of [`Scorer`], which reads token ids; [`DecodingScorer`] makes one of the other.
pub trait TextScorer: Send + Sync {
    /// Scores of (prompt, response) pairs: one finite number per pair, in their order, higher is better.
    ///
    /// # Errors
    /// If a text cannot be scored.
    fn score(&self, texts: &[(String, String)]) -> Result<Vec<f32>, FeedbackError>;
}

impl<S: TextScorer + ?Sized> TextScorer for Box<S> {
    fn score(&self, texts: &[(String, String)]) -> Result<Vec<f32>, FeedbackError> {
        (**self).score(texts)
    }
}

/// Decodes sequences and lets a [`TextScorer`] read them.
#[derive(Clone, Debug)]
pub struct DecodingScorer<S> {
    scorer: S,
    tokenizer: Tokenizer,
}

impl<S: TextScorer> DecodingScorer<S> {
    /// Reads ids with `tokenizer` and text with `scorer`.
    pub fn new(scorer: S, tokenizer: Tokenizer) -> Self {
        Self { scorer, tokenizer }
    }
}

impl<S: TextScorer> Scorer for DecodingScorer<S> {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        let scores = self.scorer.score(&texts(&self.tokenizer, sequences)?)?;
        Ok(checked(scores, sequences.len())?)
    }
}

/// Prompt and response of every sequence as text, in the same order, on all cores.
///
/// The two texts together are the text of the sequence. They are not always the texts of the two halves:
/// where the bytes of one character lie on both sides, that character belongs to the response.
///
/// # Errors
/// [`LmError::Tokenizer`] if ids cannot be decoded.
pub fn texts(tokenizer: &Tokenizer, sequences: &[Sequence]) -> Result<Vec<(String, String)>, LmError> {
    let read = |sequence: &Sequence| {
        let prompt = tokenizer.decode(&sequence.prompt)?;
        let mut whole = tokenizer.decode(&sequence.tokens())?;
        let response = whole.split_off(common_prefix(&prompt, &whole));
        Ok((whole, response))
    };
    sequences.par_iter().map(read).collect()
}

/// Bytes of the longest common prefix, in whole characters.
fn common_prefix(a: &str, b: &str) -> usize {
    a.chars().zip(b.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}

/// Refuses scores that are not one finite number for each of `count` responses.
pub(crate) fn checked(scores: Vec<f32>, count: usize) -> Result<Vec<f32>, FeedbackError> {
    let unfit =
        |found: String, expected: String| Err(FeedbackError::Unfit { what: "scores", found, expected });
    if scores.len() != count {
        return unfit(scores.len().to_string(), format!("{count}, one per response"));
    }
    match scores.iter().position(|score| !score.is_finite()) {
        Some(index) => unfit(format!("{} for response {index}", scores[index]), "finite numbers".to_owned()),
        None => Ok(scores),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_whole_characters() {
        assert_eq!(common_prefix("a good", "a good film"), 6);
        // Half of an é is read as U+FFFD; the é itself is no part of the prompt then.
        assert_eq!(common_prefix("caf\u{fffd}", "café"), 3);
        // é and è share their first byte.
        assert_eq!(common_prefix("é", "è"), 0);
        assert_eq!(common_prefix("", "x"), 0);
    }
}
