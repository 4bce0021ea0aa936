//! The presets with pretrained models and their small forms, through the binary: they are planned anywhere,
//! what does not fit is refused, and the small forms run by the code of the large ones.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::assert::OutputAssertExt;
use predicates::str::contains;
use serde_json::Value;

fn frontier(preset: &str, overrides: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
    command.args(["imdb-frontier", "--device", "cpu", "--data", "synthetic", "--preset", preset]);
    command.args(overrides.iter().flat_map(|entry| ["--set", entry]));
    command
}

/// The memory of each stage and run of a plan in GiB, by name.
fn memory(preset: &str) -> BTreeMap<String, f64> {
    let assert = frontier(preset, &[]).arg("--plan").assert().success();
    let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
    assert!(text.contains("\nmemory: up to "), "{text}");
    let of_line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [name, .., gib, "GiB"] = words[..] else { return None };
        Some((name.to_owned(), gib.parse().ok()?))
    };
    text.lines().filter(|line| line.starts_with("  ")).filter_map(of_line).collect()
}

/// None of their models is in the repository.
#[test]
fn presets_with_pretrained_models_are_planned_without_them() {
    let smollm2 = memory("smollm2");
    // 134.5 M parameters are 0.501 GiB. DPO holds policy, reference, reward model and RMSprop's moments, and
    // in its update gradients and new weights.
    let dpo = smollm2["dpo-beta1.05-s1"];
    assert!((6.0 * 0.501..12.0 * 0.501).contains(&dpo), "{dpo}");
    // PPO has a value model more, and Adam's two moments.
    assert!(smollm2["ppo-target-kl0.95-s1"] > dpo + 4.0 * 0.501);
    assert!(smollm2.contains_key("truth") && !smollm2.contains_key("second-opinion"));
    let paper = memory("paper");
    // 774 M parameters, 2.884 GiB.
    assert!(paper["dpo-beta0.05-s1"] > 6.0 * 2.884 && paper["ppo-target-kl12-s1"] > 10.0 * 2.884);
    for tiny in ["smollm2-tiny", "paper-tiny"] {
        assert!(memory(tiny).values().all(|gib| *gib < 1.0), "{tiny}");
    }
}

#[test]
fn the_small_forms_have_the_methods_of_the_large_ones() {
    let curves = |preset: &str| {
        let names = memory(preset);
        let names = names.keys().filter_map(|run| Some(run.strip_suffix("-s1")?.rsplit_once('-')?.0));
        let known = [
            "dpo",
            "ppo-gt",
            "ppo",
            "online-dpo-gt",
            "online-dpo",
            "rloo-gt",
            "rloo",
            "unlikelihood",
            "preferred-ft",
        ];
        let mut found: Vec<&str> = names
            .filter_map(|run| {
                known.into_iter().filter(|name| run.starts_with(name)).max_by_key(|name| name.len())
            })
            .collect();
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    assert_eq!(curves("smollm2"), curves("smollm2-tiny"));
    assert_eq!(curves("paper"), curves("paper-tiny"));
    assert_eq!(curves("paper").len(), 5);
}

#[test]
fn what_does_not_fit_is_refused_before_it_starts() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = frontier("smoke", &["dpo.batch_prompts=100000000"]);
    command
        .arg("--out")
        .arg(dir.path())
        .assert()
        .code(42)
        .stderr(contains("run dpo-beta0.1-s1 does not fit on "))
        .stderr(contains("lower dpo.batch_prompts, now 100000000, or take a smaller model"));
    assert!(!dir.path().join("cache/reference").exists());
}

#[test]
fn a_missing_folder_is_named() {
    let missing = "reference.fine_tune.folder=\"nowhere/smollm2\"";
    let dir = tempfile::tempdir().unwrap();
    let mut command = frontier("smollm2", &[missing]);
    command.arg("--out").arg(dir.path()).assert().code(42).stderr(contains("nowhere/smollm2"));
}

/// Everything of the small form at its least: a Llama and a BERT of drawn weights, both
/// trained, r* the encoder.
const LEAST: [&str; 25] = [
    "reference.fine_tune.sft.steps=20",
    "truth.training.training.steps=60",
    "truth.training.evaluate_every=5",
    "truth.training.held_out=200",
    "truth.training.held_out_on_the_way=50",
    "prompts.train=40",
    "prompts.tune=8",
    "prompts.evaluate=16",
    "evaluation.responses_per_prompt=2",
    "evaluation.reference_samples=8",
    "reward_model.steps=4",
    "reward_model.evaluate_every=2",
    "dpo.steps=4",
    "dpo.evaluate_every=2",
    "dpo.sweep.beta=[1.0]",
    "ppo.steps=4",
    "ppo.sweep.kl.target_kl=[]",
    "ppo.sweep.kl.kl_coef=[]",
    "ppo-gt.steps=4",
    "ppo-gt.evaluate_every=2",
    "ppo-gt.sweep.kl.target_kl=[0.2]",
    "online-dpo.sweep.beta=[]",
    "online-dpo-gt.sweep.beta=[]",
    "rloo.sweep.kl.target_kl=[]",
    "rloo-gt.sweep.kl.target_kl=[]",
];

fn manifest(out: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(out.join("manifest.json")).unwrap()).unwrap()
}

#[test]
fn a_study_with_an_encoder_as_the_ground_truth_runs_to_its_report() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let study = || {
        let mut command = frontier("smollm2-tiny", &LEAST);
        command.args(["--set", "unlikelihood.sweep.loss.alpha=[]", "--set"]);
        command.arg("preferred-ft.sweep.optimizer.learning_rate=[]").arg("--out").arg(&out);
        command
    };
    // Stopped in the middle of the encoder's training, the same command goes on.
    let mut stopped = study().stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (checkpoint, started) = (out.join("cache/truth-training/state.safetensors"), Instant::now());
    while !checkpoint.exists() {
        assert!(started.elapsed() < Duration::from_mins(3), "no checkpoint");
        assert!(stopped.try_wait().unwrap().is_none(), "it ended before a checkpoint");
        std::thread::sleep(Duration::from_millis(1));
    }
    stopped.kill().unwrap();
    stopped.wait().unwrap();
    study().assert().success().stderr(contains("classifier: goes on from step "));
    let manifest = manifest(&out);
    let stage =
        |name: &str| manifest["stages"].as_array().unwrap().iter().find(|stage| stage["name"] == name);
    let accuracy = &stage("truth").unwrap()["notes"]["accuracy"];
    assert_eq!(accuracy["reviews"], 200);
    let [low, share, high] = ["low", "share", "high"].map(|key| accuracy[key].as_f64().unwrap());
    assert!(0.0 <= low && low <= share && share <= high && high <= 1.0);
    let report = std::fs::read_to_string(out.join("REPORT.md")).unwrap();
    let line = format!("it is right on {:.1}% (95% interval {:.1}% to", 100.0 * share, 100.0 * low);
    assert!(report.contains(&line), "{line}");
    // The encoder's folder is one that others load; what its training kept for the case of a stop is gone.
    let config = std::fs::read_to_string(out.join("cache/truth/config.json")).unwrap();
    assert!(config.contains("BertForSequenceClassification"), "{config}");
    assert!(!out.join("cache/truth-training").exists());
    // Nothing is done again.
    study().assert().success().stderr(contains("truth: reused"));
}
