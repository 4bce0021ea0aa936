//! What an evaluation measures of a policy: responses to held-out prompts, their KL from the
//! reference, their scores.

use std::sync::Arc;

use anyhow::Result;
use feedback::Estimate;
use feedback::scorer::texts;
use lm::{Policy, ReferencePolicy, Sampling, Scorer, Sequence, Stream, Tokenizer};

use super::record::{Measured, Sampled};

/// All that stays the same between the evaluations of a training.
pub struct PolicyMeasure {
    pub prompts: Vec<Vec<u32>>,
    pub reference: ReferencePolicy,
    pub scorer: Option<Arc<dyn Scorer>>,
    pub sampling: Sampling,
    /// Common random numbers: every policy draws with the same.
    pub stream: Stream,
    pub tokenizer: Tokenizer,
    /// Responses that are kept.
    pub samples: usize,
}

/// What was measured of each prompt's response.
pub struct Responses {
    pub sequences: Vec<Sequence>,
    /// Exact KL along the response, in nats.
    pub sequence_kl: Vec<f64>,
    pub scores: Option<Vec<f64>>,
    /// Whether the policy ended it itself.
    pub ended: Vec<bool>,
}

impl PolicyMeasure {
    /// One response to each prompt.
    pub fn respond(&self, policy: &Policy) -> Result<Responses> {
        let drawn = policy.generate(&self.prompts, &self.sampling, self.stream)?;
        let ended = drawn.iter().map(|generation| generation.ended).collect();
        let sequences: Vec<Sequence> = self
            .prompts
            .iter()
            .zip(drawn)
            .map(|(prompt, generation)| Sequence { prompt: prompt.clone(), response: generation.response })
            .collect();
        let kl = policy.sequence_kl(&self.reference, &sequences)?;
        let scores = self.scorer.as_ref().map(|scorer| scorer.score_f64(&sequences)).transpose()?;
        Ok(Responses { sequence_kl: kl.iter().map(|kl| kl.exact).collect(), sequences, scores, ended })
    }

    /// Means over prompts with their standard errors, and some responses.
    pub fn measure(&self, policy: &Policy) -> Result<Measured> {
        if self.prompts.is_empty() {
            return Ok(Measured::default());
        }
        let responses = self.respond(policy)?;
        let lengths: Vec<f64> = responses.sequences.iter().map(|s| s.response.len() as f64).collect();
        let ended = responses.ended.iter().filter(|&&ended| ended).count() as f64;
        let mut numbers = Vec::new();
        if let Some(scores) = &responses.scores {
            numbers.extend(estimate("eval_objective/scores", scores));
        }
        numbers.extend(estimate("eval_objective/kl", &responses.sequence_kl));
        numbers.push(("eval_response_length".to_owned(), Estimate::of(&lengths).mean));
        numbers.push(("eval_contain_eos_token".to_owned(), ended / lengths.len() as f64));
        Ok(Measured { numbers, samples: self.kept(&responses)? })
    }

    fn kept(&self, responses: &Responses) -> Result<Vec<Sampled>> {
        let count = responses.sequences.len().min(self.samples);
        let texts = texts(&self.tokenizer, &responses.sequences[..count])?;
        let sampled = texts.into_iter().enumerate().map(|(index, (prompt, response))| Sampled {
            prompt,
            response,
            score: responses.scores.as_ref().map(|scores| scores[index]),
            sequence_kl: responses.sequence_kl[index],
        });
        Ok(sampled.collect())
    }
}

/// A mean and its standard error as two numbers.
fn estimate(name: &str, values: &[f64]) -> [(String, f64); 2] {
    let Estimate { mean, se } = Estimate::of(values);
    [(name.to_owned(), mean), (format!("{name}_se"), se)]
}
