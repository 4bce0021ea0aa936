//! Devices through the binary: the self-check of the device that the variable `DEVICE` names (by default the
//! CPU), a whole small study on it, and what those say that are not there.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use assert_cmd::assert::OutputAssertExt;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;

fn experiments(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
    // Mesa complains on standard error where it is not set.
    command.args(arguments).env("XDG_RUNTIME_DIR", std::env::temp_dir());
    command
}

/// Something that opens its device and does no more than print.
fn plan(device: &[&str]) -> Command {
    let mut command = experiments(&["imdb-frontier", "--preset", "quick", "--data", "synthetic", "--plan"]);
    command.args(device);
    command
}

fn opens(device: &str) -> bool {
    plan(&["--device", device]).output().unwrap().status.success()
}

fn device() -> String {
    std::env::var("DEVICE").unwrap_or_else(|_| "cpu".to_owned())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_device_computes_what_the_cpu_does() {
    let Output { status, stdout, stderr } =
        experiments(&["devices", "--device", &device(), "--format", "json"]).output().unwrap();
    assert!(status.success(), "{status}\n{}", text(&stderr));
    let report: Value = serde_json::from_slice(&stdout).unwrap();
    let found = &report["devices"][0];
    assert_eq!(found["device"], device().as_str());
    assert!(found["name"].as_str().is_some_and(|name| !name.is_empty()));
    assert!(found["rates"]["f32_teraflops"].as_f64().unwrap() > 0.0);
    let presets: Vec<&str> =
        found["presets"].as_array().unwrap().iter().filter_map(|fit| fit["preset"].as_str()).collect();
    assert!(["smoke", "quick", "full"].iter().all(|preset| presets.contains(preset)), "{presets:?}");
    let checks = found["checks"].as_array().unwrap();
    for part in [
        "linear 7",
        "linear_add",
        "layer_norm",
        "gelu",
        "causal_attention",
        "product 7",
        "product_add",
        "affine 7",
        "affine_add",
        "biased target_logprobs",
        "biased token_kl",
        "rms_norm",
        "rope",
        "swiglu",
        "target_logprobs",
        "embedding",
        "decode_attention",
        "token_kl",
        "adamw",
        "rmsprop",
        "sum_of_squares",
        "sample 1000",
        "generate",
        "KL of a policy from itself",
        "score",
        "gradient of DPO",
        "gradient of PPO",
        "SFT",
        "training: DPO",
        "training: PPO",
        "reward model",
    ] {
        assert!(checks.iter().any(|check| check["name"].as_str().unwrap().contains(part)), "no {part}");
    }
    for check in checks {
        let measures = check["measures"].as_array().unwrap();
        assert!(check["passed"] == true && !measures.is_empty(), "{check}");
        assert!(measures.iter().all(|m| m["error"].as_f64() <= m["tolerance"].as_f64()), "{check}");
    }
}

/// Frontiers of the preset `smoke`, one file per device; `results/devices/README.md` says where they were
/// made.
fn committed_frontiers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/devices/smoke")
}

/// A mean over prompts and its standard error.
#[derive(Clone, Copy)]
struct Estimate {
    mean: f64,
    se: f64,
}

/// A row of a `frontier.csv`: the run without its seed and the step, and mean reward and KL.
struct Checkpoint {
    name: String,
    seed: u64,
    estimates: [Estimate; 2],
}

fn checkpoints(path: &Path) -> Vec<Checkpoint> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let names = reader.headers().unwrap().clone();
    let column = |name: &str| names.iter().position(|other| other == name).unwrap();
    let [run, seed, step] = ["run", "seed", "step"].map(column);
    let estimates = [("score", "score_se"), ("sequence_kl", "sequence_kl_se")]
        .map(|(mean, se)| [column(mean), column(se)]);
    let rows = reader.records().map(Result::unwrap);
    rows.map(|row| {
        let number = |column: usize| row[column].parse::<f64>().unwrap();
        let (run, _) = row[run].rsplit_once("-s").unwrap();
        Checkpoint {
            name: format!("{run} at step {}", &row[step]),
            seed: row[seed].parse().unwrap(),
            estimates: estimates.map(|[mean, se]| Estimate { mean: number(mean), se: number(se) }),
        }
    })
    .collect()
}

