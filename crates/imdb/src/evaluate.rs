//! The evaluation of a policy: true reward and distance from the reference, on held-out prompts.

use std::collections::HashSet;

use lm::{LmError, Policy, ReferencePolicy, Sampling, Scorer, Sequence, Stream, Tokenizer};
use serde::{Deserialize, Serialize};

use crate::preferences::sample;

/// A mean with its standard error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// The standard deviation over prompts, divided by the root of their number.
    pub se: f64,
}

impl Estimate {
    /// Mean and standard error of independent values; the error of fewer than two values is NaN.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
        Self { mean, se: if values.len() < 2 { f64::NAN } else { (variance / n).sqrt() } }
    }
}

/// What one evaluation found; every estimate is a mean over prompts of one response each.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// r*, p(positive) in [0, 1].
    pub score: Estimate,
    /// The second judge's p(positive).
    pub judge: Estimate,
    /// `sum_t KL(pi(. | s_t) || pi_ref(. | s_t))` in nats: the x axis.
    pub sequence_kl: Estimate,
    /// The one-sample estimate of the same, `log pi(y|x) - log pi_ref(y|x)`, in nats.
    pub k1: Estimate,
    /// Response length in tokens.
    pub length: Estimate,
    /// How varied the responses are: the distinct pairs of neighbouring tokens in all of them together, as a share of all
    /// such pairs. That is distinct-2 (Li et al. 2016), over pairs rather than tokens so that 1 means that none repeats.
    /// NaN if there is no pair.
    pub distinct_2: f64,
    /// Prompts and responses as tokens, in the order of the prompts.
    pub sequences: Vec<Sequence>,
    /// The responses, in the order of the prompts, with their scores.
    pub samples: Vec<Sample>,
}

/// A response of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Text of the prompt.
    pub prompt: String,
    /// Text of the response.
    pub response: String,
    /// r*.
    pub score: f64,
    /// The second judge.
    pub judge: f64,
    /// Exact KL along this response, in nats.
    pub sequence_kl: f64,
}

/// All that stays the same between the evaluations of a study. Every policy is drawn with the same random numbers.
pub struct Evaluator {
    /// Token ids of the held-out prompts.
    pub prompts: Vec<Vec<u32>>,
    /// The reference that KL is measured from.
    pub reference: ReferencePolicy,
    /// r*.
    pub ground_truth: Box<dyn Scorer>,
    /// The second judge.
    pub judge: Box<dyn Scorer>,
    /// How responses are drawn.
    pub sampling: Sampling,
    /// The common random numbers.
    pub stream: Stream,
    /// Reads the samples.
    pub tokenizer: Tokenizer,
}

impl Evaluator {
    /// Draws one response a prompt and measures it.
    ///
    /// # Errors
    /// If the prompts do not fit the model.
    pub fn evaluate(&self, policy: &Policy) -> Result<Evaluation, LmError> {
        let sequences = sample(policy, &self.prompts, 1, &self.sampling, self.stream)?;
        let kl = policy.sequence_kl(&self.reference, &sequences)?;
        let wide = |scores: Vec<f32>| scores.into_iter().map(f64::from).collect::<Vec<f64>>();
        let scores = wide(self.ground_truth.score(&sequences)?);
        let judged = wide(self.judge.score(&sequences)?);
        let exact: Vec<f64> = kl.iter().map(|kl| kl.exact).collect();
        let k1: Vec<f64> = kl.iter().map(|kl| kl.k1).collect();
        let lengths: Vec<f64> = sequences.iter().map(|sequence| sequence.response.len() as f64).collect();
        Ok(Evaluation {
            score: Estimate::of(&scores),
            judge: Estimate::of(&judged),
            sequence_kl: Estimate::of(&exact),
            k1: Estimate::of(&k1),
            length: Estimate::of(&lengths),
            distinct_2: distinct_2(sequences.iter().map(|sequence| sequence.response.as_slice())),
            samples: self.samples(&sequences, &scores, &judged, &exact)?,
            sequences,
        })
    }

    fn samples(
        &self,
        sequences: &[Sequence],
        scores: &[f64],
        judged: &[f64],
        kl: &[f64],
    ) -> Result<Vec<Sample>, LmError> {
        sequences
            .iter()
            .enumerate()
            .map(|(i, sequence)| {
                Ok(Sample {
                    prompt: self.tokenizer.decode(&sequence.prompt)?,
                    response: self.tokenizer.decode(&sequence.response)?,
                    score: scores[i],
                    judge: judged[i],
                    sequence_kl: kl[i],
                })
            })
            .collect()
    }
}

fn distinct_2<'a>(responses: impl Iterator<Item = &'a [u32]>) -> f64 {
    let mut seen = HashSet::new();
    let mut pairs = 0_usize;
    for response in responses {
        for pair in response.windows(2) {
            seen.insert([pair[0], pair[1]]);
            pairs += 1;
        }
    }
    seen.len() as f64 / pairs as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::float_cmp, reason = "tests may panic, and the shares are exact")]
    use super::*;

    #[test]
    fn distinct_pairs_by_hand() {
        // 12 23 | 12 21: three of four.
        assert_eq!(distinct_2([[1, 2, 3].as_slice(), &[1, 2, 1]].into_iter()), 0.75);
        assert_eq!(distinct_2([[7, 7, 7, 7].as_slice()].into_iter()), 1.0 / 3.0);
        assert!(distinct_2([[7].as_slice(), &[]].into_iter()).is_nan());
    }

    #[test]
    fn standard_error_by_hand() {
        // Mean 2, sample variance (1 + 0 + 1) / 2 = 1, standard error 1 / sqrt(3).
        let estimate = Estimate::of(&[1.0, 2.0, 3.0]);
        assert!((estimate.mean - 2.0).abs() < 1e-12);
        assert!((estimate.se - 3.0_f64.sqrt().recip()).abs() < 1e-12);
        assert!(Estimate::of(&[1.0]).se.is_nan());
    }
}
