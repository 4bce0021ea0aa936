//! A score as a judge.

use crate::error::FeedbackError;
use crate::judge::pair::{Judge, Pair, Preference};
use crate::scorer::{TextScorer, checked};

/// A judge that prefers the text with the higher score, and neither of two whose scores are equal. The order
/// in which texts are shown means nothing to it.
#[derive(Clone, Debug)]
pub struct ScorerJudge<S> {
    name: String,
    scorer: S,
}

impl<S: TextScorer> ScorerJudge<S> {
    /// A judge by what `scorer` says, under a name for records.
    pub fn new(name: impl Into<String>, scorer: S) -> Self {
        Self { name: name.into(), scorer }
    }
}

impl<S: TextScorer> Judge for ScorerJudge<S> {
    fn name(&self) -> &str {
        &self.name
    }

    fn compare(&self, pairs: &[Pair]) -> Result<Vec<Preference>, FeedbackError> {
        let both = |pair: &Pair| [&pair.first, &pair.second].map(|text| (pair.prompt.clone(), text.clone()));
        let texts: Vec<(String, String)> = pairs.iter().flat_map(both).collect();
        let scores = checked(self.scorer.score(&texts)?, texts.len())?;
        let preferred = |scores: &[f32]| match scores[0].total_cmp(&scores[1]) {
            std::cmp::Ordering::Greater => Preference::First,
            std::cmp::Ordering::Less => Preference::Second,
            std::cmp::Ordering::Equal => Preference::Neither,
        };
        Ok(scores.chunks_exact(2).map(preferred).collect())
    }
}
