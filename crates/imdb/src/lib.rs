//! The `IMDb` sentiment harness: where the reviews come from, and the two classifiers that say how
//! positive a text is.
//!
//! The experiment asks which algorithm earns more *reward* at the same distance from its reference
//! model, so the reward has to be known exactly. Here it is p(positive) of a movie review:
//!
//! - [`dataset`] reads the Large Movie Review Dataset (Maas et al. 2011) by whichever route works
//!   ([`fetch`]), cleans it ([`clean`]) and counts every text it drops;
//! - [`synthetic`] writes reviews from a small grammar whose sentiment is known in closed form;
//! - [`sentiment`] trains the ground truth r*, and [`judge`] a second opinion from other reviews and
//!   other features, which shows when a policy has learned the quirks of r* instead of sentiment.
//!
//!
//! These work on `&str`. Where token ids come in, so does the language model, as `lm` shows it:
//!
//! - [`prompts`] are the first tokens of reviews, [`scorers`] make scorers of the classifiers;
//! - [`preferences`] samples, scores and labels responses; [`evaluate`] measures a policy.
//!
//! What the crate refuses to know: which algorithm trained a policy.

pub mod archive;
pub mod calibration;
pub mod classifier;
pub mod clean;
pub mod dataset;
pub mod error;
pub mod evaluate;
pub mod features;
pub mod fetch;
pub mod judge;
mod logistic;
pub mod preferences;
pub mod prompts;
pub mod scorers;
pub mod sentiment;
pub mod split;
pub mod synthetic;
mod weights;

pub use dataset::{Counts, Origin, Review, Reviews, Route, Source, load};
pub use error::ImdbError;
pub use evaluate::{Estimate, Evaluation, Evaluator, Sample};
pub use judge::Judge;
pub use preferences::{LabelledPair, Labels, PreferenceConfig, Preferences};
pub use prompts::{PromptConfig, Prompts};
pub use scorers::{SentimentScorer, TextClassifier};
pub use sentiment::{GroundTruth, SentimentClassifier, SentimentConfig, train_ground_truth};
