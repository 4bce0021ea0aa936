//! The ground truth r* and a second opinion, trained on different reviews with different features.
//!
//! r* reads words and pairs of words. A policy that has learned what moves r*, rather than what moves a
//! reader, gains less with the second opinion than with r*: that one has seen none of r*'s reviews and reads
//! runs of characters.

use lm::{Config, Stream};
use serde::{Deserialize, Serialize};

use crate::error::ImdbError;
use crate::reviews::{Review, Reviews};
use crate::sentiment::calibration::Agreement;
use crate::sentiment::classifier::SentimentClassifier;
use crate::sentiment::config::GroundTruthConfig;
use crate::sentiment::features::FeatureKind;
use crate::sentiment::report::SentimentReport;
use crate::split::stratified;

/// The features of the ground truth.
pub const GROUND_TRUTH_FEATURES: FeatureKind = FeatureKind::WordBigrams;
/// The features of the second opinion.
pub const SECOND_OPINION_FEATURES: FeatureKind = FeatureKind::CharacterNgrams;
/// Number of the random stream that deals the reviews out to the two.
const HALVES: u64 = 2;

/// How good the two are, on the test reviews. In files the second opinion is called `judge`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroundTruthReport {
    /// Reviews that trained and calibrated the ground truth.
    pub sentiment_reviews: usize,
    /// Reviews that trained and calibrated the second opinion; none of the others is among them.
    #[serde(rename = "judge_reviews")]
    pub second_opinion_reviews: usize,
    /// The ground truth.
    pub sentiment: SentimentReport,
    /// The second opinion.
    #[serde(rename = "judge")]
    pub second_opinion: SentimentReport,
    /// How far they agree on the whole test reviews.
    pub agreement: Agreement,
}

/// What [`train_ground_truth`] makes.
#[derive(Debug, Clone, PartialEq)]
pub struct GroundTruth {
    /// r*, of [`GROUND_TRUTH_FEATURES`].
    pub sentiment: SentimentClassifier,
    /// The second opinion, of [`SECOND_OPINION_FEATURES`].
    pub second_opinion: SentimentClassifier,
    /// How good they are.
    pub report: GroundTruthReport,
}

/// Trains the ground truth and the second opinion on disjoint parts of the train reviews, both labels in
/// both, and reports on the test reviews. The same reviews and settings give the same bits.
///
/// # Errors
/// If a setting is impossible, or there are too few reviews of a label.
pub fn train_ground_truth(reviews: &Reviews, config: &GroundTruthConfig) -> Result<GroundTruth, ImdbError> {
    config.check()?;
    let started = std::time::Instant::now();
    let labels: Vec<Option<bool>> = reviews.train.iter().map(|review| review.positive).collect();
    let mut generator = Stream::numbered(config.seed, HALVES).rng();
    let (first, second) = stratified(&labels, config.second_opinion_share, &mut generator);
    let train = |kind, indices: &[usize], config| {
        let reviews: Vec<&Review> = indices.iter().map(|&index| &reviews.train[index]).collect();
        SentimentClassifier::train(kind, &reviews, config)
    };
    let (sentiment, second_opinion) = rayon::join(
        || train(GROUND_TRUTH_FEATURES, &first, &config.sentiment),
        || train(SECOND_OPINION_FEATURES, &second, &config.second_opinion),
    );
    let (sentiment, second_opinion) = (sentiment?, second_opinion?);
    let texts: Vec<&str> = reviews.test.iter().map(|review| review.text.as_str()).collect();
    let report = GroundTruthReport {
        sentiment_reviews: first.len(),
        second_opinion_reviews: second.len(),
        sentiment: sentiment.report(&reviews.test, config.seed),
        second_opinion: second_opinion.report(&reviews.test, config.seed),
        agreement: sentiment.agreement(&second_opinion, &texts),
    };
    tracing::info!(
        "ground truth: {:.1}% of {} test reviews right ({:.1}% of {}-word windows); second opinion {:.1}% \
         ({:.1}%); {:.1?}",
        100.0 * report.sentiment.full.accuracy,
        report.sentiment.n,
        100.0 * report.sentiment.windows.accuracy,
        report.sentiment.window_words,
        100.0 * report.second_opinion.full.accuracy,
        100.0 * report.second_opinion.windows.accuracy,
        started.elapsed()
    );
    Ok(GroundTruth { sentiment, second_opinion, report })
}
