//! Labels, pairs and their file, against counts by hand.

use feedback::jsonl::{read, write};
use feedback::preferences::label;
use feedback::{FeedbackError, LabelledPair, Labels, PreferenceConfig};
use lm::{Config, LmError, Scorer, Sequence, Stream, Tokenizer};

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
    let prompts = |pairs: &[LabelledPair]| pairs.iter().map(|pair| pair.prompt_index).collect::<Vec<_>>();
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
fn soft_labels_keep_the_probability() {
    let soft = config(Labels::Soft { scale: 10.0 }, 3, 0.0);
    let preferences = label(&responses(&[1, 3, 2]), &FirstId, &soft, Stream::new(1, "test")).unwrap();
    let found: Vec<(u32, u32, f32)> = preferences
        .train
        .iter()
        .map(|LabelledPair { pair, .. }| (pair.chosen[0], pair.rejected[0], pair.probability))
        .collect();
    // The higher score is chosen; sigma(1) = 0.7310586 and sigma(2) = 0.8807971.
    let wanted = [(3, 1, 0.880_797_1), (2, 1, 0.731_058_6), (3, 2, 0.731_058_6)];
    assert_eq!(found.len(), 3);
    for (found, wanted) in found.into_iter().zip(wanted) {
        assert!((found.0, found.1) == (wanted.0, wanted.1) && (found.2 - wanted.2).abs() < 1e-6, "{found:?}");
    }
    assert_eq!(preferences.disagreements, 0);

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("preferences.jsonl");
    let tokenizer = Tokenizer::train(&["a good film , a bad film"], 300).unwrap();
    write(&path, &preferences, &tokenizer).unwrap();
    assert_eq!(read(&path).unwrap().train, preferences.train);
    // A file from before there were soft labels.
    let old = std::fs::read_to_string(&path).unwrap().replace("\"probability\":", "\"p\":");
    std::fs::write(&path, old).unwrap();
    assert!(read(&path).unwrap().train.iter().all(|labelled| labelled.pair.probability == 1.0));
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
fn a_study_in_which_all_pairs_tie_says_how_many_and_what_to_change() {
    let sequences: Vec<Sequence> = (0..10).flat_map(|_| responses(&[4, 4, 4])).collect();
    let label = |sequences: &[Sequence]| {
        label(sequences, &FirstId, &config(Labels::Hard, 3, 0.2), Stream::new(1, "test"))
    };
    let message = label(&sequences).unwrap_err().to_string();
    assert!(
        message.starts_with("preferences: found no pair to train on: 30 of 30 pairs are ties"),
        "{message}"
    );
    assert!(message.contains("responses_per_prompt") && message.contains("temperature"), "{message}");

    // Of the ten prompts the last two are held out.
    let told_apart: Vec<Sequence> = (0..8).flat_map(|_| responses(&[4, 4, 5])).collect();
    let message = label(&[told_apart.as_slice(), &sequences[..6]].concat()).unwrap_err().to_string();
    assert!(message.starts_with("preferences: found no pair to validate with: 14 of 30 pairs"), "{message}");
}

/// Answers with a fixed list, whatever it is asked.
struct Fixed(Vec<f32>);

impl Scorer for Fixed {
    fn score(&self, _: &[Sequence]) -> Result<Vec<f32>, LmError> {
        Ok(self.0.clone())
    }
}

#[test]
fn scores_and_responses_that_do_not_fit_are_refused() {
    let refuse = |sequences: &[Sequence], scores: &[f32], n: usize| {
        label(sequences, &Fixed(scores.to_vec()), &config(Labels::Hard, n, 0.0), Stream::new(1, "test"))
            .unwrap_err()
            .to_string()
    };
    let three = responses(&[1, 2, 3]);
    assert_eq!(refuse(&three, &[0.0], 3), "scores: found 1, expected 3, one per response");
    let message = refuse(&three, &[0.0, f32::NAN, 1.0], 3);
    assert_eq!(message, "scores: found NaN for response 1, expected finite numbers");
    assert_eq!(refuse(&three, &[0.0; 3], 2), "responses: found 3, expected 2 for each prompt");
    assert_eq!(refuse(&three, &[0.0; 3], 0), "responses_per_prompt: found 0, expected at least 2");
}

#[test]
fn impossible_settings_are_named_all_at_once() {
    let keys = |labels: Labels, n: usize, share: f64| {
        config(labels, n, share).problems().into_iter().map(|problem| problem.key).collect::<Vec<_>>()
    };
    assert!(keys(Labels::Hard, 2, 0.0).is_empty());
    assert_eq!(keys(Labels::Hard, 1, 1.0), ["responses_per_prompt", "validation_share"]);
    assert_eq!(keys(Labels::BradleyTerry { scale: f64::NAN }, 2, 0.1), ["labels.bradley_terry.scale"]);
    assert_eq!(keys(Labels::Soft { scale: 0.0 }, 2, 0.1), ["labels.soft.scale"]);
    assert_eq!(
        keys(Labels::Noisy { flip: 0.5 }, 0, f64::NAN),
        ["responses_per_prompt", "labels.noisy.flip", "validation_share"]
    );
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = read(std::path::Path::new("nowhere/preferences.jsonl")).unwrap_err();
    assert!(matches!(error, FeedbackError::Io { action: "read", .. }), "{error:?}");
    assert!(error.to_string().starts_with("cannot read nowhere/preferences.jsonl"), "{error}");
}
