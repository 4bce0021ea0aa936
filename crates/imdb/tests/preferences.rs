//! Labels, pairs and files of preferences, and prompts, against counts by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::float_cmp, reason = "tests may panic")]

use std::collections::HashSet;

use imdb::preferences::{Labels, PreferenceConfig, label, read, write};
use imdb::{PromptConfig, Review};
use lm::{LmError, Scorer, Sequence, Stream, Tokenizer};

/// Scores a response by its first id, in tenths.
struct FirstId;

impl Scorer for FirstId {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        Ok(sequences.iter().map(|sequence| sequence.response[0] as f32 / 10.0).collect())
    }
}

fn responses(first: &[u32]) -> Vec<Sequence> {
    first.iter().map(|&id| Sequence { prompt: vec![0, 1], response: vec![id, 7] }).collect()
}

fn config(labels: Labels, n: usize, validation_share: f64) -> PreferenceConfig {
    PreferenceConfig { responses_per_prompt: n, labels, validation_share }
}

#[test]
fn hard_labels_make_all_pairs_and_drop_ties() {
    // Scores 3, 5, 5, 1: six pairs, of which 5 against 5 is a tie.
    let preferences =
        label(&responses(&[3, 5, 5, 1]), &FirstId, &config(Labels::Hard, 4, 0.0), Stream::new(1, "test"))
            .unwrap();
    assert_eq!((preferences.train.len(), preferences.ties, preferences.disagreements), (5, 1, 0));
    let won: Vec<(u32, u32)> =
        preferences.train.iter().map(|pair| (pair.pair.chosen[0], pair.pair.rejected[0])).collect();
    assert_eq!(won, [(5, 3), (5, 3), (3, 1), (5, 1), (5, 1)]);
    assert!(preferences.train.iter().all(|pair| pair.chosen_score > pair.rejected_score));
}

#[test]
fn the_last_prompts_are_held_out_whole() {
    let sequences: Vec<Sequence> = (0..10).flat_map(|_| responses(&[1, 2])).collect();
    let preferences =
        label(&sequences, &FirstId, &config(Labels::Hard, 2, 0.3), Stream::new(1, "test")).unwrap();
    let prompts =
        |pairs: &[imdb::LabelledPair]| pairs.iter().map(|pair| pair.prompt_index).collect::<Vec<_>>();
    assert_eq!(prompts(&preferences.train), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(prompts(&preferences.validation), [7, 8, 9]);
}

/// Share of pairs in which the response that scores 0.1 more wins.
fn share_won(labels: Labels) -> f64 {
    let pairs = 20_000;
    let sequences: Vec<Sequence> = (0..pairs).flat_map(|_| responses(&[2, 1])).collect();
    let preferences = label(&sequences, &FirstId, &config(labels, 2, 0.0), Stream::new(3, "test")).unwrap();
    let won = preferences.train.iter().filter(|pair| pair.chosen_score > pair.rejected_score).count();
    assert_eq!(won, pairs - preferences.disagreements);
    won as f64 / pairs as f64
}

#[test]
fn random_labels_come_out_as_often_as_they_should() {
    // sigma(10 * 0.1) = 0.7311; four standard errors of 20,000 draws are 0.0126.
    assert!((share_won(Labels::BradleyTerry { scale: 10.0 }) - 0.7311).abs() < 0.0126);
    assert!((share_won(Labels::Noisy { flip: 0.2 }) - 0.8).abs() < 0.0126);
    assert_eq!(share_won(Labels::Hard), 1.0);
}

#[test]
fn pairs_survive_their_file_and_carry_the_columns_of_trl() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("preferences.jsonl");
    let tokenizer = Tokenizer::train(&["a good film , a bad film"], 300).unwrap();
    let sequences: Vec<Sequence> = (0..4).flat_map(|_| responses(&[70, 90])).collect();
    let preferences =
        label(&sequences, &FirstId, &config(Labels::Hard, 2, 0.25), Stream::new(1, "test")).unwrap();
    write(&path, &preferences, &tokenizer).unwrap();
    assert_eq!(read(&path).unwrap(), preferences);
    let first = std::fs::read_to_string(&path).unwrap().lines().next().unwrap().to_owned();
    let line: serde_json::Value = serde_json::from_str(&first).unwrap();
    for column in ["prompt", "chosen", "rejected"] {
        assert!(line[column].is_string(), "{column} is {}", line[column]);
    }
    std::fs::write(&path, first.clone() + "\n{\"prompt\": 1}\n").unwrap();
    let message = read(&path).unwrap_err().to_string();
    assert!(message.contains("preferences.jsonl:2"), "{message}");
}

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
    let refused =
        PromptConfig { train: 50, ..config }.from_reviews(&train, &test, &tokenizer, 5).unwrap_err();
    assert!(refused.to_string().contains("60"), "{refused}");
    let lengths: HashSet<usize> = prompts.train.iter().map(Vec::len).collect();
    assert_eq!(lengths.len(), 3, "every length from the shortest to the longest occurs");
}
