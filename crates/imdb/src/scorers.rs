//! The ground truth r* and the second judge as scorers of token sequences.

use std::sync::Arc;

use lm::{LmError, Scorer, Sequence, Tokenizer};
use rayon::prelude::*;

use crate::prompts::texts;

/// Something that gives a text a probability of being positive.
pub trait TextClassifier: Send + Sync {
    /// p(positive) in [0, 1].
    fn probability(&self, text: &str) -> f64;
}

impl TextClassifier for crate::SentimentClassifier {
    fn probability(&self, text: &str) -> f64 {
        Self::probability(self, text)
    }
}

impl TextClassifier for crate::Judge {
    fn probability(&self, text: &str) -> f64 {
        Self::probability(self, text)
    }
}

/// Scores a sequence by the text of its prompt and response together: p(positive) in [0, 1].
#[derive(Clone)]
pub struct SentimentScorer {
    classifier: Arc<dyn TextClassifier>,
    tokenizer: Tokenizer,
}

impl SentimentScorer {
    /// A scorer that reads ids with `tokenizer` and text with `classifier`.
    pub fn new(classifier: Arc<dyn TextClassifier>, tokenizer: Tokenizer) -> Self {
        Self { classifier, tokenizer }
    }
}

impl Scorer for SentimentScorer {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        let texts = texts(&self.tokenizer, sequences)?;
        Ok(texts.par_iter().map(|text| self.classifier.probability(text) as f32).collect())
    }
}
