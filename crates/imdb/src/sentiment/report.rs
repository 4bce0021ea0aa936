//! How good a classifier is on reviews that it was not trained on.

use lm::Stream;
use serde::{Deserialize, Serialize};

use crate::reviews::Review;
use crate::sentiment::calibration::Calibration;
use crate::sentiment::classifier::SentimentClassifier;
use crate::sentiment::windows::Windows;

/// Words in the windows of [`SentimentReport`].
pub const REPORT_WINDOW_WORDS: usize = 40;
/// Number of the random stream that draws the windows.
const REPORT_WINDOWS: u64 = 6;

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

impl SentimentClassifier {
    /// Accuracy and calibration on whole reviews and on one window of each, drawn by `seed`.
    pub fn report(&self, reviews: &[Review], seed: u64) -> SentimentReport {
        let labelled: Vec<(&Review, bool)> =
            reviews.iter().filter_map(|review| Some((review, review.positive?))).collect();
        let mut generator = Stream::numbered(seed, REPORT_WINDOWS).rng();
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
}
