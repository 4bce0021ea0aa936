//! Exit codes.

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 0: all that was asked for is there.
    Done,
    /// 1: something failed.
    Failure,
    /// 3: some runs failed; the frontier is drawn from the rest.
    SomeRunsFailed,
    /// 42: the configuration or the data is bad; nothing was started.
    BadInput,
    /// 130: interrupted; what is finished is kept.
    Interrupted,
}

impl Outcome {
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failure => 1,
            Self::SomeRunsFailed => 3,
            Self::BadInput => 42,
            Self::Interrupted => 130,
        }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(outcome.code())
    }
}

/// The user's input is at fault: a preset, a path, a device, an output folder.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadInput(pub String);

/// Ctrl-C, or a request to terminate.
#[derive(Debug, thiserror::Error)]
#[error("interrupted; the same command goes on from here")]
pub struct Interrupted;

/// Whether the language model's files, settings or device are at fault.
fn is_bad_input(error: &lm::LmError) -> bool {
    matches!(
        error,
        lm::LmError::File { .. }
            | lm::LmError::Tensor { .. }
            | lm::LmError::State { .. }
            | lm::LmError::Config(_)
            | lm::LmError::Device { .. }
            | lm::LmError::DeviceNotBuilt { .. }
    )
}

/// The outcome that an error stands for.
pub fn of(error: &anyhow::Error) -> Outcome {
    let bad_data = error.chain().any(|cause| {
        cause.is::<BadInput>()
            || cause.is::<measure::CaseError>()
            || match cause.downcast_ref::<imdb::ImdbError>() {
                Some(imdb::ImdbError::Lm(error)) => is_bad_input(error),
                Some(_) => true,
                None => false,
            }
            || match cause.downcast_ref::<feedback::FeedbackError>() {
                Some(feedback::FeedbackError::Lm(error)) => is_bad_input(error),
                Some(_) => true,
                None => false,
            }
            || cause.downcast_ref::<lm::LmError>().is_some_and(is_bad_input)
    });
    if error.chain().any(<dyn std::error::Error>::is::<Interrupted>) {
        Outcome::Interrupted
    } else if bad_data {
        Outcome::BadInput
    } else {
        Outcome::Failure
    }
}
