//! A program outside as a judge.
//!
//! ```text
//! {"prompt": "...", "first": "...", "second": "..."}      a request, one a line, on its standard input
//! {"preferred": "first"}                                   its answer: first, second or neither
//! ```
//!
//! All else is as for a [`ProgramScorer`](crate::ProgramScorer).

use serde::{Deserialize, Serialize};

use crate::error::FeedbackError;
use crate::judge::pair::{Judge, Pair, Preference};
use crate::program::{Answers, Program, ProgramLimits};

/// A judge that is a program.
#[derive(Debug)]
pub struct ProgramJudge {
    name: String,
    program: Program,
}

impl ProgramJudge {
    /// A judge by the shell's `command`, which is its name in records too; nothing is started yet.
    ///
    /// # Errors
    /// [`FeedbackError::Problems`] for impossible limits or an empty command.
    pub fn new(command: impl Into<String>, limits: ProgramLimits) -> Result<Self, FeedbackError> {
        let name = command.into();
        let program = Program::new(name.clone(), limits, FeedbackError::Judge)?;
        Ok(Self { name, program })
    }
}

#[derive(Serialize)]
struct Request<'a> {
    prompt: &'a str,
    first: &'a str,
    second: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    preferred: Option<String>,
}

/// An answer that is JSON and says something else is one that cannot be read; what is no JSON is no answer.
const PREFERENCES: Answers<Preference> =
    Answers { read, expected: "{\"preferred\": \"first\", \"second\" or \"neither\"}" };

pub(super) fn read(line: &[u8]) -> Result<Preference, String> {
    let answer: Answer = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    Ok(match answer.preferred.as_deref() {
        Some("first") => Preference::First,
        Some("second") => Preference::Second,
        Some("neither") => Preference::Neither,
        Some(_) | None => Preference::Unreadable,
    })
}

impl Judge for ProgramJudge {
    fn name(&self) -> &str {
        &self.name
    }

    fn compare(&self, pairs: &[Pair]) -> Result<Vec<Preference>, FeedbackError> {
        let requests: Vec<Request<'_>> =
            pairs.iter().map(|Pair { prompt, first, second }| Request { prompt, first, second }).collect();
        self.program.ask(&requests, &PREFERENCES)
    }
}
