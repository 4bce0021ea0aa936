//! A study goes on from what was published of it: what is taken over, what is left to compute, and how parts
//! join.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use assert_cmd::assert::{Assert, OutputAssertExt};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

/// The smoke preset with three short runs for each of two seeds.
const SMALL: [&str; 20] = [
    "reference.train.sft.steps=30",
    "prompts.train=30",
    "prompts.tune=16",
    "prompts.evaluate=16",
    "dpo.steps=4",
    "dpo.evaluate_every=2",
    "reward_model.steps=4",
    "rloo.steps=2",
    "rloo.evaluate_every=1",
    "rloo.rollouts=16",
    "rloo.kl={ name = \"fixed\", kl_coef = 0.5 }",
    "rloo.sweep={ \"kl.kl_coef\" = [0.5] }",
    "ppo.sweep.kl.target_kl=[]",
    "ppo-gt.sweep.kl.target_kl=[]",
    "unlikelihood.sweep.loss.alpha=[]",
    "preferred-ft.sweep.optimizer.learning_rate=[]",
    "online-dpo.sweep.beta=[]",
    "online-dpo-gt.sweep.beta=[]",
    "rloo-gt.sweep.kl.target_kl=[]",
    "seeds=[7,8]",
];
const DPO: [&str; 2] = ["dpo-beta0.1-s7", "dpo-beta1-s7"];
const RLOO: [&str; 2] = ["rloo-kl-coef0.5-s7", "rloo-kl-coef0.5-s8"];
/// The tables of a published copy that hold no times.
const TABLES: [&str; 5] = [
    "frontier.csv",
    "prompts.csv.bz2",
    "samples.jsonl",
    "reference_samples.jsonl",
    "reference_scores.csv.bz2",
];

struct Case(tempfile::TempDir);

impl Case {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// A command that is called in the case's folder.
    fn call(&self, arguments: &[&str]) -> Assert {
        let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
        command.args(arguments).current_dir(self.0.path()).assert()
    }

    fn study(&self, out: &str, more: &[&str]) -> Assert {
        let small: Vec<&str> = SMALL.iter().flat_map(|entry| ["--set", entry]).collect();
        self.call(&[&["imdb-frontier", "--preset", "smoke", "--out", out], &small[..], more].concat())
    }

    fn manifest(&self, of: &str) -> serde_json::Value {
        serde_json::from_slice(&self.read(&format!("{of}/manifest.json"))).unwrap()
    }

    fn assert_same(&self, names: &[&str], one: &str, two: &str) {
        for name in names {
            let [a, b] = [one, two].map(|dir| self.read(&format!("{dir}/{name}")));
            assert!(a == b, "{name} of {one} and {two}");
        }
    }
}

/// A stage that was done in an output folder.
fn did(out: &Path, stage: &str) -> bool {
    out.join("cache").join(stage).is_dir()
}

/// Whether a run was computed in an output folder.
fn computed(out: &Path, run: &str) -> bool {
    out.join("cache/runs").join(format!("{run}.log")).is_file()
}

#[test]
fn what_is_published_is_not_computed_again() {
    let case = Case::new();
    case.study("whole", &[]).success();
    case.call(&["publish", "whole", "published"]).success();
    case.study("half", &["--set", "dpo.sweep.beta=[]"]).success();
    case.call(&["publish", "half", "evidence"]).success();

    let taken =
        contains("2 of 6 runs taken over from evidence").and(contains("6 runs, 2 of them finished before"));
    case.study("on", &["--evidence", "evidence"]).success().stderr(taken);
    let on = case.path("on");
    assert!(RLOO.iter().all(|run| !computed(&on, run)) && DPO.iter().all(|run| computed(&on, run)));
    case.assert_same(&["frontier.csv", "reference_scores.csv"], "on", "whole");
    for run in case.manifest("on")["runs"].as_array().unwrap() {
        let name = run["name"].as_str().unwrap();
        let from = RLOO.contains(&name).then_some("evidence");
        assert_eq!(run["taken_over"]["folder"].as_str(), from, "{name}");
    }

    // Published where the half was, it is the whole.
    case.call(&["publish", "on", "evidence"]).success();
    case.assert_same(&TABLES, "evidence", "published");

    // A half that is published where the other half is joins it.
    case.call(&["publish", "half", "halves"]).success();
    case.study("rest", &["--set", "rloo.sweep.kl.kl_coef=[]"]).success();
    case.call(&["publish", "rest", "halves"])
        .success()
        .stderr(contains("2 of 6 runs stay as halves has them"));
    case.assert_same(&TABLES, "halves", "published");
    let (joined, whole) = (case.manifest("halves"), case.manifest("published"));
    assert_eq!((&joined["preset"], &joined["status"]), (&whole["preset"], &whole["status"]));

    // With another setting of what all share, nothing is what it was.
    let other = ["--evidence", "evidence", "--stages-only", "--set", "prompts.evaluate=17"];
    case.study("other", &other).success().stderr(contains("taken over").not());
    let runs = case.path("other/runs");
    assert!(!runs.exists() && did(&case.path("other"), "reward-model-s7"));
    // With another setting of one method, the others still are.
    let other = ["--evidence", "evidence", "--stages-only", "--set", "rloo.steps=3"];
    case.study("one", &other).success().stderr(contains("4 of 6 runs taken over"));
}

