//! Openings of reviews as prompts.

use std::collections::HashSet;

use imdb::{PromptConfig, Review};
use lm::{Config, Tokenizer};

#[test]
fn prompts_are_openings_of_disjoint_reviews() {
    let review = |i: usize, split: &str| Review {
        id: format!("{split}/{i}"),
        text: format!("{split} review number {i} is here to be read by someone who has the time for it"),
        positive: Some(true),
    };
    let train: Vec<Review> = (0..60).map(|i| review(i, "train")).collect();
    let test: Vec<Review> = (0..30).map(|i| review(i, "test")).collect();
    let texts: Vec<&str> = train.iter().map(|review| review.text.as_str()).collect();
    let tokenizer = Tokenizer::train(&texts, 320).unwrap();
    let config = PromptConfig { train: 40, tune: 20, evaluate: 30, min_tokens: 6, max_tokens: 8 };
    let prompts = config.from_reviews(&train, &test, &tokenizer, 5).unwrap();
    assert_eq!(prompts, config.from_reviews(&train, &test, &tokenizer, 5).unwrap());
    assert_eq!((prompts.train.len(), prompts.tune.len(), prompts.evaluate.len()), (40, 20, 30));
    for (set, word) in [(&prompts.train, "train"), (&prompts.tune, "train"), (&prompts.evaluate, "test")] {
        for prompt in set {
            assert_eq!(prompt[0], tokenizer.end());
            assert!((7..=9).contains(&prompt.len()), "{} tokens with the begin token", prompt.len());
            let text = tokenizer.decode(prompt).unwrap();
            assert!(format!("{word} review number").starts_with(&text[..2]), "{text}");
        }
    }
    // The same prompts with what follows them in their reviews.
    let continued = config.continued(&test, &tokenizer, 5, 6).unwrap();
    let own: Vec<&Vec<u32>> = continued.iter().map(|sequence| &sequence.prompt).collect();
    assert_eq!(own, prompts.evaluate.iter().collect::<Vec<_>>());
    for sequence in &continued {
        let text = tokenizer.decode(&sequence.tokens()).unwrap();
        let of_review = test.iter().any(|review| review.text.starts_with(&text));
        assert!(of_review && sequence.response.len() == 6, "{text}");
    }
    let refused =
        PromptConfig { train: 50, ..config }.from_reviews(&train, &test, &tokenizer, 5).unwrap_err();
    assert!(refused.to_string().contains("60"), "{refused}");
    let lengths: HashSet<usize> = prompts.train.iter().map(Vec::len).collect();
    assert_eq!(lengths.len(), 3, "every length from the shortest to the longest occurs");
}

#[test]
fn impossible_settings_are_named_all_at_once() {
    let possible = PromptConfig { train: 1, tune: 0, evaluate: 1, min_tokens: 2, max_tokens: 2 };
    assert!(possible.check().is_ok());
    let config = PromptConfig { train: 0, max_tokens: 1, ..possible };
    let message = config.check().unwrap_err().to_string();
    assert_eq!(
        message,
        "train: found 0, expected at least 1\nmax_tokens: found 1, expected at least min_tokens, 2"
    );
}
