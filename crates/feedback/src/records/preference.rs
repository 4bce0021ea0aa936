//! Preference pairs in TRL's format.
//!
//! | form | keys |
//! |-|-|
//! | explicit prompt | `prompt`, `chosen`, `rejected` |
//! | implicit prompt | `chosen`, `rejected`, which both begin with it |
//!
//! All of them are text, or all of them lists of messages. A line may also have `probability`, that
//! the chosen response is the better one, or the scores of both, `score_chosen` and `score_rejected`;
//! other keys are passed over.

use super::conversation::{Message, Text};
use super::lines::Record;
use crate::error::FeedbackError;

/// One line.
#[derive(Clone, Debug)]
pub struct PreferenceRecord {
    /// Where it stands.
    pub record: Record,
    /// The prompt, as it is written or as the two responses have it in common.
    pub prompt: Text,
    /// The preferred response, without the prompt.
    pub chosen: Text,
    /// The other one.
    pub rejected: Text,
    /// The probability that `chosen` is the better one, one half to 1, if the line says it.
    pub probability: Option<f32>,
    /// The scores of both, chosen first, if the line has them.
    pub scores: Option<(f64, f64)>,
}

impl PreferenceRecord {
    /// Reads a line.
    ///
    /// # Errors
    /// [`FeedbackError::Key`] if a key is missing or of another form, a response is empty, or the two are the
    /// same.
    pub fn read(record: Record) -> Result<Self, FeedbackError> {
        let (chosen, rejected) = (Text::read(&record, "chosen")?, Text::read(&record, "rejected")?);
        if chosen == rejected {
            return Err(record.bad("rejected", "the chosen response", "another one"));
        }
        let (prompt, chosen, rejected) = if record.get("prompt").is_some() {
            (Text::read(&record, "prompt")?, chosen, rejected)
        } else {
            split(&record, chosen, rejected)?
        };
        for (key, response) in [("chosen", &chosen), ("rejected", &rejected)] {
            if response.form() != prompt.form() {
                return Err(record.bad(key, response.form(), format!("{}, as the prompt is", prompt.form())));
            }
            if response.is_empty() {
                return Err(record.bad(key, "an empty response", "at least one character"));
            }
        }
        let (probability, scores) = (probability(&record)?, scores(&record)?);
        Ok(Self { record, prompt, chosen, rejected, probability, scores })
    }
}

/// Takes the prompt off two texts or conversations that begin with it.
fn split(record: &Record, chosen: Text, rejected: Text) -> Result<(Text, Text, Text), FeedbackError> {
    match (chosen, rejected) {
        (Text::Plain(chosen), Text::Plain(rejected)) => {
            let end = plain_prompt(&chosen, &rejected);
            let part = |text: &str| Text::Plain(text.to_owned());
            Ok((part(&chosen[..end]), part(&chosen[end..]), part(&rejected[end..])))
        }
        (Text::Conversation(mut chosen), Text::Conversation(mut rejected)) => {
            let end = conversation_prompt(&chosen, &rejected);
            let (chosen_response, rejected_response) = (chosen.split_off(end), rejected.split_off(end));
            if chosen.is_empty() {
                let found = "a first message that is not that of `rejected`";
                return Err(record.bad("chosen", found, "the prompt's messages, or a key `prompt`"));
            }
            let parts = (chosen, chosen_response, rejected_response);
            Ok((Text::Conversation(parts.0), Text::Conversation(parts.1), Text::Conversation(parts.2)))
        }
        (chosen, rejected) => {
            Err(record.bad("rejected", rejected.form(), format!("{}, as `chosen` is", chosen.form())))
        }
    }
}

/// Bytes of the prompt that two different texts begin with: what they have in common, but for a space before
/// the first difference, which belongs to the responses, and, where one text is the beginning of the other,
/// its last character, so that no response is empty. This is TRL's `extract_prompt`.
fn plain_prompt(chosen: &str, rejected: &str) -> usize {
    let shorter = if chosen.len() < rejected.len() { chosen } else { rejected };
    let mut pairs = chosen.char_indices().zip(rejected.chars());
    let Some(((differs, _), _)) = pairs.find(|((_, a), b)| a != b) else {
        return shorter.char_indices().next_back().map_or(0, |(last, _)| last);
    };
    if chosen[..differs].ends_with(' ') { differs - 1 } else { differs }
}

/// Messages of the prompt that two different conversations begin with, by the same rule.
fn conversation_prompt(chosen: &[Message], rejected: &[Message]) -> usize {
    let differs = chosen.iter().zip(rejected).position(|(a, b)| a != b);
    differs.unwrap_or(chosen.len().min(rejected.len()).saturating_sub(1))
}

fn probability(record: &Record) -> Result<Option<f32>, FeedbackError> {
    let Some(probability) = record.number("probability")? else { return Ok(None) };
    if (0.5..=1.0).contains(&probability) {
        return Ok(Some(probability as f32));
    }
    let expected = "0.5 to 1: below that the other response is the better one";
    Err(record.bad("probability", probability.to_string(), expected))
}

fn scores(record: &Record) -> Result<Option<(f64, f64)>, FeedbackError> {
    match (record.number("score_chosen")?, record.number("score_rejected")?) {
        (Some(chosen), Some(rejected)) => Ok(Some((chosen, rejected))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(record.bad("score_rejected", "no such key", "a number beside `score_chosen`")),
        (None, Some(_)) => Err(record.bad("score_chosen", "no such key", "a number beside `score_rejected`")),
    }
}
