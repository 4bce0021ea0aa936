//! Rollouts: responses of the current policy and everything that an update needs to know about them.

use std::time::Instant;

use lm::{Policy, ReferencePolicy, Sampling, ScalarModel, Scorer, Sequence, Stream};

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

/// Responses and what was measured on them, all on the host: nothing here holds a computation graph. Rows of the
/// nested lists are as long as the responses.
#[derive(Clone, Debug, PartialEq)]
pub struct Rollouts {
    /// Prompts and responses.
    pub sequences: Vec<Sequence>,
    /// Whether the policy ended the response itself.
    pub ended: Vec<bool>,
    /// What the scorer says.
    pub scores: Vec<f64>,
    /// `log pi(y_t | s_t)` of the policy that wrote the response, in nats.
    pub logprobs: Vec<Vec<f32>>,
    /// `log pi_ref(y_t | s_t)`, in nats.
    pub reference_logprobs: Vec<Vec<f32>>,
    /// `V(s_t)`, before the token is chosen.
    pub values: Vec<Vec<f32>>,
}

impl Rollouts {
    /// Samples one response per prompt and measures each quantity once, without gradients.
    ///
    /// Log-probabilities are computed again by the kernel that the update uses, at the sampling temperature, instead
    /// of being taken from the sampler: the first ratio of an update must be 1, and rounding between two kernels is
    /// what breaks that.
    ///
    /// # Errors
    /// If a prompt does not fit the models or the scorer fails.
    pub fn collect(
        policy: &Policy,
        measures: Measures<'_>,
        prompts: &[Vec<u32>],
        sampling: &Sampling,
        stream: Stream,
    ) -> Result<Self, PpoError> {
        let start = Instant::now();
        let generations = policy.generate(prompts, sampling, stream)?;
        let (sampled, scoring) = (start.elapsed(), Instant::now());
        let ended = generations.iter().map(|generation| generation.ended).collect();
        let sequences: Vec<Sequence> = prompts
            .iter()
            .zip(generations)
            .map(|(prompt, generation)| Sequence { prompt: prompt.clone(), response: generation.response })
            .collect();
        let rollouts = Self {
            scores: checked_scores(measures.scorer, &sequences)?,
            logprobs: policy.score(&sequences)?,
            reference_logprobs: measures.reference.score(&sequences)?,
            values: measures.value_model.values_of(&sequences)?,
            sequences,
            ended,
        };
        tracing::debug!(
            sample_s = sampled.as_secs_f64(),
            score_s = scoring.elapsed().as_secs_f64(),
            "rollouts"
        );
        Ok(rollouts)
    }

    /// Number of responses.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Whether there is no response.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Tokens in all, prompts included.
    pub fn tokens(&self) -> usize {
        self.sequences.iter().map(Sequence::len).sum()
    }

    /// `log pi(y | x) - log pi_ref(y | x)` of every response, in nats: its mean estimates the KL from the reference.
    pub fn log_ratios(&self) -> Vec<f64> {
        let total = |row: &[f32]| row.iter().map(|&value| f64::from(value)).sum::<f64>();
        self.logprobs.iter().zip(&self.reference_logprobs).map(|(p, q)| total(p) - total(q)).collect()
    }
}

/// Scores that are as many as the sequences, and finite.
fn checked_scores(scorer: &dyn Scorer, sequences: &[Sequence]) -> Result<Vec<f64>, PpoError> {
    let scores = scorer.score_f64(sequences)?;
    if scores.len() != sequences.len() {
        return Err(PpoError::ScoreCount { found: scores.len(), expected: sequences.len() });
    }
    match scores.iter().enumerate().find(|(_, score)| !score.is_finite()) {
        Some((index, &value)) => Err(PpoError::Score { index, value }),
        None => Ok(scores),
    }
}
