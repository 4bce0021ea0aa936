//! The evaluation of a policy on a tiny model.

use feedback::{Estimate, Evaluation, EvaluationConfig, Evaluator, PromptSet};
use lm::{
    Config, Decoder, DecoderConfig, DeviceSpec, LmError, Policy, ReferencePolicy, Sampling, Scorer, Sequence,
    Shape, Stream, Tokenizer,
};

/// Scores a response by its length.
struct Length;

impl Scorer for Length {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        Ok(sequences.iter().map(|sequence| sequence.response.len() as f32).collect())
    }
}

/// Scores a response by its last id.
struct LastId;

impl Scorer for LastId {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        Ok(sequences.iter().map(|sequence| sequence.response.last().map_or(0.0, |&id| id as f32)).collect())
    }
}

/// 40 prompts, and what is drawn and measured on them.
fn evaluator(tokenizer: &Tokenizer, reference: &Policy, responses_per_prompt: usize) -> Evaluator {
    Evaluator {
        prompts: (0..40).map(|i| vec![tokenizer.end(), 60 + i % 7]).collect(),
        responses_per_prompt,
        reference: ReferencePolicy::new(reference),
        scorer: Box::new(Length),
        second_opinion: Box::new(LastId),
        sampling: Sampling { max_new_tokens: 5, batch_size: 16 },
        stream: Stream::new(1, "evaluation"),
        tokenizer: tokenizer.clone(),
    }
}

fn policy(tokenizer: &Tokenizer, seed: u64) -> Policy {
    let shape = Shape { vocabulary: tokenizer.vocab_size(), context: 16, width: 16, layers: 1, heads: 2 };
    let (config, device) = (DecoderConfig::gpt2(shape), DeviceSpec::CPU.open().unwrap());
    let model = Decoder::random(&config, Stream::new(seed, "test"), &device).unwrap();
    Policy::new(model, 1.0, tokenizer.end()).unwrap()
}

#[test]
fn the_reference_is_at_distance_zero_and_others_are_not() {
    let tokenizer = Tokenizer::train(&["a good film , a bad film"], 270).unwrap();
    let reference = policy(&tokenizer, 1);
    let evaluator = evaluator(&tokenizer, &reference, 1);
    let own = evaluator.evaluate(&reference).unwrap();
    assert_eq!((own.sequence_kl.mean, own.k1.mean), (0.0, 0.0));
    assert_eq!(own.samples.len(), 40);
    // The scorer counts tokens, so the score is the length, errors included.
    assert_eq!(own.score, own.length);
    let last: f64 = own.sequences.iter().map(|sequence| f64::from(*sequence.response.last().unwrap())).sum();
    assert!((own.second_opinion.mean - last / 40.0).abs() < 1e-9);
    assert_eq!(own, evaluator.evaluate(&reference).unwrap(), "common random numbers repeat");
    let json = serde_json::to_string(&own).unwrap();
    assert_eq!(serde_json::from_str::<Evaluation>(&json).unwrap(), own, "a file keeps every bit");
    let other = evaluator.evaluate(&policy(&tokenizer, 2)).unwrap();
    assert!(other.sequence_kl.mean > 0.0);
    let apart = (other.sequence_kl.mean - other.k1.mean).abs();
    assert!(apart < 4.0 * other.sequence_kl.se.hypot(other.k1.se), "exact and k1 differ by {apart}");
}

#[test]
fn responses_to_one_prompt_count_as_one() {
    let tokenizer = Tokenizer::train(&["a good film , a bad film"], 270).unwrap();
    let reference = policy(&tokenizer, 1);
    let found = evaluator(&tokenizer, &reference, 3).evaluate(&policy(&tokenizer, 2)).unwrap();
    assert_eq!((found.sequences.len(), found.samples.len()), (120, 120));
    assert!(found.sequences.chunks(3).all(|of_one| of_one.iter().all(|s| s.prompt == of_one[0].prompt)));
    let last = |sequence: &Sequence| f64::from(*sequence.response.last().unwrap());
    let means: Vec<f64> =
        found.sequences.chunks(3).map(|of_one| of_one.iter().map(last).sum::<f64>() / 3.0).collect();
    let mean = means.iter().sum::<f64>() / 40.0;
    let variance = means.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 39.0;
    assert!((found.second_opinion.mean - mean).abs() < 1e-9);
    assert!((found.second_opinion.se - (variance / 40.0).sqrt()).abs() < 1e-9);
}

#[test]
fn what_could_not_be_estimated_is_still_unknown_when_it_is_read() {
    let one = serde_json::to_string(&Estimate::of(&[2.0])).unwrap();
    assert_eq!(one, r#"{"mean":2.0,"se":null}"#);
    let read: Estimate = serde_json::from_str(&one).unwrap();
    assert!((read.mean - 2.0).abs() < 1e-12 && read.se.is_nan());
}

#[test]
fn samples_keep_the_keys_of_their_file() {
    let sample = feedback::Sample {
        prompt: "p".to_owned(),
        response: "r".to_owned(),
        score: 0.5,
        second_opinion: 0.25,
        sequence_kl: 2.0,
    };
    let json = serde_json::to_string(&sample).unwrap();
    assert_eq!(json, r#"{"prompt":"p","response":"r","score":0.5,"judge":0.25,"sequence_kl":2.0}"#);
}

#[test]
fn one_reference_sample_is_too_few() {
    let config = |responses_per_prompt, reference_samples| EvaluationConfig {
        on: PromptSet::Tune,
        responses_per_prompt,
        reference_samples,
    };
    assert_eq!(config(1, 2).problems(), []);
    let message = config(1, 1).check().unwrap_err().to_string();
    assert_eq!(message, "reference_samples: found 1, expected at least 2");
    let message = config(0, 2).check().unwrap_err().to_string();
    assert_eq!(message, "responses_per_prompt: found 0, expected at least 1");
}
