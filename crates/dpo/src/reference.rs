//! What the reference says of the pairs: computed once, used at every step.

use lm::{DistinctResponses, LmError, Policy, PreferencePair, ReferencePolicy};
use serde::{Deserialize, Serialize};

use crate::DpoError;

/// `log pi_ref(y|x)` in nats of both responses of every pair, in the order of the pairs. The reference never
/// moves, so runs on the same pairs can share them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceLogProbs {
    /// Of the chosen responses.
    pub chosen: Vec<f64>,
    /// Of the rejected responses.
    pub rejected: Vec<f64>,
}

impl ReferenceLogProbs {
    /// Scores both responses of every pair under the reference. A response that occurs in
    /// several pairs is scored once.
    ///
    /// # Errors
    /// [`DpoError::Pair`] for a pair that does not fit the model.
    pub fn compute(reference: &ReferencePolicy, pairs: &[PreferencePair]) -> Result<Self, DpoError> {
        check_pairs(&reference.start(), pairs)?;
        let responses = DistinctResponses::of(pairs);
        let (chosen, rejected) = responses.spread(&reference.score_sequences(&responses.sequences)?);
        Ok(Self { chosen, rejected })
    }

    /// Checks that there is one finite number for each response of `count` pairs.
    pub(crate) fn check(&self, count: usize) -> Result<(), DpoError> {
        for (key, values) in [("chosen", &self.chosen), ("rejected", &self.rejected)] {
            let refuse = |found, expected| Err(DpoError::Reference { key, found, expected });
            if values.len() != count {
                return refuse(format!("{} numbers", values.len()), format!("{count}, one per pair"));
            }
            if let Some((pair, value)) = values.iter().enumerate().find(|(_, value)| !value.is_finite()) {
                return refuse(format!("{value} for pair {pair}"), "a finite number".to_owned());
            }
        }
        Ok(())
    }
}

/// Checks that every pair fits the policy's model, and names the pair that does not.
pub(crate) fn check_pairs(policy: &Policy, pairs: &[PreferencePair]) -> Result<(), DpoError> {
    if pairs.is_empty() {
        return Err(DpoError::NoPairs);
    }
    let shape = policy.model().shape();
    for (index, pair) in pairs.iter().enumerate() {
        if !pair.has_possible_probability() {
            return Err(DpoError::Probability { pair: index, found: pair.probability });
        }
        for (side, response) in [("chosen", pair.chosen_sequence()), ("rejected", pair.rejected_sequence())] {
            let refuse = |source| DpoError::Pair { pair: index, side, source: Box::new(source) };
            if response.response.is_empty() {
                return Err(refuse(LmError::Sequence {
                    index: 0,
                    found: "an empty response".to_owned(),
                    expected: "at least one token".to_owned(),
                }));
            }
            lm::sequences::check(std::slice::from_ref(&response), shape.vocabulary, shape.context)
                .map_err(refuse)?;
        }
    }
    Ok(())
}
