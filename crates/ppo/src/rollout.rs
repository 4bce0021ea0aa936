//! Rollouts: responses of the current policy and everything that an update needs to know about them.

use lm::{Policy, ReferencePolicy, Sampling, ScalarModel, ScoredResponses, Scorer, Stream};

use crate::error::PpoError;

/// What a response is measured with.
#[derive(Clone, Copy)]
pub struct Measures<'a> {
    /// The reference policy.
    pub reference: &'a ReferencePolicy,
    /// The value model, V.
    pub value_model: &'a ScalarModel,
    /// The score.
    pub scorer: &'a dyn Scorer,
}

/// Responses and what was measured on them, all on the host: nothing here holds a computation graph. Rows of
/// the nested lists are as long as the responses.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollouts {
    /// Prompts, responses and scores.
    pub responses: ScoredResponses,
    /// `log pi(y_t | s_t)` of the policy that wrote the response, in nats.
    pub logprobs: Vec<Vec<f32>>,
    /// `log pi_ref(y_t | s_t)`, in nats.
    pub reference_logprobs: Vec<Vec<f32>>,
    /// `V(s_t)`, before the token is chosen.
    pub values: Vec<Vec<f32>>,
}

impl Rollouts {
    /// Samples `samples` responses to each prompt and measures each quantity once, without gradients.
    ///
    /// Log-probabilities are computed again by the kernel that the update uses, at the sampling temperature,
    /// instead of being taken from the sampler: the first ratio of an update must be 1, and rounding between
    /// two kernels is what breaks that.
    ///
    /// # Errors
    /// If a prompt does not fit the models or the scorer fails.
    pub fn collect(
        policy: &Policy,
        measures: Measures<'_>,
        prompts: &[Vec<u32>],
        samples: usize,
        sampling: &Sampling,
        stream: Stream,
    ) -> Result<Self, PpoError> {
        let responses = ScoredResponses::draw(policy, prompts, samples, sampling, measures.scorer, stream)?;
        let sequences = &responses.sequences;
        Ok(Self {
            logprobs: policy.score(sequences)?,
            reference_logprobs: measures.reference.score(sequences)?,
            values: measures.value_model.values_of(sequences)?,
            responses,
        })
    }

    /// `log pi(y | x) - log pi_ref(y | x)` of every response, in nats: its mean estimates the KL from the
    /// reference.
    pub fn log_ratios(&self) -> Vec<f64> {
        log_ratios(&self.logprobs, &self.reference_logprobs)
    }
}

/// `log pi(y | x) - log pi_ref(y | x)` of every response, in nats, from the log-probs of its tokens.
pub(crate) fn log_ratios(logprobs: &[Vec<f32>], reference: &[Vec<f32>]) -> Vec<f64> {
    logprobs.iter().zip(reference).map(|(p, q)| sum(p) - sum(q)).collect()
}

/// `log pi(y | x)` of a response, in nats.
pub(crate) fn sum(row: &[f32]) -> f64 {
    row.iter().map(|&value| f64::from(value)).sum()
}

/// Scores, less the penalty where the policy did not end its response.
pub(crate) fn penalized_scores(responses: &ScoredResponses, missing_end_penalty: f64) -> Vec<f64> {
    let penalty = |ended: bool| if ended { 0.0 } else { missing_end_penalty };
    responses.scores.iter().zip(&responses.ended).map(|(&score, &ended)| score - penalty(ended)).collect()
}
