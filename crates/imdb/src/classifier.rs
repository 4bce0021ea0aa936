//! The classifier that the ground truth and the judge share: a linear function of the set of n-grams,
//! calibrated by length.
//!
//! With S the n-grams of the text that the vocabulary knows and n = max(|S|, 1):
//!
//! ```text
//! evidence = sum_{j in S} w_j / sqrt(n) + b
//! logit    = (a_0 + a_1 ln(n / 100)) evidence + c
//! p(positive) = sigma(logit)
//! ```
//!
//! w and b come from a logistic regression on whole reviews and on windows of them; a and c from a second one
//! on reviews that the first has not seen, so that the probabilities mean what they say for short texts as
//! for long ones.

use rayon::prelude::*;

use crate::calibration::Calibration;
use crate::dataset::Review;
use crate::error::ImdbError;
use crate::features::{FeatureKind, Vocabulary};
use crate::logistic::{FitConfig, Linear, SparseRows, sigmoid};
use crate::sentiment::{SentimentConfig, SentimentReport};
use crate::split::{Purpose, stratified, stream};
use crate::weights::half_precision;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Words in the windows of [`SentimentReport`].
pub const REPORT_WINDOW_WORDS: usize = 40;
/// Fewest reviews of each label that a classifier can be trained on.
pub const LEAST_REVIEWS: usize = 20;
/// Number of n-grams at which the slope of the calibration is `a_0`.
const REFERENCE_NGRAMS: f64 = 100.0;
/// Added to the counts of log-count ratios, as in NBSVM.
const SMOOTHING: f64 = 1.0;

/// The second regression's numbers: logit = (`slope` + `slope_by_length` ln(n / 100)) evidence + `offset`,
/// with n held within the lengths that it was fitted on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LengthCalibration {
    pub(crate) slope: f32,
    pub(crate) slope_by_length: f32,
    pub(crate) offset: f32,
    pub(crate) fewest: f32,
    pub(crate) most: f32,
}

impl LengthCalibration {
    fn log_length(&self, ngrams: usize) -> f64 {
        (ngrams as f64).clamp(self.fewest as f64, self.most as f64).max(1.0) / REFERENCE_NGRAMS
    }

    /// The factor on the evidence of a text with this many known n-grams.
    pub(crate) fn slope_at(&self, ngrams: usize) -> f64 {
        self.slope as f64 + self.slope_by_length as f64 * self.log_length(ngrams).ln()
    }
}

/// A trained classifier; see the module for the equation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Classifier {
    pub(crate) kind: FeatureKind,
    pub(crate) vocabulary: Vocabulary,
    /// One weight for each key of the vocabulary, exact in half precision.
    pub(crate) weights: Vec<f32>,
    pub(crate) bias: f32,
    pub(crate) calibration: LengthCalibration,
}

impl Classifier {
    /// The evidence and the number of known n-grams.
    fn evidence(&self, text: &str) -> (f64, usize) {
        let hashes = self.kind.hashes(text);
        let (mut sum, mut known) = (0.0, 0_usize);
        for column in self.vocabulary.columns(&hashes) {
            sum += self.weights[column as usize] as f64;
            known += 1;
        }
        (sum / (known.max(1) as f64).sqrt() + self.bias as f64, known)
    }

    /// ln(p / (1 - p)).
    pub(crate) fn logit(&self, text: &str) -> f64 {
        let (evidence, known) = self.evidence(text);
        self.calibration.slope_at(known) * evidence + self.calibration.offset as f64
    }

    /// p(positive).
    pub(crate) fn probability(&self, text: &str) -> f64 {
        sigmoid(self.logit(text))
    }

    /// p(positive) of many texts, on all cores, in their order.
    pub(crate) fn probabilities<T: AsRef<str> + Sync>(&self, texts: &[T]) -> Vec<f64> {
        texts.par_iter().map(|text| self.probability(text.as_ref())).collect()
    }

