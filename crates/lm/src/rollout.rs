//! Responses of the current policy with their scores: what training on one's own samples begins with.

use std::time::Instant;

use crate::LmError;
use crate::policy::Policy;
use crate::random::Stream;
use crate::sampling::Sampling;
use crate::scorer::Scorer;
use crate::sequences::Sequence;

/// Responses, and what was found while they were drawn and scored.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredResponses {
    /// Prompts and responses; the responses to one prompt come one after another.
    pub sequences: Vec<Sequence>,
    /// `log pi(y_t | s_t)` of each token when it was drawn, in nats.
    pub logprobs: Vec<Vec<f32>>,
    /// Whether the policy ended the response itself.
    pub ended: Vec<bool>,
    /// What the scorer says, finite.
    pub scores: Vec<f64>,
}

impl ScoredResponses {
    /// Draws `samples` responses to each prompt and scores them, without gradients.
    ///
    /// # Errors
    /// If a prompt does not fit the model; [`LmError::ScoreCount`] or [`LmError::Score`] if the scorer loses
    /// sequences or says a number that no policy can learn from; whatever else the scorer fails with.
    pub fn draw(
        policy: &Policy,
        prompts: &[Vec<u32>],
        samples: usize,
        sampling: &Sampling,
        scorer: &dyn Scorer,
        stream: Stream,
    ) -> Result<Self, LmError> {
        let start = Instant::now();
        let prompts: Vec<Vec<u32>> =
            prompts.iter().flat_map(|prompt| std::iter::repeat_n(prompt.clone(), samples)).collect();
        let generations = policy.generate(&prompts, sampling, stream)?;
        let (sampled, scoring) = (start.elapsed(), Instant::now());
        let (mut sequences, mut logprobs, mut ended) = (Vec::new(), Vec::new(), Vec::new());
        for (prompt, generation) in prompts.into_iter().zip(generations) {
            sequences.push(Sequence { prompt, response: generation.response });
            logprobs.push(generation.logprobs);
            ended.push(generation.ended);
        }
        let scores = checked_scores(scorer, &sequences)?;
        let (sample_s, score_s) = (sampled.as_secs_f64(), scoring.elapsed().as_secs_f64());
        tracing::debug!(sample_s, score_s, "responses");
        Ok(Self { sequences, logprobs, ended, scores })
    }

    /// Number of responses.
    pub fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Whether there is no response.
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Tokens in all, each prompt counted for each of its responses.
    pub fn tokens(&self) -> usize {
        self.sequences.iter().map(Sequence::len).sum()
    }

    /// How many responses the policy ended itself.
    pub fn ended_count(&self) -> usize {
        self.ended.iter().filter(|&&ended| ended).count()
    }
}

/// Scores that are as many as the sequences, and finite.
fn checked_scores(scorer: &dyn Scorer, sequences: &[Sequence]) -> Result<Vec<f64>, LmError> {
    let scores = scorer.score_f64(sequences)?;
    if scores.len() != sequences.len() {
        return Err(LmError::ScoreCount { found: scores.len(), expected: sequences.len() });
    }
    match scores.iter().enumerate().find(|(_, score)| !score.is_finite()) {
        Some((index, &value)) => Err(LmError::Score { index, value }),
        None => Ok(scores),
    }
}
