//! Trainings of adapters, and what reads their folders.

use assert_cmd::assert::OutputAssertExt;
use lm::DeviceSpec;
use lm::files::{load_policy, load_scalar_model};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::{Value, json};

use crate::case::{Case, LENGTH};

const EVERYWHERE: [&str; 4] = ["--lora-rank", "4", "--lora-targets", "all-linear"];

/// The lines that a command writes to standard output.
fn lines(case: &Case, arguments: &[&str]) -> Vec<Value> {
    let output = case.command(arguments).args(["--device", "cpu"]).assert().success();
    let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_dpo_training_of_adapters_that_was_killed_ends_as_one_that_was_not() {
    let case = Case::new();
    case.pairs();
    case.prompts();
    let steps =
        ["--steps", "150", "--eval-steps", "50", "--save-steps", "7", "--set", "evaluation.prompts=4"];
    let more = [&EVERYWHERE[..], &["--lora-alpha", "16"], &steps].concat();
    case.dpo("whole", &more).assert().success();
    case.killed("killed", || case.dpo("killed", &more));
    case.same_results("whole", "killed");
    let (accuracies, kl) = (
        case.column("whole/evals.csv", "eval_rewards/accuracies"),
        case.column("whole/evals.csv", "eval_objective/kl"),
    );
    let losses = case.column("whole/evals.csv", "eval_loss");
    assert!(
        (losses[0] - std::f64::consts::LN_2).abs() < 1e-6 && kl[0].abs() < 1e-6,
        "the start is the reference"
    );
    assert!(accuracies[3] > 0.9 && losses[3] < 0.65 && kl[3] > 0.0, "{accuracies:?} {losses:?} {kl:?}");
    // What is left is the adapter, which names its base and says how it was made.
    assert!(!case.path("whole/model.safetensors").exists() && !case.path("whole/config.json").exists());
    let config: Value = serde_json::from_str(&case.text("whole/adapter_config.json")).unwrap();
    assert_eq!(
        [&config["peft_type"], &config["task_type"], &config["base_model_name_or_path"]],
        ["LORA", "CAUSAL_LM", "model"]
    );
    assert_eq!(
        (&config["r"], &config["lora_alpha"], &config["fan_in_fan_out"]),
        (&json!(4), &json!(16), &json!(true))
    );
    assert_eq!(config["target_modules"], json!(["c_attn", "c_proj", "c_fc"]));
    let written: toml::Table = case.text("whole/config.toml").parse().unwrap();
    assert_eq!(
        written["lora"]["targets"].as_array().unwrap().len(),
        3,
        "the layers stand in the configuration"
    );
    let card = case.text("whole/README.md");
    for words in
        ["library_name: peft", "rank 4, alpha 16, layers c_attn", "from peft import AutoPeftModelForCausalLM"]
    {
        assert!(card.contains(words), "{words}: {card}");
    }
    // It generates as what is merged of it does.
    case.command(&["merge", "--model", "whole", "--out", "merged"]).assert().success();
    assert!(case.path("merged/generation_config.json").exists());
    let generate = |model: &str| {
        lines(&case, &["generate", "--model", model, "--prompts", "prompts.jsonl", "--max-new-tokens", "6"])
    };
    assert_eq!(generate("whole"), generate("merged"));
    assert_ne!(generate("whole"), generate("model"));
    let arguments = ["evaluate", "--model", "whole", "--reference", "model", "--prompts", "prompts.jsonl"];
    let more = ["--scorer-command", LENGTH, "--max-new-tokens", "6", "--format", "json"];
    let output = case.command(&arguments).args(more).args(["--device", "cpu"]).assert().success();
    let found: Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert!(found["sequence_kl"]["mean"].as_f64().unwrap() > 1e-3, "{found}");
}

#[test]
fn a_ppo_training_of_adapters_that_was_killed_ends_as_one_that_was_not() {
    let case = Case::new();
    case.prompts();
    let steps = ["--steps", "18", "--eval-steps", "6", "--save-steps", "2", "--learning-rate", "1e-2"];
    let more = [&EVERYWHERE[..], &steps].concat();
    case.ppo("whole", &more).assert().success();
    case.killed("killed", || case.ppo("killed", &more));
    case.same_results("whole", "killed");
    let kl = case.column("whole/evals.csv", "eval_objective/kl");
    assert!(kl[0].abs() < 1e-6 && kl[3] > 0.0, "{kl:?}");
}

#[test]
fn a_reward_model_of_adapters_keeps_its_head_and_scores() {
    let case = Case::new();
    case.pairs();
    case.prompts();
    let train =
        ["reward-model", "--model", "model", "--pairs", "pairs.jsonl", "--out", "reward", "--steps", "60"];
    let more = [&EVERYWHERE[..], &["--learning-rate", "1e-2", "--device", "cpu"]].concat();
    case.command(&train).args(more).assert().success();
    let accuracy = case.column("reward/evals.csv", "eval_accuracy");
    assert!(*accuracy.last().unwrap() > 0.9, "{accuracy:?}");
    let config: Value = serde_json::from_str(&case.text("reward/adapter_config.json")).unwrap();
    assert_eq!(
        (&config["task_type"], &config["modules_to_save"]),
        (&json!("SEQ_CLS"), &json!(["classifier", "score"]))
    );
    assert!(case.text("reward/README.md").contains("num_labels=1"));
    let pair = |response: &str| json!({ "prompt": "the house 3 was ", "response": response });
    case.write("responses.jsonl", &[pair("warm warm "), pair("cold ")]);
    let score = |model: &str| -> Vec<f64> {
        let found = lines(&case, &["score", "--responses", "responses.jsonl", "--reward-model", model]);
        found.iter().map(|line| line["score"].as_f64().unwrap()).collect()
    };
    let scores = score("reward");
    assert!(scores[0] > scores[1], "{scores:?}");
    case.command(&["merge", "--model", "reward", "--out", "merged"]).assert().success();
    load_scalar_model(&case.path("merged"), &DeviceSpec::CPU.open().unwrap()).unwrap();
    assert_eq!(score("merged"), scores, "and in the same unit");
    for (algorithm, batch) in [("rloo", "16"), ("online-dpo", "4")] {
        let arguments = ["ppo", "--model", "model", "--prompts", "prompts.jsonl", "--out", algorithm];
        let more =
            ["--algorithm", algorithm, "--steps", "2", "--batch-size", batch, "--reward-model", "reward"];
        let small = ["--set", "standardize_on=0", "--max-new-tokens", "6", "--device", "cpu"];
        case.command(&arguments).args(more).args(small).args(EVERYWHERE).assert().success();
        assert!(case.path(&format!("{algorithm}/adapter_model.safetensors")).exists());
    }
}

#[test]
fn supervised_training_of_adapters_starts_further_trainings_once_merged() {
    let case = Case::new();
    case.pairs();
    let text =
        |i: usize| json!({ "text": format!("the old house {} was warm and the cold rain fell", i % 7) });
    case.write("texts.jsonl", &(0..40).map(text).collect::<Vec<_>>());
    let arguments = ["sft", "--model", "model", "--data", "texts.jsonl", "--out", "sft", "--device", "cpu"];
    // The layers that PEFT takes for the family.
    let more = ["--learning-rate", "3e-2", "--steps", "60", "--eval-fraction", "0.3", "--lora-rank", "8"];
    case.command(&arguments).args(more).assert().success();
    let perplexity = case.column("sft/evals.csv", "eval_perplexity");
    assert!(perplexity.last().unwrap() * 1.2 < perplexity[0], "{perplexity:?}");
    let config: Value = serde_json::from_str(&case.text("sft/adapter_config.json")).unwrap();
    assert_eq!(config["target_modules"], json!(["c_attn"]));
    let dpo = |model: &str, out: &str, more: &[&str]| {
        let mut command = case.command(&["dpo", "--model", model, "--pairs", "pairs.jsonl", "--out", out]);
        command.args(["--steps", "2", "--device", "cpu"]).args(more);
        command
    };
    dpo("sft", "again", &["--lora-rank", "2"])
        .assert()
        .code(42)
        .stderr(contains("model: found an adapter").and(contains("experiments merge")));
    // All weights may go on from an adapter: it is merged as it is read.
    dpo("sft", "full", &[]).assert().success();
    load_policy(&case.path("full"), 1.0, &DeviceSpec::CPU.open().unwrap()).unwrap();
    case.command(&["merge", "--model", "sft", "--out", "merged"]).assert().success();
    dpo("merged", "again", &["--lora-rank", "2"]).assert().success();
}

#[test]
fn adapters_that_cannot_be_are_refused_before_any_work() {
    let case = Case::new();
    case.pairs();
    case.prompts();
    let refuse = |more: &[&str], message: &str| {
        case.dpo("out", more).assert().code(42).stderr(contains(message));
        assert!(!case.path("out").exists());
    };
    let layers = "lora.targets: found q_proj, expected names of layers: c_attn, c_fc, c_proj";
    refuse(&["--lora-rank", "4", "--lora-targets", "c_attn,q_proj"], layers);
    refuse(&["--lora-rank", "4", "--lora-alpha", "0"], "lora.alpha: found 0, expected a positive number");
    refuse(&["--set", "lora.dropout=0.1"], "lora.dropout");
    case.dpo("out", &["--lora-rank", "2", "--steps", "1"]).assert().success();
    case.dpo("out", &["--lora-rank", "3", "--steps", "1"]).assert().code(42).stderr(contains("lora.rank"));
    // The base that the adapter names has to be there, or another be given.
    std::fs::rename(case.path("model"), case.path("moved")).unwrap();
    let arguments = ["generate", "--model", "out", "--prompts", "prompts.jsonl", "--max-new-tokens", "4"];
    case.command(&arguments)
        .assert()
        .code(42)
        .stderr(contains("base_model_name_or_path = `model`").and(contains("adapter_config.json")));
    assert_eq!(lines(&case, &[&arguments[..], &["--base-model", "moved"]].concat()).len(), 24);
    let whole = ["generate", "--model", "moved", "--prompts", "prompts.jsonl", "--base-model", "moved"];
    case.command(&whole).assert().code(42).stderr(contains("found no adapter"));
    case.command(&["merge", "--model", "moved", "--out", "merged"])
        .assert()
        .code(42)
        .stderr(contains("no adapter"));
}
