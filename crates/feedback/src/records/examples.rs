//! Whole files as examples that fit a model.

use std::path::Path;

use lm::{Config, PreferencePair, Problem, Sequence};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::conversation::Text;
use super::limits::{Fitted, Limits, Overlong};
use super::lines::{Lines, Record, shown};
use super::preference::PreferenceRecord;
use super::reader::Reader;
use super::supervised::SupervisedRecord;
use crate::error::FeedbackError;

/// The examples of a file, and how many were not as they are written.
#[derive(Clone, Debug, PartialEq)]
pub struct Examples<T> {
    /// Those that fit, in the order of the file.
    pub examples: Vec<T>,
    /// How many were left out as too long.
    pub skipped: usize,
    /// How many were cut.
    pub truncated: usize,
}

/// A prompt to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptExample {
    /// The line it stands in, counted from 1.
    pub line: usize,
    /// Token ids, begin token first.
    pub ids: Vec<u32>,
}

/// How surely the chosen response of a pair is the better one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PairLabels {
    /// By the `probability` of the line, and surely where it has none.
    AsWritten,
    /// With the probability `sigma(scale * (score_chosen - score_rejected))`.
    Scores {
        /// Units of logit per unit of score.
        scale: f64,
    },
}

impl Config for PairLabels {
    fn problems(&self) -> Vec<Problem> {
        let problem = match self {
            Self::AsWritten => None,
            Self::Scores { scale } => Problem::unless_positive("scores.scale", *scale),
        };
        problem.into_iter().collect()
    }
}

impl PairLabels {
    fn probability(&self, pair: &PreferenceRecord) -> Result<f32, FeedbackError> {
        let record = &pair.record;
        match *self {
            Self::AsWritten => Ok(pair.probability.unwrap_or(1.0)),
            Self::Scores { scale } => {
                let (chosen, rejected) = pair.scores.ok_or_else(|| {
                    record.bad("score_chosen", "no such key", "a number: labels are made of scores")
                })?;
                if chosen < rejected {
                    let expected = format!("at least score_rejected = {rejected}");
                    return Err(record.bad("score_chosen", chosen.to_string(), expected));
                }
                Ok((1.0 / (1.0 + (-scale * (chosen - rejected)).exp())) as f32)
            }
        }
    }
}

impl Reader {
    /// Preference pairs; see [`PreferenceRecord`].
    ///
    /// # Errors
    /// For the first line that is no pair, or does not fit where that is refused;
    /// [`FeedbackError::NoRecords`] if none is left.
    pub fn preferences(
        &self,
        path: &Path,
        limits: &Limits,
        labels: &PairLabels,
    ) -> Result<Examples<PreferencePair>, FeedbackError> {
        collect(path, "preference pairs", limits, |record| {
            let pair = PreferenceRecord::read(record)?;
            let PreferenceRecord { record, prompt, chosen, rejected, .. } = &pair;
            let ids = self.prompt(record, prompt_key(record), prompt)?;
            let responses = vec![
                self.response(record, "chosen", prompt, chosen)?,
                self.response(record, "rejected", prompt, rejected)?,
            ];
            let probability = labels.probability(&pair)?;
            Ok((pair.record, ids, responses, &["chosen", "rejected"], move |fitted: Fitted| {
                let Fitted { prompt, mut responses, .. } = fitted;
                let (rejected, chosen) = (responses.pop(), responses.pop());
                // Cut to the same beginning, two responses say nothing.
                let (chosen, rejected) = chosen.zip(rejected).filter(|(a, b)| a != b)?;
                Some(PreferencePair { prompt, chosen, rejected, probability })
            }))
        })
    }

    /// Prompts that leave room for a response: each has at most `max_prompt_length` tokens.
    ///
    /// # Errors
    /// As [`Reader::preferences`].
    pub fn prompts(&self, path: &Path, limits: &Limits) -> Result<Examples<PromptExample>, FeedbackError> {
        collect(path, "prompts", limits, |record| {
            let text = Text::read(&record, "prompt")?;
            let ids = self.prompt(&record, "prompt", &text)?;
            let line = record.line();
            Ok((record, ids, Vec::new(), &[], move |fitted: Fitted| {
                Some(PromptExample { line, ids: fitted.prompt })
            }))
        })
    }

