//! A fine-tuned encoder as a scorer of text.

use lm::{Classifier, ScoreUnit};

use crate::error::FeedbackError;
use crate::scorer::TextScorer;

/// Scores a response by one label of a [`Classifier`] that reads prompt and response as one text.
///
/// With the label POSITIVE of a sentiment classifier and the unit [`ScoreUnit::Probability`] this is the
/// reward of the DPO paper's experiment. [`crate::DecodingScorer`] makes an [`lm::Scorer`] of it.
#[derive(Clone, Debug)]
pub struct ClassifierScorer {
    classifier: Classifier,
    label: usize,
    unit: ScoreUnit,
}

impl ClassifierScorer {
    /// Scores by a label, which [`Classifier::label`] finds by its name or number, in a unit.
    ///
    /// # Errors
    /// If the classifier has no such label, or its labels no such unit.
    pub fn new(classifier: Classifier, label: &str, unit: ScoreUnit) -> Result<Self, FeedbackError> {
        classifier.check_unit(unit)?;
        Ok(Self { label: classifier.label(label)?, classifier, unit })
    }

    /// The classifier.
    pub fn classifier(&self) -> &Classifier {
        &self.classifier
    }
}

impl TextScorer for ClassifierScorer {
    fn score(&self, texts: &[(String, String)]) -> Result<Vec<f32>, FeedbackError> {
        let texts: Vec<String> =
            texts.iter().map(|(prompt, response)| format!("{prompt}{response}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        Ok(self.classifier.scores(&texts, self.label, self.unit)?)
    }
}
