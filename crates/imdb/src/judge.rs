//! A second judge of sentiment, trained apart from the ground truth: on other reviews, with other features.
//!
//! A policy that has learned what moves r*, rather than what moves a reader, gains less with the judge than
//! with r*. The judge reads runs of characters instead of words, weighted by log-count ratios (NBSVM, Wang and
//! Manning 2012).

use std::path::Path;

use crate::classifier::Classifier;
use crate::dataset::Review;
use crate::error::ImdbError;
use crate::features::FeatureKind;
use crate::sentiment::{SentimentConfig, SentimentReport};

/// The second judge. See [`crate::classifier`] for the equation.
#[derive(Debug, Clone, PartialEq)]
pub struct Judge(Classifier);

impl Judge {
    /// The settings that suit its features.
    pub fn default_config() -> SentimentConfig {
        SentimentConfig { windows_per_review: 2, learning_rate: 0.5, ..SentimentConfig::default() }
    }

    /// Trains on the labelled ones of the reviews.
    pub fn train(reviews: &[&Review], config: &SentimentConfig) -> Result<Self, ImdbError> {
        Classifier::train(FeatureKind::CharacterNgrams, true, reviews, config).map(Self)
    }

    /// p(positive) in [0, 1].
    pub fn probability(&self, text: &str) -> f64 {
        self.0.probability(text)
    }

    /// p(positive) of many texts, on all cores, in their order.
    pub fn probabilities<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Vec<f64> {
        self.0.probabilities(texts)
    }

    /// ln(p / (1 - p)).
    pub fn logit(&self, text: &str) -> f64 {
        self.0.logit(text)
    }

    /// Accuracy and calibration on whole reviews and on one 40-word window of each, drawn by `seed`.
    pub fn report(&self, reviews: &[Review], seed: u64) -> SentimentReport {
        self.0.report(reviews, seed)
    }

    /// Number of n-grams with a weight.
    pub fn features(&self) -> usize {
        self.0.weights.len()
    }

    /// Writes a safetensors file of about six bytes a feature.
    pub fn save(&self, path: &Path) -> Result<(), ImdbError> {
        self.0.save(path)
    }

    /// Reads what [`Judge::save`] wrote; every number is the same.
    pub fn load(path: &Path) -> Result<Self, ImdbError> {
        Classifier::load(path, FeatureKind::CharacterNgrams).map(Self)
    }
}