    /// Texts to learn; see [`SupervisedRecord`].
    ///
    /// # Errors
    /// As [`Reader::preferences`].
    pub fn supervised(&self, path: &Path, limits: &Limits) -> Result<Examples<Sequence>, FeedbackError> {
        collect(path, "texts", limits, |record| {
            let SupervisedRecord { record, prompt, response, key } = SupervisedRecord::read(record)?;
            let ids = self.prompt(&record, prompt_key(&record), &prompt)?;
            let responses = vec![self.response(&record, key, &prompt, &response)?];
            let keys: &'static [&'static str] = match key {
                "text" => &["text"],
                "messages" => &["messages"],
                _ => &["completion"],
            };
            Ok((record, ids, responses, keys, |fitted: Fitted| {
                let response = fitted.responses.into_iter().next()?;
                Some(Sequence { prompt: fitted.prompt, response })
            }))
        })
    }
}

/// The key that a prompt stands under; without one of its own it is the beginning of another.
fn prompt_key(record: &Record) -> &'static str {
    ["prompt", "messages", "text"].into_iter().find(|key| record.get(key).is_some()).unwrap_or("chosen")
}

/// A line's record, prompt and responses, the keys of the latter, and what becomes of those that fit.
type Read<F> = (Record, Vec<u32>, Vec<Vec<u32>>, &'static [&'static str], F);

fn collect<T, F: FnOnce(Fitted) -> Option<T>>(
    path: &Path,
    what: &str,
    limits: &Limits,
    mut read: impl FnMut(Record) -> Result<Read<F>, FeedbackError>,
) -> Result<Examples<T>, FeedbackError> {
    let mut all = Examples { examples: Vec::new(), skipped: 0, truncated: 0 };
    for record in Lines::open(path)? {
        let (record, prompt, responses, keys, example) = read(record?)?;
        let prompt_key = prompt_key(&record);
        let fitted = limits.fit(prompt, responses).map_err(|overlong| {
            let (key, found, most) = match overlong {
                Overlong::Prompt(found, most) => (prompt_key, found, most),
                Overlong::Response(at, found, most) => (keys[at], found, most),
            };
            record.bad(key, format!("{found} tokens"), format!("at most {most}"))
        })?;
        let cut = fitted.as_ref().is_some_and(|fitted| fitted.cut);
        match fitted.and_then(example) {
            Some(example) => {
                all.examples.push(example);
                all.truncated += usize::from(cut);
            }
            None => all.skipped += 1,
        }
    }
    if all.examples.is_empty() {
        let found = match all.skipped {
            0 => format!("no {what}"),
            skipped => format!("{skipped} {what}, all of them too long"),
        };
        let expected = "at least one that fits the model";
        return Err(FeedbackError::NoRecords { path: path.to_owned(), found, expected });
    }
    Ok(all)
}

/// A response to score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseRecord {
    /// Text of the prompt.
    pub prompt: String,
    /// Text of the response.
    pub response: String,
    /// Whether the model ended it itself, which is what a line says that does not say
    /// otherwise under `ended`.
    pub ended: bool,
}

/// Reads responses: lines with `prompt` and `response`, both text, as generation writes them.
///
/// # Errors
/// For the first line that is none; [`FeedbackError::NoRecords`] if there is none.
pub fn read_responses(path: &Path) -> Result<Vec<ResponseRecord>, FeedbackError> {
    let mut responses = Vec::new();
    for record in Lines::open(path)? {
        let record = record?;
        let text = |key| record.text(key).map(str::to_owned);
        let ended = match record.get("ended") {
            None => true,
            Some(Value::Bool(ended)) => *ended,
            Some(other) => return Err(record.bad("ended", shown(other), "true or false")),
        };
        responses.push(ResponseRecord { prompt: text("prompt")?, response: text("response")?, ended });
    }
    if responses.is_empty() {
        let (found, expected) = ("no responses".to_owned(), "lines with `prompt` and `response`");
        return Err(FeedbackError::NoRecords { path: path.to_owned(), found, expected });
    }
    Ok(responses)
}
