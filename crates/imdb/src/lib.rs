//! The `IMDb` sentiment experiment's own part: movie reviews, and the two classifiers that say how positive a
//! text is.
//!
//! The experiment asks which algorithm earns more *reward* at the same distance from its reference
//! model, so the reward has to be known exactly. Here it is p(positive) of a movie review:
//!
//! - [`reviews`] reads the Large Movie Review Dataset by whichever route works, cleans it and counts every
//!   text it drops, or writes reviews from a grammar whose sentiment is known;
//! - [`sentiment`] trains the ground truth r*, and a second opinion from other reviews and other features,
//!   which shows when a policy has learned the quirks of r* instead of sentiment;
//! - [`openings`] makes prompts of the first tokens of reviews.
//!
//! What every other experiment with preferences needs too (responses, labels, pairs, evaluation) is in
//! `feedback`.
//!
//! What the crate refuses to know: which algorithm trained a policy.

mod error;
pub mod openings;
pub mod reviews;
pub mod sentiment;
mod split;

pub use error::{ImdbError, RouteFailure};
pub use openings::PromptConfig;
pub use reviews::{Origin, Review, Reviews, Route, Source, load};
pub use sentiment::{
    FeatureKind, GroundTruth, GroundTruthConfig, SentimentClassifier, SentimentConfig, train_ground_truth,
};
