//! An encoder as a scorer of token sequences.

use std::path::PathBuf;

use feedback::{ClassifierScorer, DecodingScorer, TextScorer};
use lm::{DeviceSpec, ScoreUnit, Scorer, Sequence, Tokenizer, files};
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../lm/tests/fixtures/encoder/bert")
}

fn scorer(label: &str, unit: ScoreUnit) -> Result<ClassifierScorer, feedback::FeedbackError> {
    let device = DeviceSpec::CPU.open().unwrap();
    ClassifierScorer::new(files::load_classifier(&folder(), &device).unwrap(), label, unit)
}

/// A text and the log-odds of POSITIVE that transformers computes for it.
fn known() -> (String, f64) {
    let file = std::fs::read(folder().join("expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&file).unwrap();
    let logit = |label: usize| expected["logits"][0][label].as_f64().unwrap();
    (expected["texts"][0]["text"].as_str().unwrap().to_owned(), logit(1) - logit(0))
}

#[test]
fn prompt_and_response_are_one_text() {
    let (text, log_odds) = known();
    let scorer = scorer("POSITIVE", ScoreUnit::LogOdds).unwrap();
    let halves: Vec<(String, String)> =
        [0, 8, text.len()].map(|at| (text[..at].to_owned(), text[at..].to_owned())).into();
    for score in scorer.score(&halves).unwrap() {
        assert!((f64::from(score) - log_odds).abs() < 1e-5, "{score} is not {log_odds}");
    }
}

#[test]
fn a_policys_tokens_are_scored_as_text() {
    let (text, log_odds) = known();
    let tokenizer = Tokenizer::train(&[&text], 300).unwrap();
    let tokens = tokenizer.encode(&text).unwrap();
    let (prompt, response) = tokens.split_at(2);
    let sequence = Sequence {
        prompt: [&[tokenizer.end()], prompt].concat(),
        response: [response, &[tokenizer.end()]].concat(),
    };
    let scorer = scorer("1", ScoreUnit::Probability).unwrap();
    let found = DecodingScorer::new(scorer, tokenizer).score(&[sequence]).unwrap()[0];
    let want = 1.0 / (1.0 + (-log_odds).exp());
    assert!((f64::from(found) - want).abs() < 1e-5, "{found} is not {want}");
}

#[test]
fn an_unknown_label_is_named() {
    let message = scorer("NEUTRAL", ScoreUnit::Logit).unwrap_err().to_string();
    assert!(message.contains("label: found NEUTRAL, expected one of NEGATIVE, POSITIVE"), "{message}");
}
