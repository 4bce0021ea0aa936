//! How a sentiment classifier is trained: a regression on n-grams, then one on its evidence.

use lm::{Config, Stream};
use rand::{Rng, RngExt};
use rayon::prelude::*;

use crate::error::ImdbError;
use crate::reviews::Review;
use crate::sentiment::classifier::{LengthCalibration, SentimentClassifier, half_precision};
use crate::sentiment::config::SentimentConfig;
use crate::sentiment::features::{FeatureKind, Vocabulary};
use crate::sentiment::logistic::{FitConfig, Linear, SparseRows};
use crate::sentiment::windows::Windows;
use crate::split::stratified;

/// Fewest reviews of each label that a classifier can be trained on.
pub const LEAST_REVIEWS: usize = 20;
/// Added to the counts of log-count ratios, as in NBSVM.
const SMOOTHING: f64 = 1.0;
/// Numbers of the random streams that a classifier's seed is used with.
const CALIBRATION_SPLIT: u64 = 3;
const WINDOWS: u64 = 4;
const ORDER: u64 = 5;
const CALIBRATION_ORDER: u64 = 8;

impl SentimentClassifier {
    /// Trains a classifier of these features on the labelled ones of the reviews.
    ///
    /// # Errors
    /// If a setting is impossible, or there are fewer than [`LEAST_REVIEWS`] of a label.
    pub fn train(
        kind: FeatureKind,
        reviews: &[&Review],
        config: &SentimentConfig,
    ) -> Result<Self, ImdbError> {
        config.check()?;
        let labels: Vec<Option<bool>> = reviews.iter().map(|review| review.positive).collect();
        for (label, what) in [(true, "positive reviews"), (false, "negative reviews")] {
            let found = labels.iter().filter(|&&found| found == Some(label)).count();
            if found < LEAST_REVIEWS {
                return Err(ImdbError::TooFew {
                    purpose: "training a sentiment classifier",
                    what,
                    expected: LEAST_REVIEWS,
                    found,
                });
            }
        }
        let mut generator = Stream::numbered(config.seed, CALIBRATION_SPLIT).rng();
        let (training, held_out) = stratified(&labels, config.calibration_share, &mut generator);
        let mut windows = Stream::numbered(config.seed, WINDOWS).rng();
        let training = Examples::draw(reviews, &training, config, &mut windows);
        let held_out = Examples::draw(reviews, &held_out, config, &mut windows);
        let uncalibrated = Self::fit(kind, &training, config);
        Ok(uncalibrated.calibrated(&held_out, config))
    }

    /// The first regression.
    fn fit(kind: FeatureKind, examples: &Examples, config: &SentimentConfig) -> Self {
        let documents: Vec<Vec<u32>> = examples.texts.par_iter().map(|text| kind.hashes(text)).collect();
        let full = examples.full_reviews;
        let vocabulary = Vocabulary::build(&documents[..full], config.features);
        let known: Vec<Vec<u32>> =
            documents.into_par_iter().map(|hashes| vocabulary.columns(&hashes).collect()).collect();
        let scales = match kind {
            FeatureKind::WordBigrams => vec![1.0; vocabulary.len()],
            FeatureKind::CharacterNgrams => {
                log_count_ratios(&known[..full], &examples.labels[..full], vocabulary.len())
            }
        };
        let mut rows = SparseRows::new();
        for columns in &known {
            let norm = (columns.len().max(1) as f64).sqrt();
            rows.push(columns.iter().map(|&column| (column, (scales[column as usize] / norm) as f32)));
        }
        let start = Linear { weights: vec![0.0; vocabulary.len()], bias: 0.0 };
        let order = &mut Stream::numbered(config.seed, ORDER).rng();
        let linear = start.fit(&rows, &examples.labels, fit_config(config), order);
        let weights = linear
            .weights
            .iter()
            .zip(&scales)
            .map(|(weight, scale)| half_precision(weight * scale))
            .collect();
        let calibration =
            LengthCalibration { slope: 1.0, slope_by_length: 0.0, offset: 0.0, fewest: 1.0, most: f32::MAX };
        Self { kind, vocabulary, weights, bias: linear.bias as f32, calibration }
    }

