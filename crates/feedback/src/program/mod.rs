//! A scorer that is a program outside: it reads prompts and responses as JSON Lines and answers scores.
//!
//! ```text
//! {"prompt": "The film", "response": " is a delight."}     a request, one a line, on its standard input
//! 0.93                                                       its answer, one a line, on its standard output
//! {"score": 0.93}                                            or so
//! ```
//!
//! The program is started by the shell when the first score is asked for, and stays. It answers requests in their order
//! and may read many before it answers the first: requests are written on a thread of their own, so neither side waits for
//! the other's buffer. What it says on standard error goes into messages of errors.

mod answer;
mod process;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lm::{Config, Problem};
use serde::{Deserialize, Serialize};

use crate::error::FeedbackError;
use crate::scorer::TextScorer;
use process::{Event, Process};

/// How much is borne from a program.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramLimits {
    /// Seconds that it may take for an answer, counted from the answer before; it is ended if it takes longer.
    pub timeout: f64,
    /// How often it is started again within one batch of requests if it ends before it has answered all of them.
    pub restarts: usize,
}

impl Config for ProgramLimits {
    fn problems(&self) -> Vec<Problem> {
        // `Duration` holds no more; a year is no limit.
        let possible = self.timeout > 0.0 && self.timeout < 3.2e7;
        let expected = "a positive number of seconds, at most a year";
        Problem::unless(possible, "timeout", self.timeout, expected).into_iter().collect()
    }
}

/// A program that scores.
#[derive(Debug)]
pub struct ProgramScorer {
    command: String,
    limits: ProgramLimits,
    process: Mutex<Option<Process>>,
}

impl ProgramScorer {
    /// A scorer by the shell's `command`, such as `python3 my_reward.py`; nothing is started yet.
    ///
    /// # Errors
    /// [`FeedbackError::Problems`] for impossible limits or an empty command.
    pub fn new(command: impl Into<String>, limits: ProgramLimits) -> Result<Self, FeedbackError> {
        limits.check()?;
        let command = command.into();
        if command.trim().is_empty() {
            let problem = Problem::new("command", "an empty one", "a command for the shell");
            return Err(lm::Problems::from(problem).into());
        }
        Ok(Self { command, limits, process: Mutex::new(None) })
    }

    /// Answers to all requests, from a program that may have to be started again on the way.
    fn answers(&self, process: &mut Option<Process>, requests: &[String]) -> Result<Vec<f32>, FeedbackError> {
        let mut scores = Vec::with_capacity(requests.len());
        let mut starts_left = self.limits.restarts;
        while scores.len() < requests.len() {
            let running = match process {
                Some(running) => running,
                None => process
                    .insert(Process::start(&self.command).map_err(|error| self.failed(&error.to_string()))?),
            };
            if let Some(line) = running.unasked() {
                return Err(self.failed(&format!("said {line} before it was asked: one line a request")));
            }
            running.send(&requests[scores.len()..]);
            let Some(ended) = self.listen(running, requests, &mut scores)? else { break };
            *process = None;
            if starts_left == 0 {
                let (restarts, next) = (self.limits.restarts, scores.len() + 1);
                let again =
                    if restarts == 0 { String::new() } else { format!(", after {restarts} restarts") };
                let ended = format!("{ended} before it answered request {next} of {}{again}", requests.len());
                return Err(self.failed(&ended));
            }
            starts_left -= 1;
            tracing::warn!("scorer `{}` {ended}; it is started again", self.command);
        }
        Ok(scores)
    }

    /// Takes answers until all are there, or the program ends: then how.
    fn listen(
        &self,
        running: &mut Process,
        requests: &[String],
        scores: &mut Vec<f32>,
    ) -> Result<Option<String>, FeedbackError> {
        let timeout = Duration::from_secs_f64(self.limits.timeout);
        while scores.len() < requests.len() {
            let request = scores.len() + 1;
            match running.next(timeout) {
                Event::Line(line) => scores.push(answer::read(&line).map_err(|found| {
                    let expected = "a finite number or {\"score\": number}";
                    self.failed(&format!("answered request {request} with {found}, expected {expected}"))
                })?),
                Event::Ended(how) => return Ok(Some(how)),
                Event::Silent => {
                    let seconds = self.limits.timeout;
                    let hint = "does it write each answer at once, without a buffer?";
                    let said = running.last_words();
                    return Err(self.failed(&format!(
                        "did not answer request {request} of {} within {seconds} s ({hint}){said}",
                        requests.len()
                    )));
                }
            }
        }
        Ok(None)
    }

    fn failed(&self, how: &str) -> FeedbackError {
        FeedbackError::Scorer(format!("`{}` {how}", self.command))
    }
}

/// One request.
#[derive(Serialize)]
struct Request<'a> {
    prompt: &'a str,
    response: &'a str,
}

impl TextScorer for ProgramScorer {
    fn score(&self, texts: &[(String, String)]) -> Result<Vec<f32>, FeedbackError> {
        let request =
            |(prompt, response): &(String, String)| serde_json::to_string(&Request { prompt, response });
        let requests = texts.iter().map(request).collect::<Result<Vec<String>, _>>();
        let requests = requests.map_err(|error| self.failed(&error.to_string()))?;
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = self.answers(&mut process, &requests);
        if answers.is_err() {
            // Answers that are still on their way belong to nothing any more.
            *process = None;
        }
        answers
    }
}