    /// Accuracy and calibration on whole reviews and on one window of each, drawn by `seed`.
    pub(crate) fn report(&self, reviews: &[Review], seed: u64) -> SentimentReport {
        let labelled: Vec<(&Review, bool)> =
            reviews.iter().filter_map(|review| Some((review, review.positive?))).collect();
        let mut generator = stream(seed, Purpose::ReportWindows);
        let full: Vec<&str> = labelled.iter().map(|(review, _)| review.text.as_str()).collect();
        let windows: Vec<&str> = full
            .iter()
            .map(|text| Windows::of(text).draw(REPORT_WINDOW_WORDS..=REPORT_WINDOW_WORDS, &mut generator))
            .collect();
        let calibration = |texts: &[&str]| {
            let pairs: Vec<(f64, bool)> = self
                .probabilities(texts)
                .into_iter()
                .zip(labelled.iter().map(|&(_, positive)| positive))
                .collect();
            Calibration::new(&pairs)
        };
        SentimentReport {
            n: labelled.len(),
            window_words: REPORT_WINDOW_WORDS,
            full: calibration(&full),
            windows: calibration(&windows),
        }
    }

    /// Trains on the labelled ones of the reviews. `log_count_ratios`: features are multiplied by how much
    /// more often they occur in positive reviews (NBSVM, Wang and Manning 2012).
    pub(crate) fn train(
        kind: FeatureKind,
        log_count_ratios: bool,
        reviews: &[&Review],
        config: &SentimentConfig,
    ) -> Result<Self, ImdbError> {
        config.validate()?;
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
        let mut generator = stream(config.seed, Purpose::CalibrationSplit);
        let (training, held_out) = stratified(&labels, config.calibration_share, &mut generator);
        let mut windows = stream(config.seed, Purpose::Windows);
        let training = Examples::draw(reviews, &training, config, &mut windows);
        let held_out = Examples::draw(reviews, &held_out, config, &mut windows);
        let uncalibrated = Self::fit(kind, log_count_ratios, &training, config);
        Ok(uncalibrated.calibrated(&held_out, config))
    }

    /// The first regression.
    fn fit(kind: FeatureKind, log_count_ratios: bool, examples: &Examples, config: &SentimentConfig) -> Self {
        let documents: Vec<Vec<u32>> = examples.texts.par_iter().map(|text| kind.hashes(text)).collect();
        let full = examples.full_reviews;
        let vocabulary = Vocabulary::build(&documents[..full], config.features);
        let known: Vec<Vec<u32>> =
            documents.into_par_iter().map(|hashes| vocabulary.columns(&hashes).collect()).collect();
        let scales = if log_count_ratios {
            ratios(&known[..full], &examples.labels[..full], vocabulary.len())
        } else {
            vec![1.0; vocabulary.len()]
        };
        let mut rows = SparseRows::new();
        for columns in &known {
            let norm = (columns.len().max(1) as f64).sqrt();
            rows.push(columns.iter().map(|&column| (column, (scales[column as usize] / norm) as f32)));
        }
        let start = Linear { weights: vec![0.0; vocabulary.len()], bias: 0.0 };
        let order = &mut stream(config.seed, Purpose::Order);
        let linear = start.fit(&rows, &examples.labels, config.fit(), order);
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
            let log_length = self.calibration.log_length(known).ln();
            rows.push([(0, evidence as f32), (1, (evidence * log_length) as f32)]);
        }
        let start = Linear { weights: vec![1.0, 0.0], bias: 0.0 };
        let fit = FitConfig { epochs: 200, batch_size: 1000, learning_rate: 0.1, l2: 0.0 };
        let linear =
            start.fit(&rows, &held_out.labels, fit, &mut stream(config.seed, Purpose::CalibrationOrder));
        self.calibration.slope = linear.weights[0] as f32;
        self.calibration.slope_by_length = linear.weights[1] as f32;
        self.calibration.offset = linear.bias as f32;
        self
    }
}