    /// The second regression, on evidence and evidence times ln(n / 100).
    fn calibrated(mut self, held_out: &Examples, config: &SentimentConfig) -> Self {
        let evidence: Vec<(f64, usize)> = held_out.texts.par_iter().map(|text| self.evidence(text)).collect();
        let lengths = || evidence.iter().map(|&(_, known)| known.max(1) as f32);
        self.calibration.fewest = lengths().fold(f32::MAX, f32::min);
        self.calibration.most = lengths().fold(1.0, f32::max);
        let mut rows = SparseRows::new();
        for &(evidence, known) in &evidence {
            let log_length = self.calibration.log_length(known);
            rows.push([(0, evidence as f32), (1, (evidence * log_length) as f32)]);
        }
        let start = Linear { weights: vec![1.0, 0.0], bias: 0.0 };
        let fit = FitConfig { epochs: 200, batch_size: 1000, learning_rate: 0.1, l2: 0.0 };
        let linear = start.fit(
            &rows,
            &held_out.labels,
            fit,
            &mut Stream::numbered(config.seed, CALIBRATION_ORDER).rng(),
        );
        self.calibration.slope = linear.weights[0] as f32;
        self.calibration.slope_by_length = linear.weights[1] as f32;
        self.calibration.offset = linear.bias as f32;
        self
    }
}

/// The settings of the first regression.
fn fit_config(config: &SentimentConfig) -> FitConfig {
    let SentimentConfig { epochs, batch_size, learning_rate, l2, .. } = *config;
    FitConfig { epochs, batch_size, learning_rate, l2 }
}

/// How much more often each n-gram occurs in positive reviews (NBSVM, Wang and Manning 2012):
/// `r_j = ln((p_j + 1) / |p + 1|) - ln((q_j + 1) / |q + 1|)`, where `p_j` and `q_j` count the positive and
/// negative reviews with n-gram j and |.| is the sum over j.
fn log_count_ratios(documents: &[Vec<u32>], labels: &[bool], features: usize) -> Vec<f64> {
    let mut counts = [vec![SMOOTHING; features], vec![SMOOTHING; features]];
    for (columns, &positive) in documents.iter().zip(labels) {
        for &column in columns {
            counts[usize::from(positive)][column as usize] += 1.0;
        }
    }
    let [negative, positive] = counts;
    let (positives, negatives): (f64, f64) = (positive.iter().sum(), negative.iter().sum());
    positive.iter().zip(&negative).map(|(p, q)| (p / positives).ln() - (q / negatives).ln()).collect()
}

/// Texts to learn from: first the whole reviews, then windows of them.
struct Examples<'a> {
    texts: Vec<&'a str>,
    labels: Vec<bool>,
    full_reviews: usize,
}

impl<'a> Examples<'a> {
    /// The labelled reviews named by `indices`, whole, and windows of each. The first window of each is its
    /// opening, since that is where responses to a prompt begin.
    fn draw(
        reviews: &[&'a Review],
        indices: &[usize],
        config: &SentimentConfig,
        generator: &mut impl Rng,
    ) -> Self {
        let labelled: Vec<(&str, bool)> = indices
            .iter()
            .filter_map(|&index| Some((reviews[index].text.as_str(), reviews[index].positive?)))
            .collect();
        let (mut texts, mut labels): (Vec<&str>, Vec<bool>) = labelled.iter().copied().unzip();
        let (shortest, longest) = config.window_words;
        for &(text, positive) in &labelled {
            let windows = Windows::of(text);
            for number in 0..config.windows_per_review {
                let window = if number == 0 {
                    windows.opening(generator.random_range(shortest..=longest))
                } else {
                    windows.draw(shortest..=longest, generator)
                };
                texts.push(window);
                labels.push(positive);
            }
        }
        Self { texts, labels, full_reviews: labelled.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_count_ratios_by_hand() {
        // Column 0 in both positive reviews, column 1 in one of each: p + 1 = (3, 2), q + 1 = (1, 2).
        let documents = [vec![0, 1], vec![0], vec![1]];
        let found = log_count_ratios(&documents, &[true, true, false], 2);
        assert!((found[0] - ((3.0_f64 / 5.0) / (1.0 / 3.0)).ln()).abs() < 1e-12);
        assert!((found[1] - ((2.0_f64 / 5.0) / (2.0 / 3.0)).ln()).abs() < 1e-12);
    }
}
