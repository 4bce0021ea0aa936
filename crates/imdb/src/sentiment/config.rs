//! How the two classifiers are trained.

use lm::{Config, Problem};
use serde::{Deserialize, Serialize};

/// How a classifier is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SentimentConfig {
    /// Shortest and longest training window, in words: about as long as the responses.
    pub window_words: (usize, usize),
    /// Windows drawn from each review, besides the whole review.
    pub windows_per_review: usize,
    /// Most n-grams in the vocabulary, chosen by document frequency; each takes six bytes in the file.
    pub features: usize,
    /// Passes over all whole reviews and windows.
    pub epochs: usize,
    /// Texts in a gradient step.
    pub batch_size: usize,
    /// `AdaGrad`'s step size.
    pub learning_rate: f64,
    /// Weight of |w|^2 / 2 beside the mean loss.
    pub l2: f64,
    /// Share of the reviews that only calibrates.
    pub calibration_share: f64,
    /// Decides the splits, the windows and the order.
    pub seed: u64,
}

impl Config for SentimentConfig {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let (shortest, longest) = self.window_words;
        if !(1 <= shortest && shortest <= longest) {
            let expected = "[shortest, longest] with 1 <= shortest <= longest";
            problems.push(Problem::new("window_words", format!("[{shortest}, {longest}]"), expected));
        }
        let counts = [
            ("windows_per_review", self.windows_per_review, 0..=100, "0 to 100"),
            ("features", self.features, 1..=2_000_000, "1 to 2000000"),
            ("epochs", self.epochs, 1..=usize::MAX, "at least 1"),
            ("batch_size", self.batch_size, 1..=usize::MAX, "at least 1"),
        ];
        for (key, found, possible, expected) in counts {
            if !possible.contains(&found) {
                problems.push(Problem::new(key, found, expected));
            }
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            problems.push(Problem::new("learning_rate", self.learning_rate, "a positive number"));
        }
        if !(self.l2 >= 0.0 && self.l2.is_finite()) {
            problems.push(Problem::new("l2", self.l2, "0 or a positive number"));
        }
        if !(0.01..=0.5).contains(&self.calibration_share) {
            problems.push(Problem::new("calibration_share", self.calibration_share, "0.01 to 0.5"));
        }
        problems
    }
}

/// How the ground truth and the second opinion are trained.
///
/// In presets the second opinion's keys are `judge` and `judge_share`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroundTruthConfig {
    /// The ground truth's.
    pub sentiment: SentimentConfig,
    /// The second opinion's.
    #[serde(rename = "judge")]
    pub second_opinion: SentimentConfig,
    /// Share of the train reviews that the second opinion gets; the ground truth gets the rest.
    #[serde(rename = "judge_share")]
    pub second_opinion_share: f64,
    /// Decides which reviews go to which.
    pub seed: u64,
}

impl Config for GroundTruthConfig {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (section, config) in [("sentiment", &self.sentiment), ("judge", &self.second_opinion)] {
            problems.extend(config.problems_within(section));
        }
        if !(0.05..=0.95).contains(&self.second_opinion_share) {
            problems.push(Problem::new("judge_share", self.second_opinion_share, "0.05 to 0.95"));
        }
        problems
    }
}
