//! Labels: which of two scored responses is preferred, and how surely.

use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::preference::PreferencePair;
use crate::problem::{Config, Problem};
use crate::random::Stream;
use crate::sequences::Sequence;

/// Who wins a pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Labels {
    /// The response with the higher score, always: what the DPO paper did. No bounded reward explains such
    /// labels.
    Hard,
    /// The first response wins with probability `sigma(scale * (r_1 - r_2))`: the Bradley-Terry model itself.
    BradleyTerry {
        /// Units of logit per unit of score.
        scale: f64,
    },
    /// The higher score wins, and then the label is flipped with this probability.
    Noisy {
        /// Probability of a flip, below one half.
        flip: f64,
    },
    /// The higher score is the chosen one, with the probability `sigma(scale * (r_w - r_l))` that it is
    /// better: the expectation of `BradleyTerry` in place of a draw. The optimum is the same, and
    /// nothing is left to chance.
    Soft {
        /// Units of logit per unit of score.
        scale: f64,
    },
}

/// A label of two responses in a list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// Index of the preferred response.
    pub chosen: usize,
    /// Index of the other.
    pub rejected: usize,
    /// See [`PreferencePair::probability`].
    pub probability: f32,
}

impl Comparison {
    /// The pair, from the list that was compared.
    ///
    /// # Panics
    /// If `responses` is another, shorter list.
    pub fn pair(&self, responses: &[Sequence]) -> PreferencePair {
        let (chosen, rejected) = (&responses[self.chosen], &responses[self.rejected]);
        PreferencePair {
            prompt: chosen.prompt.clone(),
            chosen: chosen.response.clone(),
            rejected: rejected.response.clone(),
            probability: self.probability,
        }
    }
}

impl Labels {
    /// Labels every two responses to one prompt, by their scores. Ties, where both scores or both responses
    /// are the same, are left out.
    ///
    /// # Panics
    /// If there are fewer scores than responses.
    pub fn compare(&self, responses: &[Sequence], scores: &[f32], stream: Stream) -> Vec<Comparison> {
        let mut rng = stream.rng();
        let mut comparisons = Vec::new();
        for i in 0..responses.len() {
            for j in i + 1..responses.len() {
                // A number is drawn for every pair, ties included, so that labels do not depend on ties.
                let uniform = rng.random::<f64>();
                let gap = f64::from(scores[i]) - f64::from(scores[j]);
                if gap == 0.0 || responses[i].response == responses[j].response {
                    continue;
                }
                let (chosen, rejected) = if self.first_wins(gap, uniform) { (i, j) } else { (j, i) };
                comparisons.push(Comparison { chosen, rejected, probability: self.probability(gap) });
            }
        }
        comparisons
    }

    /// Whether the first response wins, given its lead in score and a uniform number.
    fn first_wins(&self, gap: f64, uniform: f64) -> bool {
        match *self {
            Self::Hard | Self::Soft { .. } => gap > 0.0,
            Self::BradleyTerry { scale } => uniform < sigmoid(scale * gap),
            Self::Noisy { flip } => (gap > 0.0) != (uniform < flip),
        }
    }

    /// The probability that a pair keeps, given the lead of either response.
    fn probability(&self, gap: f64) -> f32 {
        match *self {
            Self::Hard | Self::BradleyTerry { .. } | Self::Noisy { .. } => 1.0,
            Self::Soft { scale } => sigmoid(scale * gap.abs()) as f32,
        }
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl Config for Labels {
    fn problems(&self) -> Vec<Problem> {
        let problem = match *self {
            Self::Hard => None,
            Self::BradleyTerry { scale } => Problem::unless_positive("bradley_terry.scale", scale),
            Self::Noisy { flip } => {
                let possible = (0.0..0.5).contains(&flip);
                Problem::unless(possible, "noisy.flip", flip, "0 up to, not including, 0.5")
            }
            Self::Soft { scale } => Problem::unless_positive("soft.scale", scale),
        };
        problem.into_iter().collect()
    }
}
