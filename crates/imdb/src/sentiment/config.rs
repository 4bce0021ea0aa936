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
        let (shortest, longest) = self.window_words;
        let window = format!("[{shortest}, {longest}]");
        let (l2, share) = (self.l2, self.calibration_share);
        let windows = self.windows_per_review;
        let checks = [
            Problem::unless(
                1 <= shortest && shortest <= longest,
                "window_words",
                window,
                "[shortest, longest] with 1 <= shortest <= longest",
            ),
            Problem::unless(windows <= 100, "windows_per_review", windows, "0 to 100"),
            Problem::unless(
                (1..=2_000_000).contains(&self.features),
                "features",
                self.features,
                "1 to 2000000",
            ),
            Problem::unless_counted("epochs", self.epochs),
            Problem::unless_counted("batch_size", self.batch_size),
            Problem::unless_positive("learning_rate", self.learning_rate),
            Problem::unless(l2 >= 0.0 && l2.is_finite(), "l2", l2, "0 or a positive number"),
            Problem::unless((0.01..=0.5).contains(&share), "calibration_share", share, "0.01 to 0.5"),
        ];
        checks.into_iter().flatten().collect()
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
        let share = self.second_opinion_share;
        let possible = (0.05..=0.95).contains(&share);
        problems.extend(Problem::unless(possible, "judge_share", share, "0.05 to 0.95"));
        problems
    }
}
