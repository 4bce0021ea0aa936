//! Judges: who says which of two texts for one prompt is better.
//!
//! A [`ScorerJudge`] goes by a score, a [`ProgramJudge`] is a program outside, an [`EndpointJudge`] a
//! language model that is asked in words.

mod endpoint;
mod pair;
mod program;
mod scorer;

pub use endpoint::{EndpointConfig, EndpointJudge, Prices, Question, Spent};
pub use pair::{Judge, Pair, Preference};
pub use program::ProgramJudge;
pub use scorer::ScorerJudge;

#[cfg(fuzzing)]
#[doc(hidden)]
pub use endpoint::read_reply;

/// Reads a line of a program's answers, as the judge does: for fuzz targets.
#[cfg(fuzzing)]
#[doc(hidden)]
pub fn read_preference(line: &[u8]) {
    drop(program::read(line));
}
