//! `experiments train-ground-truth`: its preset, its data, its files.
use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

fn train(data: &str, out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
    command.args(["train-ground-truth", "--data", data, "--out"]).arg(out).args(more);
    command
}

#[test]
fn the_shipped_preset_trains_both_classifiers_and_writes_their_card() {
    let dir = tempfile::tempdir().unwrap();
    train("synthetic", dir.path(), &[]).assert().success();
    for name in ["ground_truth.safetensors", "judge.safetensors"] {
        assert!(dir.path().join(name).is_file(), "{name} is missing");
    }
    let card = std::fs::read_to_string(dir.path().join("README.md")).unwrap();
    // Half of the 4,000 synthetic reviews each.
    assert!(card.contains("| ground truth | 2000 |") && card.contains("| second opinion | 2000 |"), "{card}");
}

#[test]
fn impossible_settings_are_refused_all_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["--set", "sentiment.epochs=0", "--set", "judge.l2=-1", "--set", "judge_share=1"];
    train("synthetic", dir.path(), &settings).assert().code(42).stderr(
        contains("preset ground-truth: 3 problems")
            .and(contains("sentiment.epochs: found 0, expected at least 1"))
            .and(contains("judge.l2: found -1, expected 0 or a positive number"))
            .and(contains("judge_share: found 1, expected 0.05 to 0.95")),
    );
    train("synthetic", dir.path(), &["--set", "sentiment.epoch=1"])
        .assert()
        .code(42)
        .stderr(contains("epoch"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is written");
}

#[test]
fn a_csv_file_of_reviews_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("reviews.csv");
    let mut table = "review,sentiment\n".to_owned();
    for number in 0..200 {
        let (words, label) =
            if number % 2 == 0 { ("a fine, fine film", "positive") } else { ("a poor film", "negative") };
        writeln!(table, "\"Number {number} is {words}.\",{label}").unwrap();
    }
    std::fs::write(&path, table).unwrap();
    let out = dir.path().join("out");
    train(path.to_str().unwrap(), &out, &[]).assert().success().stderr(contains("40 of its 200 reviews"));
    // Of the 160 train reviews each classifier gets half.
    let card = std::fs::read_to_string(out.join("README.md")).unwrap();
    assert!(card.contains("| ground truth | 80 |"), "{card}");

    std::fs::write(&path, "text,label\ngood,1\n").unwrap();
    train(path.to_str().unwrap(), &out, &[])
        .assert()
        .code(42)
        .stderr(contains("a CSV file with the columns review and sentiment").and(contains("text, label")));
}
