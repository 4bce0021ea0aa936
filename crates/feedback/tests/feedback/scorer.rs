//! Text scorers and what becomes of token sequences on the way to them.

use feedback::scorer::texts;
use feedback::{DecodingScorer, FeedbackError, TextScorer};
use lm::{LmError, Scorer, Sequence, Tokenizer};

fn tokenizer() -> Tokenizer {
    Tokenizer::train(&["a good film , a bad film"], 300).unwrap()
}

/// Prompt and response of these texts, the begin token first and the end token last.
fn sequence(tokenizer: &Tokenizer, prompt: &str, response: &str) -> Sequence {
    let prompt = [vec![tokenizer.end()], tokenizer.encode(prompt).unwrap()].concat();
    let response = [tokenizer.encode(response).unwrap(), vec![tokenizer.end()]].concat();
    Sequence { prompt, response }
}

/// 10 for each character of the prompt, 1 for each of the response.
struct Lengths;

impl TextScorer for Lengths {
    fn score(&self, texts: &[(String, String)]) -> Result<Vec<f32>, FeedbackError> {
        let count = |text: &str| text.chars().count() as f32;
        Ok(texts.iter().map(|(prompt, response)| 10.0 * count(prompt) + count(response)).collect())
    }
}

#[test]
fn a_text_scorer_reads_prompt_and_response_without_special_tokens() {
    let tokenizer = tokenizer();
    let sequences = [
        sequence(&tokenizer, "a good", " film"),
        sequence(&tokenizer, "a", ""),
        sequence(&tokenizer, "", "é"),
    ];
    let scorer = DecodingScorer::new(Lengths, tokenizer);
    assert_eq!(scorer.score(&sequences).unwrap(), [65.0, 10.0, 1.0]);
}

#[test]
fn a_character_that_prompt_and_response_share_is_the_response_s() {
    let tokenizer = tokenizer();
    let whole = sequence(&tokenizer, "café noir", "");
    // "é" is two bytes and, in this vocabulary, two tokens: cut between them.
    let cut = (1..whole.prompt.len())
        .find(|&at| tokenizer.decode(&whole.prompt[..at]).unwrap().ends_with('\u{fffd}'))
        .unwrap();
    let (prompt, response) = whole.prompt.split_at(cut);
    let cut = Sequence { prompt: prompt.to_vec(), response: response.to_vec() };
    let found = texts(&tokenizer, &[cut]).unwrap();
    assert_eq!(found, [("caf".to_owned(), "é noir".to_owned())]);
}

struct Broken(fn(usize) -> Result<Vec<f32>, FeedbackError>);

impl TextScorer for Broken {
    fn score(&self, texts: &[(String, String)]) -> Result<Vec<f32>, FeedbackError> {
        (self.0)(texts.len())
    }
}

#[test]
fn what_a_text_scorer_does_wrong_is_said_once() {
    let tokenizer = tokenizer();
    let sequences = [sequence(&tokenizer, "a", "b")];
    let message = |answer| {
        let error = DecodingScorer::new(Broken(answer), tokenizer.clone()).score(&sequences).unwrap_err();
        assert!(matches!(error, LmError::Scorer(_)), "{error:?}");
        error.to_string()
    };
    let failed = message(|_| Err(FeedbackError::Scorer("the program ended with status 1".to_owned())));
    assert_eq!(failed, "scorer: the program ended with status 1");
    assert_eq!(message(|n| Ok(vec![0.5; n + 1])), "scorer: scores: found 2, expected 1, one per response");
    let infinite = message(|n| Ok(vec![f32::INFINITY; n]));
    assert_eq!(infinite, "scorer: scores: found inf for response 0, expected finite numbers");
}