/// Every checkpoint's reward and KL lie where the CPU's put them: the two differ by at most 3.4 of the
/// standard errors that their difference would have, were they independent (of the 68 comparisons none is
/// beyond that in 95 of 100 pairs of studies, by Bonferroni). It holds the noise of prompts, and that of
/// training, which is how far five seeds of the CPU are apart: rounding leads to another token and from
/// there to another training.
fn agrees_with_the_cpu(path: &Path) {
    let cpu = checkpoints(&committed_frontiers().join("cpu.csv"));
    let found = checkpoints(path);
    assert_eq!(found.len(), cpu.iter().filter(|checkpoint| checkpoint.seed == 1).count());
    for Checkpoint { name, seed, estimates } in &found {
        let seeds: Vec<&Checkpoint> = cpu.iter().filter(|other| other.name == *name).collect();
        let twin = seeds.iter().find(|other| other.seed == *seed).unwrap();
        assert_eq!(seeds.len(), 5, "{name}");
        for (what, at) in [("reward", 0), ("KL", 1)] {
            let mean = seeds.iter().map(|other| other.estimates[at].mean).sum::<f64>() / 5.0;
            let squares = seeds.iter().map(|other| (other.estimates[at].mean - mean).powi(2));
            let of_training = squares.sum::<f64>() / 4.0;
            let (ours, theirs) = (estimates[at], twin.estimates[at]);
            let bound = 3.4 * (ours.se.powi(2) + theirs.se.powi(2) + 2.0 * of_training).sqrt();
            let difference = (ours.mean - theirs.mean).abs();
            assert!(difference <= bound, "{name}: {what} {} and {}, bound {bound}", ours.mean, theirs.mean);
        }
    }
    // A policy that had not learned would be at a distance of 0.
    let far = |rows: &[Checkpoint]| rows.iter().filter(|row| row.estimates[1].mean > 0.4).count();
    assert!(far(&found) > 0 && far(&cpu) > 4);
}

#[test]
fn the_frontier_of_smoke_is_that_of_another_machines_cpu_within_the_intervals() {
    let out = tempfile::tempdir().unwrap();
    let mut command = experiments(&["imdb-frontier", "--preset", "smoke", "--device", &device(), "--out"]);
    command.arg(out.path()).assert().success();
    agrees_with_the_cpu(&out.path().join("frontier.csv"));
}

#[test]
fn the_committed_frontiers_of_two_devices_agree_within_the_intervals() {
    for other in ["wgpu.csv", "tch.csv"] {
        agrees_with_the_cpu(&committed_frontiers().join(other));
    }
}

#[test]
fn a_part_of_the_checks_can_be_asked_for() {
    experiments(&["devices", "--device", "cpu", "--only", "gelu"])
        .assert()
        .success()
        .stdout(contains("PASS gelu 1000 x 33").and(contains("PASS linear").not()));
    experiments(&["devices", "--device", "cpu", "--only", "no such check"])
        .assert()
        .code(1)
        .stderr(contains("--only no such check: no check has that in its name"));
}

#[test]
fn names_that_are_no_device_are_usage_errors() {
    for name in ["gpu", "cuda:x", "cpu:0", "tch:1"] {
        plan(&["--device", name]).assert().code(2).stderr(contains(format!(
            "found `{name}`, expected auto, cpu, wgpu[:i], cuda[:i] or tch[:cpu|cuda:i]"
        )));
    }
    plan(&["--precision", "f16"]).assert().code(2).stderr(contains("found `f16`, expected f32 or bf16"));
}

#[test]
fn a_device_that_does_not_open_is_one_line_before_any_work() {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().join("study");
    for device in ["wgpu:4242", "cuda:4242", "tch:cuda:4242"] {
        let output = experiments(&["imdb-frontier", "--preset", "smoke", "--device", device, "--out"])
            .arg(&folder)
            .output()
            .unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(42), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        let (name, _) = device.split_once(':').unwrap();
        let not_built = format!("device `{name}` is not part of this build; build it with `");
        let not_there = format!("device `{device}`: found ");
        assert!(stderr.contains(&not_built) || stderr.contains(&not_there), "{stderr}");
        if stderr.contains(&not_built) {
            assert!(
                stderr.contains(&format!("cargo run -p experiments --features {name} -- ...`")),
                "{stderr}"
            );
        }
        assert!(!folder.exists());
    }
}

