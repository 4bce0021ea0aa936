//! Two classifiers that say how positive a text is: the ground truth r* and a second opinion.
//!
//! Both are a [`SentimentClassifier`], a linear function of n-grams: see [`classifier`] for the equation and
//! [`training`] for how it is learned. They differ in their [`FeatureKind`] and in the reviews that they are
//! trained on ([`ground_truth`]).

pub mod calibration;
pub mod classifier;
mod config;
mod features;
mod files;
pub mod ground_truth;
mod logistic;
mod report;
pub mod training;
mod windows;

pub use classifier::SentimentClassifier;
pub use config::{GroundTruthConfig, SentimentConfig};
pub use features::FeatureKind;
pub use ground_truth::{
    GROUND_TRUTH_FEATURES, GroundTruth, GroundTruthReport, SECOND_OPINION_FEATURES, train_ground_truth,
};
pub use report::{REPORT_WINDOW_WORDS, SentimentReport};
