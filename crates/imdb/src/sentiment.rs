//! The ground truth r*: p(positive) of a text, from its words and pairs of words.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::calibration::{Agreement, Calibration};
use crate::classifier::Classifier;
use crate::dataset::{Review, Reviews};
use crate::error::ImdbError;
use crate::features::FeatureKind;
use crate::judge::Judge;
use crate::logistic::FitConfig;
use crate::split::{Purpose, stratified, stream};

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

impl Default for SentimentConfig {
    fn default() -> Self {
        Self {
            window_words: (12, 64),
            windows_per_review: 4,
            features: 80_000,
            epochs: 4,
            batch_size: 256,
            learning_rate: 0.2,
            l2: 3e-6,
            calibration_share: 0.1,
            seed: 0,
        }
    }
}

impl SentimentConfig {
    /// Refuses impossible values, naming the key.
    pub fn validate(&self) -> Result<(), ImdbError> {
        let (shortest, longest) = self.window_words;
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let checks: [(&'static str, String, bool, &'static str); 8] = [
            (
                "window_words",
                format!("[{shortest}, {longest}]"),
                1 <= shortest && shortest <= longest,
                "[shortest, longest] with 1 <= shortest <= longest",
            ),
            (
                "windows_per_review",
                self.windows_per_review.to_string(),
                self.windows_per_review <= 100,
                "0 to 100",
            ),
            ("features", self.features.to_string(), (1..=2_000_000).contains(&self.features), "1 to 2000000"),
            ("epochs", self.epochs.to_string(), self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size.to_string(), self.batch_size >= 1, "at least 1"),
            (
                "learning_rate",
                self.learning_rate.to_string(),
                positive(self.learning_rate),
                "a number above 0",
            ),
            ("l2", self.l2.to_string(), self.l2.is_finite() && self.l2 >= 0.0, "a number of at least 0"),
            (
                "calibration_share",
                self.calibration_share.to_string(),
                (0.01..=0.5).contains(&self.calibration_share),
                "0.01 to 0.5",
            ),
        ];
        match checks.into_iter().find(|check| !check.2) {
            Some((key, value, _, expected)) => Err(ImdbError::Config { key, value, expected }),
            None => Ok(()),
        }
    }

    pub(crate) fn fit(&self) -> FitConfig {
        let Self { epochs, batch_size, learning_rate, l2, .. } = *self;
        FitConfig { epochs, batch_size, learning_rate, l2 }
    }
}

/// Accuracy and calibration of a classifier on reviews that it was not trained on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SentimentReport {
    /// Labelled reviews.
    pub n: usize,
    /// Words in a window.
    pub window_words: usize,
    /// On whole reviews.
    pub full: Calibration,
    /// On one window of each.
    pub windows: Calibration,
}

/// The ground truth r*: logistic regression on words and pairs of neighbouring words, with apostrophes kept
/// ("don't like" is a feature). See [`crate::classifier`] for the equation.
#[derive(Debug, Clone, PartialEq)]
pub struct SentimentClassifier(Classifier);

impl SentimentClassifier {
    /// Trains on the labelled ones of the reviews.
    pub fn train(reviews: &[&Review], config: &SentimentConfig) -> Result<Self, ImdbError> {
        Classifier::train(FeatureKind::WordBigrams, false, reviews, config).map(Self)
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

    /// How far two ground truths agree, such as one trained afresh and the shipped one.
    pub fn agreement<T: AsRef<str> + Sync>(&self, other: &Self, texts: &[T]) -> Agreement {
        let pairs: Vec<(f64, f64)> =
            self.probabilities(texts).into_iter().zip(other.probabilities(texts)).collect();
        Agreement::new(&pairs)
    }

    /// Number of n-grams with a weight.
    pub fn features(&self) -> usize {
        self.0.weights.len()
    }

    /// Writes a safetensors file of about six bytes a feature.
    pub fn save(&self, path: &Path) -> Result<(), ImdbError> {
        self.0.save(path)
    }

    /// Reads what [`SentimentClassifier::save`] wrote; every number is the same.
    pub fn load(path: &Path) -> Result<Self, ImdbError> {
        Classifier::load(path, FeatureKind::WordBigrams).map(Self)
    }
}

/// How the ground truth and the judge are trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroundTruthConfig {
    /// The ground truth's.
    pub sentiment: SentimentConfig,
    /// The judge's.
    pub judge: SentimentConfig,
    /// Share of the train reviews that the judge gets; the ground truth gets the rest.
    pub judge_share: f64,
    /// Decides which reviews go to whom.
    pub seed: u64,
}

