//! A program that is asked: one line of JSON for each request, one line for each answer.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lm::{Config, Problem};
use serde::{Deserialize, Serialize};

use super::process::{Event, Process};
use crate::error::FeedbackError;

/// How much is borne from a program.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramLimits {
    /// Seconds that it may take for an answer, counted from the answer before; it is ended if it takes
    /// longer.
    pub timeout: f64,
    /// How often it is started again within one batch of requests if it ends before it has answered all of
    /// them.
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

/// What is made of an answer's bytes: a value, or what was found instead.
pub(crate) struct Answers<T> {
    pub(crate) read: fn(&[u8]) -> Result<T, String>,
    /// What should have been found.
    pub(crate) expected: &'static str,
}

/// A program, and the process of it that runs.
#[derive(Debug)]
pub(crate) struct Program {
    command: String,
    limits: ProgramLimits,
    process: Mutex<Option<Process>>,
    /// What its failures are called.
    error: fn(String) -> FeedbackError,
}

impl Program {
    /// The shell's `command`; nothing is started yet. Its failures become errors by `error`.
    pub(crate) fn new(
        command: String,
        limits: ProgramLimits,
        error: fn(String) -> FeedbackError,
    ) -> Result<Self, FeedbackError> {
        limits.check()?;
        if command.trim().is_empty() {
            let problem = Problem::new("command", "an empty one", "a command for the shell");
            return Err(lm::Problems::from(problem).into());
        }
        Ok(Self { command, limits, process: Mutex::new(None), error })
    }

    /// An answer to each request, in their order.
    pub(crate) fn ask<T>(
        &self,
        requests: &[impl Serialize],
        answers: &Answers<T>,
    ) -> Result<Vec<T>, FeedbackError> {
        let requests = requests.iter().map(serde_json::to_string).collect::<Result<Vec<String>, _>>();
        let requests = requests.map_err(|error| self.failed(&error.to_string()))?;
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        let answered = self.answers(&mut process, &requests, answers);
        if answered.is_err() {
            // Answers that are still on their way belong to nothing any more.
            *process = None;
        }
        answered
    }

    /// Answers to all requests, from a program that may have to be started again on the way.
    fn answers<T>(
        &self,
        process: &mut Option<Process>,
        requests: &[String],
        answers: &Answers<T>,
    ) -> Result<Vec<T>, FeedbackError> {
        let mut answered = Vec::with_capacity(requests.len());
        let mut starts_left = self.limits.restarts;
        while answered.len() < requests.len() {
            let running = match process {
                Some(running) => running,
                None => process
                    .insert(Process::start(&self.command).map_err(|error| self.failed(&error.to_string()))?),
            };
            if let Some(line) = running.unasked() {
                return Err(self.failed(&format!("said {line} before it was asked: one line a request")));
            }
            running.send(&requests[answered.len()..]);
            let Some(ended) = self.listen(running, requests, answers, &mut answered)? else { break };
            *process = None;
            if starts_left == 0 {
                let (restarts, next) = (self.limits.restarts, answered.len() + 1);
                let again =
                    if restarts == 0 { String::new() } else { format!(", after {restarts} restarts") };
                let ended = format!("{ended} before it answered request {next} of {}{again}", requests.len());
                return Err(self.failed(&ended));
            }
            starts_left -= 1;
            tracing::warn!("`{}` {ended}; it is started again", self.command);
        }
        Ok(answered)
    }

    /// Takes answers until all are there, or the program ends: then how.
    fn listen<T>(
        &self,
        running: &mut Process,
        requests: &[String],
        answers: &Answers<T>,
        answered: &mut Vec<T>,
    ) -> Result<Option<String>, FeedbackError> {
        let timeout = Duration::from_secs_f64(self.limits.timeout);
        while answered.len() < requests.len() {
            let request = answered.len() + 1;
            match running.next(timeout) {
                Event::Line(line) => answered.push((answers.read)(&line).map_err(|found| {
                    let expected = answers.expected;
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
        (self.error)(format!("`{}` {how}", self.command))
    }
}
