//! `experiments train-classifier`: its data, its encoder, its files.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;
use lm::files::load_classifier;
use lm::{DeviceSpec, ScoreUnit};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

/// A BERT of 24 dimensions that reads 40 tokens, with a head of two labels.
fn tiny_bert() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/lm/tests/fixtures/encoder/bert")
}

fn train(model: &Path, data: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
    command.args(["train-classifier", "--device", "cpu"]);
    command.arg("--model").arg(model).arg("--data").arg(data).arg("--out").arg(out);
    let small =
        ["train_window=24", "window=32", "training.steps=60", "training.optimizer.learning_rate=5e-3"];
    for setting in small {
        command.args(["--set", setting]);
    }
    command.args(more);
    command
}

fn table(texts: usize) -> String {
    let mut table = "label,text\n".to_owned();
    for number in 0..texts {
        let (label, words) =
            if number % 2 == 0 { ("praise", "warm and funny") } else { ("scorn", "not good, the worst") };
        writeln!(table, "{label},\"The film, number {number} of all, was {words}.\"").unwrap();
    }
    table
}

#[test]
fn a_table_of_texts_is_learned_and_the_folder_scores_others() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("texts.csv"), dir.path().join("out"));
    std::fs::write(&data, table(200)).unwrap();
    train(&tiny_bert(), &data, &out, &["--set", "evaluate_every=25"]).assert().success().stderr(
        contains("180 training texts, 20 held out")
            .and(contains("step 25: held-out accuracy"))
            .and(contains("held-out accuracy 100.0% (95% interval 83.9% to 100.0%, 20 texts)")),
    );
    let classifier = load_classifier(&out, &DeviceSpec::CPU.open().unwrap()).unwrap();
    assert_eq!(classifier.labelling().labels, ["praise", "scorn"]);
    assert_eq!(classifier.window().tokens, 32);
    let texts = ["The music was warm and funny.", "The music was not good, it was the worst."];
    let praise = classifier.scores(&texts, 0, ScoreUnit::Probability).unwrap();
    assert!(praise[0] > 0.8 && praise[1] < 0.2, "{praise:?}");

    let card = std::fs::read_to_string(out.join("README.md")).unwrap();
    assert!(card.contains("to tell praise from scorn") && card.contains("100.0% (95% interval"), "{card}");
    let metrics = std::fs::read_to_string(out.join("metrics.csv")).unwrap();
    assert_eq!(metrics.lines().count(), 61);
    assert!(metrics.starts_with("step,seconds,loss,accuracy,learning_rate,grad_norm,num_tokens\n"));
}

#[test]
fn reviews_are_a_source_too() {
    let dir = tempfile::tempdir().unwrap();
    let settings = ["--set", "training.steps=2", "--set", "held_out=50"];
    train(&tiny_bert(), Path::new("synthetic"), dir.path(), &settings)
        .assert()
        .success()
        .stderr(contains("held-out accuracy").and(contains("50 texts")));
    let classifier = load_classifier(dir.path(), &DeviceSpec::CPU.open().unwrap()).unwrap();
    assert_eq!(classifier.labelling().labels, ["NEGATIVE", "POSITIVE"]);
}

#[test]
fn what_cannot_be_trained_on_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (data, out) = (dir.path().join("texts.csv"), dir.path().join("out"));
    let refused = |text: &str, model: &Path, parts: [&str; 2]| {
        std::fs::write(&data, text).unwrap();
        let both = contains(parts[0].to_owned()).and(contains(parts[1].to_owned()));
        train(model, &data, &out, &[]).assert().code(42).stderr(both);
        assert!(!out.exists(), "nothing is written");
    };
    let bert = tiny_bert();
    refused(&table(20), dir.path(), ["found no config.json", "expected an encoder's folder"]);
    refused(&format!("{}praise,\n", table(3)), &bert, ["texts.csv:5: text: found nothing", "expected"]);
    refused(&format!("{}praise\n", table(3)), &bert, ["texts.csv", "line: 5"]);
    refused(&table(1), &bert, ["found 1 texts with 1 labels", "2 to 1000 labels"]);
    let three = format!("{}boredom,so\n", table(20));
    refused(&three, &bert, ["a head of 2 labels, NEGATIVE, POSITIVE", "expected 3, boredom, praise, scorn"]);
    refused("words,kind\na,b\n", &bert, ["the columns review and sentiment", "words, kind"]);
    std::fs::write(&data, table(20)).unwrap();
    train(&bert, &data, &out, &["--set", "window=65"])
        .assert()
        .code(42)
        .stderr(contains("window: found 65, expected 3 to 64"));
}

#[test]
fn the_time_of_an_encoder_is_measured() {
    for case in ["classify", "classifier-trainer"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
        let model = format!("model={}", tiny_bert().display());
        command.args(["measure", case, &model, "texts=3", "tokens=20", "budget=0"]);
        let output = command.assert().success().get_output().stdout.clone();
        let line: serde_json::Value = serde_json::from_slice(&output).unwrap();
        assert_eq!(line["tokens"], 60, "{line}");
        assert!(line["seconds"].as_f64().unwrap() > 0.0);
    }
}