impl Default for GroundTruthConfig {
    fn default() -> Self {
        Self {
            sentiment: SentimentConfig::default(),
            judge: Judge::default_config(),
            judge_share: 0.5,
            seed: 0,
        }
    }
}

/// How good the two are, on the test reviews.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroundTruthReport {
    /// Reviews that trained and calibrated the ground truth.
    pub sentiment_reviews: usize,
    /// Reviews that trained and calibrated the judge; none of the others is among them.
    pub judge_reviews: usize,
    /// The ground truth.
    pub sentiment: SentimentReport,
    /// The judge.
    pub judge: SentimentReport,
    /// How far they agree on the whole test reviews.
    pub agreement: Agreement,
}

/// What [`train_ground_truth`] makes.
#[derive(Debug, Clone, PartialEq)]
pub struct GroundTruth {
    /// r*.
    pub sentiment: SentimentClassifier,
    /// The second opinion.
    pub judge: Judge,
    /// How good they are.
    pub report: GroundTruthReport,
}

/// Trains the ground truth and the judge on disjoint parts of the train reviews, both labels in both, and
/// reports on the test reviews. The same reviews and settings give the same bits.
pub fn train_ground_truth(reviews: &Reviews, config: &GroundTruthConfig) -> Result<GroundTruth, ImdbError> {
    if !(0.05..=0.95).contains(&config.judge_share) {
        let value = config.judge_share.to_string();
        return Err(ImdbError::Config { key: "judge_share", value, expected: "0.05 to 0.95" });
    }
    let started = std::time::Instant::now();
    let labels: Vec<Option<bool>> = reviews.train.iter().map(|review| review.positive).collect();
    let mut generator = stream(config.seed, Purpose::Halves);
    let (for_sentiment, for_judge) = stratified(&labels, config.judge_share, &mut generator);
    let pick =
        |indices: &[usize]| indices.iter().map(|&index| &reviews.train[index]).collect::<Vec<&Review>>();
    let (sentiment, judge) = rayon::join(
        || SentimentClassifier::train(&pick(&for_sentiment), &config.sentiment),
        || Judge::train(&pick(&for_judge), &config.judge),
    );
    let (sentiment, judge) = (sentiment?, judge?);
    let texts: Vec<&str> = reviews.test.iter().map(|review| review.text.as_str()).collect();
    let pairs: Vec<(f64, f64)> =
        sentiment.probabilities(&texts).into_iter().zip(judge.probabilities(&texts)).collect();
    let report = GroundTruthReport {
        sentiment_reviews: for_sentiment.len(),
        judge_reviews: for_judge.len(),
        sentiment: sentiment.report(&reviews.test, config.seed),
        judge: judge.report(&reviews.test, config.seed),
        agreement: Agreement::new(&pairs),
    };
    tracing::info!(
        "ground truth: {:.1}% of {} test reviews right ({:.1}% of {}-word windows); judge {:.1}% ({:.1}%); {:.1?}",
        100.0 * report.sentiment.full.accuracy,
        report.sentiment.n,
        100.0 * report.sentiment.windows.accuracy,
        report.sentiment.window_words,
        100.0 * report.judge.full.accuracy,
        100.0 * report.judge.windows.accuracy,
        started.elapsed()
    );
    Ok(GroundTruth { sentiment, judge, report })
}