/// Hides the drivers of graphics cards, if this build looks for them.
#[test]
fn a_gpu_without_a_driver_is_one_line() {
    let output = plan(&["--device", "wgpu"])
        .env("VK_DRIVER_FILES", "/nonexistent")
        .env("__EGL_VENDOR_LIBRARY_DIRS", "/nonexistent")
        .output()
        .unwrap();
    let stderr = text(&output.stderr);
    // Metal and DirectX need no file that could be hidden.
    if cfg!(target_os = "linux") {
        assert_eq!(output.status.code(), Some(42), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains("not part of this build") || stderr.contains("found no adapter"), "{stderr}");
    }
}

#[test]
fn the_cpu_has_no_bf16() {
    plan(&["--device", "cpu", "--precision", "bf16"])
        .assert()
        .code(42)
        .stderr(contains("does not multiply in bf16, expected --precision f32, or an NVIDIA GPU"));
}

#[test]
fn auto_takes_what_works_and_says_so_where_there_is_a_choice() {
    let output = plan(&[]).output().unwrap();
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    // What was not built says so to anybody who names it.
    let built = |name: &str| {
        !text(&plan(&["--device", name]).output().unwrap().stderr).contains("not part of this build")
    };
    let gpus: Vec<&str> = ["cuda", "wgpu"].into_iter().filter(|name| built(name)).collect();
    let said: Vec<&str> = stderr.lines().filter(|line| line.contains("device ")).collect();
    if gpus.is_empty() {
        assert!(said.is_empty(), "{stderr}");
        return;
    }
    assert_eq!(said.len(), 1, "{stderr}");
    let taken = gpus.into_iter().find(|name| said[0].contains(&format!("device {name}: ")));
    assert!(said[0].contains("device cpu: ") || taken.is_some_and(opens), "{stderr}");
}

#[test]
fn a_folder_keeps_to_one_precision() {
    let out = tempfile::tempdir().unwrap();
    let run = |change: fn(&mut Value)| {
        let mut command = experiments(&["imdb-frontier", "--preset", "smoke", "--device", "cpu", "--out"]);
        command.arg(out.path());
        for value in SMALLEST {
            command.args(["--set", value]);
        }
        let assert = command.assert();
        let path = out.path().join("manifest.json");
        let mut manifest: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        change(&mut manifest);
        std::fs::write(&path, manifest.to_string()).unwrap();
        assert
    };
    run(|manifest| manifest["precision"] = "bf16".into()).success();
    run(|manifest| manifest["precision"] = "f32".into())
        .code(42)
        .stderr(contains("holds results of another configuration"))
        .stderr(contains("--precision (there bf16, here f32)"));
    run(|_| ()).success();
}

/// The smoke preset with one run of one step.
const SMALLEST: [&str; 12] = [
    "reference.train.sft.steps=2",
    "prompts.train=8",
    "prompts.evaluate=8",
    "dpo.sweep.beta=[0.1]",
    "dpo.steps=1",
    "dpo.evaluate_every=1",
    "reward_model.steps=1",
    "unlikelihood.sweep.loss.alpha=[]",
    "preferred-ft.sweep.optimizer.learning_rate=[]",
    "ppo.sweep.kl.target_kl=[]",
    "ppo-gt.sweep.kl.target_kl=[]",
    "seeds=[1]",
];

#[test]
fn the_manifest_names_the_device() {
    let out = tempfile::tempdir().unwrap();
    let mut command = experiments(&["imdb-frontier", "--preset", "smoke", "--device", &device(), "--out"]);
    command.arg(out.path());
    for value in SMALLEST {
        command.args(["--set", value]);
    }
    command.assert().success();
    let manifest = std::fs::read_to_string(out.path().join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&manifest).unwrap();
    assert_eq!(manifest["device"], device().as_str());
    assert_eq!(manifest["precision"], "f32");
    for key in ["adapter", "driver"] {
        assert!(manifest[key].as_str().is_some_and(|text| !text.is_empty()), "{key}");
    }
    assert_eq!(manifest["status"], "done");
}
