//! Labels, pairs and their file, against counts by hand.

use feedback::comparisons::{read, write};
use feedback::preferences::label;
use feedback::{ComparedResponses, FeedbackError, Labels, PreferenceConfig, Preferences, jsonl};
use lm::{Comparison, Config, LmError, Scorer, Sequence, Stream, Tokenizer};

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

/// By how much the chosen responses lead, rounded to tenths.
fn gaps(preferences: &Preferences) -> Vec<f32> {
    let gaps = preferences.train.iter().flat_map(ComparedResponses::score_gaps);
    gaps.map(|gap| (gap * 10.0).round() / 10.0).collect()
}

#[test]
fn hard_labels_make_all_pairs_and_drop_ties() {
    // Scores 3, 5, 5, 1: six pairs, of which 5 against 5 is a tie.
    let preferences =
        label(&responses(&[3, 5, 5, 1]), &FirstId, &config(Labels::Hard, 4, 0.0), Stream::new(1, "test"))
            .unwrap();
    assert_eq!((preferences.train.len(), preferences.ties), (1, 1));
    let won: Vec<(u32, u32)> =
        preferences.train_pairs().iter().map(|pair| (pair.chosen[0], pair.rejected[0])).collect();
    assert_eq!(won, [(5, 3), (5, 3), (3, 1), (5, 1), (5, 1)]);
    assert_eq!(gaps(&preferences), [0.2, 0.2, 0.2, 0.4, 0.4]);
}

#[test]
fn the_last_prompts_are_held_out_whole() {
    let sequences: Vec<Sequence> = (0..10).flat_map(|_| responses(&[1, 2])).collect();
    let preferences =
        label(&sequences, &FirstId, &config(Labels::Hard, 2, 0.3), Stream::new(1, "test")).unwrap();
    let prompts = |of: &[ComparedResponses]| of.iter().map(|of| of.prompt_index).collect::<Vec<_>>();
    assert_eq!(prompts(&preferences.train), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(prompts(&preferences.validation), [7, 8, 9]);
    assert_eq!((preferences.train_pairs().len(), preferences.validation_pairs().len()), (7, 3));
}

/// Share of pairs in which the response that scores 0.1 more wins.
fn share_won(labels: Labels) -> f64 {
    let pairs = 20_000;
    let sequences: Vec<Sequence> = (0..pairs).flat_map(|_| responses(&[2, 1])).collect();
    let preferences = label(&sequences, &FirstId, &config(labels, 2, 0.0), Stream::new(3, "test")).unwrap();
    let won = gaps(&preferences).iter().filter(|gap| **gap > 0.0).count();
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
        .train_pairs()
        .iter()
        .map(|pair| (pair.chosen[0], pair.rejected[0], pair.probability))
        .collect();
    // The higher score is chosen; sigma(1) = 0.7310586 and sigma(2) = 0.8807971.
    let wanted = [(3, 1, 0.880_797_1), (2, 1, 0.731_058_6), (3, 2, 0.731_058_6)];
    assert_eq!(found.len(), 3);
    for (found, wanted) in found.into_iter().zip(wanted) {
        assert!((found.0, found.1) == (wanted.0, wanted.1) && (found.2 - wanted.2).abs() < 1e-6, "{found:?}");
    }
    assert!(gaps(&preferences).iter().all(|gap| *gap > 0.0));

    // The file keeps the probabilities to the bit.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("comparisons.jsonl");
    write(&path, &preferences).unwrap();
    assert_eq!(read(&path).unwrap(), preferences);
}

/// Four prompts with eight responses each, the last prompt held out.
fn eight_responses() -> Preferences {
    let sequences: Vec<Sequence> =
        (0..4).flat_map(|_| responses(&[70, 71, 72, 73, 74, 75, 76, 77])).collect();
    label(&sequences, &FirstId, &config(Labels::Hard, 8, 0.25), Stream::new(1, "test")).unwrap()
}

#[test]
fn a_file_has_each_response_once_and_damage_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("comparisons.jsonl");
    let preferences = eight_responses();
    write(&path, &preferences).unwrap();
    assert_eq!(read(&path).unwrap(), preferences);
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 4);
    assert_eq!(text.matches("[73,7]").count(), 4, "a response for each prompt, not for each of its pairs");

    let first = text.lines().next().unwrap();
    let broken = |line: &str| {
        std::fs::write(&path, format!("{first}\n{line}\n")).unwrap();
        read(&path).unwrap_err().to_string()
    };
    let message = broken("{\"prompt\": 1}");
    assert!(message.contains("comparisons.jsonl:2: found invalid type"), "{message}");
    let message = broken(&first.replacen("[1,0,", "[8,0,", 1));
    assert!(message.contains(":2: found a pair of responses 8 and 0, counted from 0, of 8"), "{message}");
    let message = broken(&first.replacen("7.0,", "", 1));
    assert!(message.contains(":2: found 7 scores of 8 responses"), "{message}");
}

#[test]
fn the_listed_pairs_carry_the_columns_of_trl_and_are_few_and_the_same_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("preferences.jsonl");
    let tokenizer = Tokenizer::train(&["a good film , a bad film"], 300).unwrap();
    let preferences = eight_responses();
    let listed = |most: usize| {
        jsonl::write(&path, &preferences, &tokenizer, most).unwrap();
        std::fs::read_to_string(&path).unwrap()
    };
    let lines = |text: &str| -> Vec<serde_json::Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    // All 28 pairs of each prompt, and then at most six, from the beginning of the list to its end.
    let (all, some) = (lines(&listed(100)), lines(&listed(6)));
    assert_eq!((all.len(), some.len()), (4 * 28, 4 * 6));
    let expected: Vec<_> = [0, 4, 9, 14, 18, 23].map(|pair| all[pair].clone()).to_vec();
    assert_eq!(some[..6], expected);
    assert_eq!(listed(6), listed(6));
    let pair = &preferences.train[0].pairs[4];
    assert_eq!(*pair, Comparison { chosen: 5, rejected: 0, probability: 1.0 });
    let decoded = |response: usize| tokenizer.decode(&preferences.train[0].responses[response]).unwrap();
    assert_eq!(some[1]["chosen"], decoded(5));
    assert_eq!(some[1]["rejected"], decoded(0));
    assert_eq!(some[1]["prompt"], tokenizer.decode(&[0, 1]).unwrap());
    let split = |line: &serde_json::Value| line["split"].as_str().unwrap().to_owned();
    assert_eq!((split(&some[17]), split(&some[18])), ("train".to_owned(), "validation".to_owned()));
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
    let error = read(std::path::Path::new("nowhere/comparisons.jsonl")).unwrap_err();
    assert!(matches!(error, FeedbackError::Io { action: "read", .. }), "{error:?}");
    assert!(error.to_string().starts_with("cannot read nowhere/comparisons.jsonl"), "{error}");
}
