//! What judges said: one response of a policy against a text that a person wrote for the same prompt.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::csv_file::{Fields, create_compressed, finish, read, write_error};
use crate::{Error, Method};

/// The judgements of a study, compressed.
pub const JUDGEMENTS: &str = "judgements.csv.bz2";

/// How a comparison ended for the policy's response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The judge prefers it.
    Win,
    /// The judge prefers neither.
    Tie,
    /// The judge prefers the other text.
    Loss,
    /// The judge's answer could not be read. It counts for neither side.
    Unreadable,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Win, Self::Tie, Self::Loss, Self::Unreadable];

    /// What it adds to the sum of wins: 1, 1/2 or 0; `None` for an answer that could not be read.
    pub fn value(self) -> Option<f64> {
        match self {
            Self::Win => Some(1.0),
            Self::Tie => Some(0.5),
            Self::Loss => Some(0.0),
            Self::Unreadable => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Win => "win",
            Self::Tie => "tie",
            Self::Loss => "loss",
            Self::Unreadable => "unreadable",
        }
    }
}

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Who decided.
    pub judge: String,
    /// Whose response it is.
    pub method: Method,
    /// The seed that the policy was trained with, or that its response was drawn with if it was not trained.
    pub seed: u64,
    /// The sampling temperature; 0 takes the likeliest token every time.
    pub temperature: f64,
    /// The prompt's number.
    pub prompt: u64,
    /// Whether the policy's response was shown first.
    pub shown_first: bool,
    /// How it ended.
    pub outcome: Outcome,
}

const COLUMNS: [&str; 7] = ["judge", "method", "seed", "temperature", "prompt", "shown", "outcome"];
const SHOWN: [(&str, bool); 2] = [("first", true), ("second", false)];

/// Writes judgements, a line each, compressed with bzip2. The same judgements give the same bytes.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn write_judgements(path: impl AsRef<Path>, judgements: &[Judgement]) -> Result<(), Error> {
    let path = path.as_ref();
    let failed = |error| write_error(path, error);
    let mut csv = create_compressed(path)?;
    csv.write_record(COLUMNS).map_err(failed)?;
    for one in judgements {
        let (seed, prompt) = (one.seed.to_string(), one.prompt.to_string());
        let temperature = one.temperature.to_string();
        let shown = if one.shown_first { "first" } else { "second" };
        let fields = [&one.judge, one.method.name(), &seed, &temperature, &prompt, shown, one.outcome.name()];
        csv.write_record(fields).map_err(failed)?;
    }
    finish(path, csv)
}

/// Reads what [`write_judgements`] wrote, or the same table without compression if the file's
/// name does not end in `.bz2`.
///
/// # Errors
/// Errors name file, line and column: of a missing column, a word that a column does not have, a temperature
/// that is not finite or below 0.
pub fn read_judgements(path: impl AsRef<Path>) -> Result<Vec<Judgement>, Error> {
    read(path.as_ref(), &COLUMNS, |fields| {
        let judge = fields.text("judge").to_owned();
        if judge.is_empty() {
            return Err(fields.bad("judge", "", "the name of a judge is expected"));
        }
        let temperature = fields.number("temperature")?;
        if !(temperature.is_finite() && temperature >= 0.0) {
            let found = fields.text("temperature");
            return Err(fields.bad("temperature", found, "a number from 0 upward is expected"));
        }
        let outcomes = Outcome::ALL.map(|outcome| (outcome.name(), outcome));
        Ok(Judgement {
            judge,
            method: method(&fields)?,
            seed: fields.count("seed")?,
            temperature,
            prompt: fields.count("prompt")?,
            shown_first: word(&fields, "shown", &SHOWN)?,
            outcome: word(&fields, "outcome", &outcomes)?,
        })
    })
}

pub(super) fn method(fields: &Fields<'_>) -> Result<Method, Error> {
    let found = fields.text("method");
    Method::named(found).map_err(|_| fields.bad("method", found, "the name of a method is expected"))
}

fn word<T: Copy>(fields: &Fields<'_>, column: &str, words: &[(&str, T)]) -> Result<T, Error> {
    let found = fields.text(column);
    let known = words.iter().find(|(word, _)| *word == found);
    known.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        fields.bad(column, found, &format!("one of {} is expected", names.join(", ")))
    })
}
