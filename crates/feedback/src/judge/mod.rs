//! Judges: who says which of two texts for one prompt is better.
//!
//! A [`ScorerJudge`] goes by a score; an [`EndpointJudge`] is a language model that is asked in words.

mod endpoint;
mod pair;
mod scorer;

pub use endpoint::{EndpointConfig, EndpointJudge, Prices, Question, Spent};
pub use pair::{Judge, Pair, Preference};
pub use scorer::ScorerJudge;
