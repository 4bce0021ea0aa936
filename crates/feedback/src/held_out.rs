//! Pairs that nothing is trained on: how well a policy orders the reference's own responses.

use lm::{DistinctResponses, Policy, PreferencePair, ReferencePolicy, Sequence};
use serde::{Deserialize, Serialize};

use crate::error::FeedbackError;
use crate::preferences::ComparedResponses;

/// Held-out pairs of responses of the reference with the order that the true score gives them.
///
/// A policy has an implicit reward, `log pi(y|x) - log pi_ref(y|x)` up to a factor and a constant per prompt
/// (Rafailov et al. 2023, equation 5), whatever it was trained with. The share of pairs that it orders as the
/// true score does says how much of that score it has learned: for jointly normal rewards of correlation rho
/// it is `1/2 + asin(rho) / pi`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldOutPairs {
    /// The distinct responses.
    sequences: Vec<Sequence>,
    /// For each pair the index of the response with the higher score, and of the other.
    pairs: Vec<(usize, usize)>,
    /// The reference's log-prob of each response, in nats.
    reference: Vec<f64>,
}

impl HeldOutPairs {
    /// Takes whole prompts from the front, until `most` responses or more are there; pairs of
    /// equal scores are left out.
    ///
    /// # Errors
    /// If a pair does not fit the model.
    pub fn new(
        reference: &ReferencePolicy,
        held_out: &[ComparedResponses],
        most: usize,
    ) -> Result<Self, FeedbackError> {
        let (mut sequences, mut pairs) = (Vec::new(), Vec::new());
        for compared in held_out {
            if sequences.len() >= most {
                break;
            }
            let of_prompt: Vec<PreferencePair> = compared.pairs().collect();
            let responses = DistinctResponses::of(&of_prompt);
            let first = sequences.len();
            let sides = responses.chosen.iter().zip(&responses.rejected);
            for (gap, (&chosen, &rejected)) in compared.score_gaps().zip(sides) {
                // A drawn label may have chosen the lower score.
                match gap.total_cmp(&0.0) {
                    std::cmp::Ordering::Greater => pairs.push((first + chosen, first + rejected)),
                    std::cmp::Ordering::Less => pairs.push((first + rejected, first + chosen)),
                    std::cmp::Ordering::Equal => {}
                }
            }
            sequences.extend(responses.sequences);
        }
        let reference = reference.score_sequences(&sequences)?;
        Ok(Self { sequences, pairs, reference })
    }

    /// Number of pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// What [`HeldOutPairs::accuracy`] is for the reference itself: its implicit reward is 0 everywhere, so
    /// every pair is a tie.
    pub fn accuracy_of_reference(&self) -> f64 {
        if self.is_empty() { f64::NAN } else { 0.5 }
    }

    /// The share of pairs that the policy's implicit reward orders as the true score does; a tie counts half.
    /// NaN if there is no pair.
    ///
    /// # Errors
    /// If the responses do not fit the policy's model.
    pub fn accuracy(&self, policy: &Policy) -> Result<f64, FeedbackError> {
        let logprobs = policy.score_sequences(&self.sequences)?;
        let rewards: Vec<f64> = logprobs.iter().zip(&self.reference).map(|(pi, base)| pi - base).collect();
        let right = |&(better, worse): &(usize, usize)| match rewards[better].total_cmp(&rewards[worse]) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        };
        Ok(self.pairs.iter().map(right).sum::<f64>() / self.pairs.len() as f64)
    }
}
