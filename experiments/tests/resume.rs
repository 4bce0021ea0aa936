//! What becomes of finished work when the same command is called again: after the reviews have changed, after files were
//! damaged, after signals.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests may panic")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use assert_cmd::assert::OutputAssertExt;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

/// The smoke preset with two short runs.
const SMALL: [&str; 28] = [
    "--preset",
    "smoke",
    "--set",
    "reference.train.sft.steps=30",
    "--set",
    "prompts.train=30",
    "--set",
    "prompts.tune=16",
    "--set",
    "prompts.evaluate=16",
    "--set",
    "dpo.steps=4",
    "--set",
    "dpo.evaluate_every=2",
    "--set",
    "reward_model.steps=4",
    "--set",
    "ppo.target_kl=[]",
    "--set",
    "ppo.true_reward_target_kl=[]",
    "--set",
    "unlikelihood.alpha=[]",
    "--set",
    "preferred_ft.learning_rate=[]",
    "--set",
    "seeds=[7]",
    "--set",
    "dpo.beta=[0.1, 1.0]",
];
const RUN: &str = "dpo-beta0.1-s7";

/// A folder for reviews, and one for a study of them.
struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn out(&self, name: &str) -> PathBuf {
        self.path("out").join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.out(name)).unwrap()
    }

    fn study(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
        command.arg("imdb-frontier").args(SMALL).arg("--out").arg(self.out("")).args(more);
        command
    }

    /// The study of the reviews in a folder.
    fn study_of(&self, reviews: &str) -> Command {
        let mut command = self.study(&["--set", "synthetic=false", "--data"]);
        command.arg(self.path(reviews));
        command
    }

    /// When a file was last written.
    fn written(&self, name: &str) -> std::time::SystemTime {
        std::fs::metadata(self.out(name)).unwrap().modified().unwrap()
    }
}

/// Reviews in the shape of the data set, whose names do not tell the label.
fn write_reviews(root: &Path) {
    for (split, count) in [("train", 120), ("test", 40)] {
        for (label, words) in [("pos", ["great", "moving"]), ("neg", ["dull", "wooden"])] {
            let folder = root.join("aclImdb").join(split).join(label);
            std::fs::create_dir_all(&folder).unwrap();
            for i in 0..count {
                let [one, two] = words;
                let things = ["plot", "cast", "music", "ending", "pace"];
                let (this, that) = (things[i % 5], things[(i / 5) % 5]);
                let text = format!(
                    "The {this} of {split} film number {i} is {one}, and I found its {that} {two} in scene {}.",
                    i * 7 % 11
                );
                std::fs::write(folder.join(format!("{i}_5.txt")), text).unwrap();
            }
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_study_belongs_to_what_its_reviews_say_and_not_to_where_they_lie() {
    let case = Case::new();
    write_reviews(&case.path("D"));
    case.study_of("D").assert().success();
    let evals = format!("runs/{RUN}/evals.csv");
    let (frontier, written) = (case.read("frontier.csv"), case.written(&evals));

    // Times and places do not count.
    copy(&case.path("D"), &case.path("same"));
    let reused = || contains("2 runs, 2 of them finished before").and(contains("prompts: reused"));
    case.study_of("same").assert().success().stderr(reused());
    Command::new("touch")
        .arg(case.path("D"))
        .arg(case.path("D/aclImdb/train/pos/0_5.txt"))
        .assert()
        .success();
    case.study_of("D").assert().success().stderr(reused());
    assert_eq!(written, case.written(&evals));

    // The content does, in place or elsewhere, whatever sizes and times say.
    let [pos, neg] = ["pos", "neg"].map(|label| case.path("D/aclImdb/train").join(label));
    let swap = case.path("swap");
    for (from, to) in [(&pos, &swap), (&neg, &pos), (&swap, &neg)] {
        std::fs::rename(from, to).unwrap();
    }
    let refused = contains("data (there ").and(contains("content ")).and(contains("give another --out"));
    case.study_of("D").assert().code(42).stderr(refused);
    std::fs::write(case.path("same/aclImdb/test/pos/0_5.txt"), "The plot is great.").unwrap();
    case.study_of("same").assert().code(42).stderr(contains("data (there "));
    assert_eq!(
        (frontier, written),
        (case.read("frontier.csv"), case.written(&evals)),
        "results were touched"
    );
    // And if the manifest is all there is of the study.
    std::fs::remove_dir_all(case.out("cache")).unwrap();
    case.study_of("same").assert().code(42).stderr(contains("data (there "));
}
