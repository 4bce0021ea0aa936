//! `--plan`: steps and memory of a training, and the refusal of one that would not fit.

use assert_cmd::assert::OutputAssertExt;
use predicates::str::contains;

use crate::case::Case;

#[test]
fn a_plan_says_steps_and_memory_and_begins_nothing() {
    let case = Case::new();
    case.pairs();
    case.prompts();
    let plan = ["--plan", "--steps", "30", "--eval-steps", "10"];
    case.dpo("out", &plan)
        .assert()
        .success()
        .stdout(contains("DPO: 30 steps, an evaluation every 10"))
        .stdout(contains("40 of `pairs.jsonl`"))
        .stdout(contains("dpo.batch_prompts"))
        .stdout(contains("memory: up to 0.1 GiB of "));
    case.ppo("out", &plan).assert().success().stdout(contains("PPO: 30 steps")).stdout(contains("memory: "));
    assert!(!case.path("out").exists());
    // Adapters are what trains alone.
    let adapter = [&plan[..], &["--lora-rank", "2"]].concat();
    let trained = |more: &[&str]| {
        let assert = case.dpo("out", more).assert().success();
        let text = String::from_utf8(assert.get_output().stdout.clone()).unwrap();
        let line = text.lines().find(|line| line.starts_with("model: ")).unwrap().to_owned();
        line.split_whitespace().nth(4).unwrap().parse::<f64>().unwrap()
    };
    assert!(trained(&adapter) < trained(&plan));
}

#[test]
fn a_plan_counts_activations_that_are_computed_again() {
    let case = Case::new();
    case.pairs();
    let gib = |more: &[&str]| {
        let assert =
            case.dpo("out", &[&["--plan", "--batch-size", "1000000"], more].concat()).assert().code(42);
        let text = String::from_utf8(assert.get_output().stderr.clone()).unwrap();
        let (_, amount) = text.split_once("a run takes up to ").unwrap();
        amount.split(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let (kept, recomputed) = (gib(&[]), gib(&["--gradient-checkpointing"]));
    assert!(recomputed < 0.8 * kept, "{recomputed} is not far below {kept}");
}

#[test]
fn a_training_that_would_not_fit_is_refused_before_it_starts() {
    let case = Case::new();
    case.pairs();
    case.dpo("out", &["--steps", "3", "--batch-size", "1000000000"])
        .assert()
        .code(42)
        .stderr(contains("dpo does not fit on "))
        .stderr(contains("lower dpo.batch_prompts, now 1000000000"));
    assert!(!case.path("out").exists());
}