#[test]
fn stages_are_done_only_for_runs_that_are_left() {
    let case = Case::new();
    case.study("whole", &[]).success();
    case.call(&["publish", "whole", "published"]).success();
    case.study("all", &["--evidence", "published"]).success().stderr(contains("6 of 6 runs taken over"));
    let all = case.path("all");
    assert!(
        !["reference", "prompts", "reference-samples", "reward-model-s7"]
            .iter()
            .any(|stage| did(&all, stage))
    );
    let shown = ["frontier.csv", "reference_scores.csv", "reference_samples.jsonl"];
    case.assert_same(&shown, "all", "whole");
    assert_eq!(case.manifest("all")["flops"], case.manifest("whole")["flops"]);
    case.call(&["publish", "all", "again"]).success();
    case.assert_same(&TABLES, "again", "published");
    case.assert_same(&["metrics.csv.bz2", "reward_model_metrics.csv.bz2"], "again", "published");

    // The folder stands for itself from then on.
    fs::rename(case.path("published"), case.path("moved")).unwrap();
    case.study("all", &[]).success().stderr(contains("6 runs, 6 of them finished before"));
    case.call(&["gather", "all"]).success();
    assert_eq!(case.manifest("all")["flops"], case.manifest("whole")["flops"]);
    // A run that is damaged needs its stages after all, those of its seed.
    fs::write(all.join("runs").join(RLOO[1]).join("evals.csv"), "").unwrap();
    case.call(&["run", "all", RLOO[1]]).code(42).stderr(contains("stages not finished: reference, "));
    case.study("all", &[]).success().stderr(contains("6 runs, 5 of them finished before"));
    assert!(did(&all, "reference") && did(&all, "reward-model-s8") && !did(&all, "reward-model-s7"));
    case.assert_same(&["frontier.csv"], "all", "whole");

    case.study("nowhere", &["--evidence", "nothing"])
        .code(42)
        .stderr(contains("--evidence nothing: found no"));
    case.study("all", &["--evidence", "all"]).code(42).stderr(contains("found the output folder itself"));
}

#[test]
fn parts_of_an_unfinished_study_join_and_the_repository_s_are_found() {
    let case = Case::new();
    case.study("whole", &[]).success();
    case.call(&["publish", "whole", "published"]).success();
    // The case is the repository.
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for name in ["data/reference-lm/config.json", "data/ground-truth/ground_truth.safetensors"] {
        fs::create_dir_all(case.path(name).parent().unwrap()).unwrap();
        fs::copy(real.join(name), case.path(name)).unwrap();
    }
    let committed = "results/imdb-frontier/smoke";
    fs::create_dir_all(case.path("results/imdb-frontier")).unwrap();
    let part = |out: &str, runs: &[&str]| {
        case.study(out, &["--stages-only", "--evidence", "none"]).success();
        for run in runs {
            case.call(&["run", out, run]).success();
        }
        case.call(&["gather", out]).code(3);
        case.call(&["publish", out, committed]).success();
    };
    part("one", &[DPO[1], RLOO[0]]);
    let page = String::from_utf8(case.read(&format!("{committed}/REPORT.md"))).unwrap();
    assert!(
        page.contains("**4 run(s) did not finish**") && page.contains("status: 4 of 6 runs not finished")
    );
    part("two", &[RLOO[0], RLOO[1]]);
    let manifest = case.manifest(committed);
    assert_eq!(manifest["status"], "3 of 6 runs not finished");
    let place = |run: &str| {
        let runs = manifest["runs"].as_array().unwrap().iter();
        runs.clone().find(|record| record["name"] == run).unwrap()["taken_over"]["folder"].clone()
    };
    assert_eq!((place(DPO[1]), place(RLOO[0])), (committed.into(), serde_json::Value::Null));

    case.study("three", &[]).success().stderr(contains(format!("3 of 6 runs taken over from {committed}")));
    case.call(&["publish", "three", committed]).success();
    case.assert_same(&TABLES, committed, "published");
    // What is finished is repeated, unless it is asked for.
    case.study("four", &["--stages-only"]).success().stderr(contains(format!("{committed} has all 6 runs")));
    assert!(did(&case.path("four"), "reward-model-s8") && !case.path("four/runs").exists());
}
