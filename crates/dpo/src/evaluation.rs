//! How well a policy's implicit reward orders pairs that it has not trained on.

use lm::sequences::to_vec;
use lm::{Config, DistinctResponses, Policy, PreferencePair, SequenceLogProbs};

use crate::numbers::{floats, mean, share_positive};
use crate::reference::check_pairs;
use crate::{DpoError, Loss, ReferenceLogProbs, preference_loss};

/// Means over held-out pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean loss.
    pub loss: f64,
    /// Share of pairs whose chosen response has the larger implicit reward; a tie counts as wrong, as in TRL.
    pub accuracy: f64,
    /// Mean difference of implicit rewards, chosen less rejected, in units of the reward.
    pub margin: f64,
}

/// Evaluates a policy on pairs without gradients; `reference` holds the reference's log-probs of the same
/// pairs.
///
/// # Errors
/// [`DpoError::NoPairs`], [`DpoError::Pair`] for a pair that does not fit the model, [`DpoError::Reference`]
/// for log-probs of other pairs, [`DpoError::Config`] for an impossible loss.
pub fn evaluate(
    policy: &Policy,
    pairs: &[PreferencePair],
    reference: &ReferenceLogProbs,
    beta: f64,
    loss: &Loss,
) -> Result<Evaluation, DpoError> {
    loss.check()?;
    check_pairs(policy, pairs)?;
    reference.check(pairs.len())?;
    let responses = DistinctResponses::of(pairs);
    let rows = policy.score(&responses.sequences)?;
    let sums: Vec<f64> = rows.iter().map(|row| row.iter().map(|&value| f64::from(value)).sum()).collect();
    let (chosen, rejected) = responses.spread(&sums);
    let device = policy.device().without_autodiff();
    let tensor = |values: &[f64]| SequenceLogProbs(floats(values, &device));
    let probability: Vec<f64> = pairs.iter().map(|pair| f64::from(pair.probability)).collect();
    let of_policy = (tensor(&chosen), tensor(&rejected));
    let of_reference = (tensor(&reference.chosen), tensor(&reference.rejected));
    let out = preference_loss(of_policy, of_reference, floats(&probability, &device), beta, loss);
    let margins = to_vec(out.chosen_rewards - out.rejected_rewards);
    Ok(Evaluation {
        loss: mean(&to_vec(out.loss)),
        accuracy: share_positive(&margins),
        margin: mean(&margins),
    })
}