/// `r_j = ln((p_j + 1) / |p + 1|) - ln((q_j + 1) / |q + 1|)`, where `p_j` and `q_j` count the positive and
/// negative reviews with n-gram j and |.| is the sum over j.
fn ratios(documents: &[Vec<u32>], labels: &[bool], features: usize) -> Vec<f64> {
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
        generator: &mut ChaCha8Rng,
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

/// A text and where its words are.
struct Windows<'a> {
    text: &'a str,
    /// Byte ranges of the words.
    words: Vec<(usize, usize)>,
}

impl<'a> Windows<'a> {
    fn of(text: &'a str) -> Self {
        let start = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
        let words = text.split_whitespace().map(|word| (start(word), start(word) + word.len())).collect();
        Self { text, words }
    }

    fn slice(&self, from: usize, count: usize) -> &'a str {
        match self.words.get(from..(from + count).min(self.words.len())) {
            Some([(start, _), .., (_, end)] | [(start, end)]) => &self.text[*start..*end],
            _ => "",
        }
    }

    /// The first `count` words.
    fn opening(&self, count: usize) -> &'a str {
        self.slice(0, count)
    }

    /// A window anywhere in the text; the whole text if it is no longer than that.
    fn draw(&self, lengths: std::ops::RangeInclusive<usize>, generator: &mut ChaCha8Rng) -> &'a str {
        let count = generator.random_range(lengths);
        let last = self.words.len().saturating_sub(count);
        self.slice(generator.random_range(0..=last), count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_runs_of_whole_words() {
        let windows = Windows::of("one two  three — four.");
        assert_eq!(windows.opening(2), "one two");
        assert_eq!(windows.slice(3, 9), "— four.");
        assert_eq!(windows.slice(4, 1), "four.");
        assert_eq!(Windows::of("").draw(3..=5, &mut stream(0, Purpose::Windows)), "");
        let mut generator = stream(1, Purpose::Windows);
        let drawn: std::collections::BTreeSet<&str> =
            (0..200).map(|_| windows.draw(4..=4, &mut generator)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), ["one two  three —", "two  three — four."]);
    }

    #[test]
    fn log_count_ratios_by_hand() {
        // Column 0 in both positive reviews, column 1 in one of each: p + 1 = (3, 2), q + 1 = (1, 2).
        let documents = [vec![0, 1], vec![0], vec![1]];
        let found = ratios(&documents, &[true, true, false], 2);
        assert!((found[0] - ((3.0_f64 / 5.0) / (1.0 / 3.0)).ln()).abs() < 1e-12);
        assert!((found[1] - ((2.0_f64 / 5.0) / (2.0 / 3.0)).ln()).abs() < 1e-12);
    }

    #[test]
    fn the_logit_by_hand() {
        let keys = FeatureKind::WordBigrams.hashes("good film");
        let calibration =
            LengthCalibration { slope: 2.0, slope_by_length: 0.5, offset: 0.25, fewest: 1.0, most: 1000.0 };
        let classifier = Classifier {
            kind: FeatureKind::WordBigrams,
            vocabulary: Vocabulary::from_keys(keys),
            weights: vec![1.0, 1.0, 1.0],
            bias: -0.5,
            calibration,
        };
        // "good", "film" and "good film" are known: evidence = 3/sqrt(3) - 0.5, n = 3.
        let expected = (2.0 + 0.5 * 0.03_f64.ln()) * (3.0_f64.sqrt() - 0.5) + 0.25;
        assert!((classifier.logit("Good film") - expected).abs() < 1e-12);
        // Nothing known: evidence = -0.5, n = 1.
        let expected = (2.0 + 0.5 * 0.01_f64.ln()) * -0.5 + 0.25;
        assert!((classifier.logit("") - expected).abs() < 1e-12);
    }
}
