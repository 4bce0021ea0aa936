//! The evaluation of a policy: its score and its distance from the reference, on held-out prompts.

use std::collections::HashSet;

use lm::{Config, Policy, Problem, ReferencePolicy, Sampling, Scorer, Sequence, Stream, Tokenizer};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::FeedbackError;
use crate::prompts::PromptSet;
use crate::sampling::sample;
use crate::scorer::{checked, texts};

/// What policies are evaluated on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Which prompts: `evaluate` for results, `tune` while hyperparameters are chosen.
    pub on: PromptSet,
    /// Responses of a policy to each prompt; what counts is their mean.
    pub responses_per_prompt: usize,
    /// Reference samples per evaluation prompt: the ceilings come from them.
    pub reference_samples: usize,
}

impl Config for EvaluationConfig {
    fn problems(&self) -> Vec<Problem> {
        // The ceilings compare samples of one prompt with each other.
        let (responses, samples) = (self.responses_per_prompt, self.reference_samples);
        let responses = Problem::unless(responses > 0, "responses_per_prompt", responses, "at least 1");
        let samples = Problem::unless(samples >= 2, "reference_samples", samples, "at least 2");
        responses.into_iter().chain(samples).collect()
    }
}

/// A mean with its standard error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// The standard deviation over prompts, divided by the root of their number.
    #[serde(deserialize_with = "or_nan")]
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

/// What one evaluation found; every estimate is a mean over prompts, and for each prompt over its responses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// The true score: the y axis.
    pub score: Estimate,
    /// The second opinion's score.
    pub second_opinion: Estimate,
    /// `sum_t KL(pi(. | s_t) || pi_ref(. | s_t))` in nats: the x axis.
    pub sequence_kl: Estimate,
    /// The one-sample estimate of the same, `log pi(y|x) - log pi_ref(y|x)`, in nats.
    pub k1: Estimate,
    /// Response length in tokens.
    pub length: Estimate,
    /// How varied the responses are: distinct bigrams of tokens in all responses together, as a share of all
    /// bigrams. This is distinct-2 (Li et al. 2016), divided by bigrams rather than tokens so that 1 means
    /// that none repeats. NaN if there is no bigram.
    #[serde(deserialize_with = "or_nan")]
    pub distinct_2: f64,
    /// Prompts and responses as tokens, in the order of the prompts, all of one prompt together.
    pub sequences: Vec<Sequence>,
    /// The responses with their scores, in the same order.
    pub samples: Vec<Sample>,
}

/// A response of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Text of the prompt.
    pub prompt: String,
    /// Text of the response.
    pub response: String,
    /// The true score.
    pub score: f64,
    /// The second opinion's score; `judge` in files.
    #[serde(rename = "judge")]
    pub second_opinion: f64,
    /// Exact KL along this response, in nats.
    pub sequence_kl: f64,
}

/// All that stays the same between the evaluations of a study.
///
/// Every policy is sampled with the same random numbers: differences between policies are less noisy then.
/// More prompts tell more than more responses to the same ones, but each takes its own reference samples.
pub struct Evaluator {
    /// Token ids of the held-out prompts.
    pub prompts: Vec<Vec<u32>>,
    /// Responses of a policy to each of them, at least one.
    pub responses_per_prompt: usize,
    /// The reference that KL is measured from.
    pub reference: ReferencePolicy,
    /// The true score.
    pub scorer: Box<dyn Scorer>,
    /// A scorer that was made apart from the true one. What a policy gains from the true score's quirks it
    /// does not gain here.
    pub second_opinion: Box<dyn Scorer>,
    /// How responses are drawn.
    pub sampling: Sampling,
    /// The common random numbers.
    pub stream: Stream,
    /// Reads the samples.
    pub tokenizer: Tokenizer,
}

impl Evaluator {
    /// Draws responses to the prompts and measures them.
    ///
    /// # Errors
    /// If the prompts do not fit the model, or a scorer refuses a response.
    pub fn evaluate(&self, policy: &Policy) -> Result<Evaluation, FeedbackError> {
        let count = self.responses_per_prompt;
        self.measure(policy, sample(policy, &self.prompts, count, &self.sampling, self.stream)?)
    }

    /// Measures responses that `policy` wrote, as many to each prompt, all of one prompt together.
    ///
    /// # Errors
    /// If the sequences do not fit the model, or a scorer refuses a response.
    pub fn measure(&self, policy: &Policy, sequences: Vec<Sequence>) -> Result<Evaluation, FeedbackError> {
        let kl = policy.sequence_kl(&self.reference, &sequences)?;
        let scores = scores_of(self.scorer.as_ref(), &sequences)?;
        let opinions = scores_of(self.second_opinion.as_ref(), &sequences)?;
        let exact: Vec<f64> = kl.iter().map(|kl| kl.exact).collect();
        let k1: Vec<f64> = kl.iter().map(|kl| kl.k1).collect();
        let lengths: Vec<f64> = sequences.iter().map(|sequence| sequence.response.len() as f64).collect();
        let samples = texts(&self.tokenizer, &sequences)?
            .into_iter()
            .enumerate()
            .map(|(i, (prompt, response))| Sample {
                prompt,
                response,
                score: scores[i],
                second_opinion: opinions[i],
                sequence_kl: exact[i],
            })
            .collect();
        Ok(Evaluation {
            score: self.estimate(&scores),
            second_opinion: self.estimate(&opinions),
            sequence_kl: self.estimate(&exact),
            k1: self.estimate(&k1),
            length: self.estimate(&lengths),
            distinct_2: distinct_2(sequences.iter().map(|sequence| sequence.response.as_slice())),
            samples,
            sequences,
        })
    }

    /// The mean over prompts of a number of each response. Responses to one prompt are alike, so its error is
    /// that of the prompts' means.
    fn estimate(&self, of_responses: &[f64]) -> Estimate {
        let by_prompt = of_responses.chunks(self.responses_per_prompt);
        let means: Vec<f64> =
            by_prompt.map(|of_one| of_one.iter().sum::<f64>() / of_one.len() as f64).collect();
        Estimate::of(&means)
    }
}

/// JSON has no NaN: it is written as null.
fn or_nan<'de, D: Deserializer<'de>>(number: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(number)?.unwrap_or(f64::NAN))
}

/// One finite score per sequence.
fn scores_of(scorer: &dyn Scorer, sequences: &[Sequence]) -> Result<Vec<f64>, FeedbackError> {
    let scores = checked(scorer.score(sequences)?, sequences.len())?;
    Ok(scores.into_iter().map(f64::from).collect())
}

/// Distinct bigrams of all responses over all bigrams.
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
    #![expect(clippy::float_cmp, reason = "the shares are exact")]
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
