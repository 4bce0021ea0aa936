//! A scorer that is a program outside: it reads prompts and responses as JSON Lines and answers scores.
//!
//! ```text
//! {"prompt": "The film", "response": " is a delight."}     a request, one a line, on its standard input
//! 0.93                                                       its answer, one a line, on its standard output
//! {"score": 0.93}                                            or so
//! ```
//!
//! The program is started by the shell when the first score is asked for, and stays. It answers requests in
//! their order and may read many before it answers the first: requests are written on a thread of their own,
//! so neither side waits for the other's buffer. What it says on standard error goes into messages of errors.

mod answer;
mod ask;
mod process;

use serde::Serialize;

use crate::error::FeedbackError;
use crate::scorer::TextScorer;

pub use ask::ProgramLimits;
pub(crate) use ask::{Answers, Program};

/// A program that scores.
#[derive(Debug)]
pub struct ProgramScorer(Program);

impl ProgramScorer {
    /// A scorer by the shell's `command`, such as `python3 my_reward.py`; nothing is started yet.
    ///
    /// # Errors
    /// [`FeedbackError::Problems`] for impossible limits or an empty command.
    pub fn new(command: impl Into<String>, limits: ProgramLimits) -> Result<Self, FeedbackError> {
        Ok(Self(Program::new(command.into(), limits, FeedbackError::Scorer)?))
    }
}

/// Reads a line of a program's answers, as the scorer does: for fuzz targets.
#[cfg(fuzzing)]
#[doc(hidden)]
pub fn read_score(line: &[u8]) {
    drop(answer::read(line));
}

/// One request.
#[derive(Serialize)]
struct Request<'a> {
    prompt: &'a str,
    response: &'a str,
}

/// What the program answers.
const SCORES: Answers<f32> =
    Answers { read: answer::read, expected: "a finite number or {\"score\": number}" };

impl TextScorer for ProgramScorer {
    fn score(&self, texts: &[(String, String)]) -> Result<Vec<f32>, FeedbackError> {
        let requests: Vec<Request<'_>> =
            texts.iter().map(|(prompt, response)| Request { prompt, response }).collect();
        self.0.ask(&requests, &SCORES)
    }
}
