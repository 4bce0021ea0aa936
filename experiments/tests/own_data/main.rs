//! The commands on a user's own model and data, on a tiny random GPT-2.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod case;
mod lora;
mod plan;

use std::process::Command;

use assert_cmd::assert::OutputAssertExt;
use case::{Case, LENGTH};
use lm::DeviceSpec;
use lm::files::{load_policy, load_scalar_model};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::{Value, json};

#[test]
fn a_dpo_training_that_was_killed_ends_as_one_that_was_not() {
    let case = Case::new();
    case.pairs();
    let more = ["--steps", "150", "--eval-steps", "40", "--save-steps", "7", "--set", "evaluation.prompts=4"];
    case.dpo("whole", &more).assert().success().stdout(contains("rewards/accuracies"));
    case.killed("killed", || case.dpo("killed", &more));
    case.same_results("whole", "killed");
    assert_eq!(case.column("whole/evals.csv", "step"), [0.0, 40.0, 80.0, 120.0, 150.0]);
    // It has learned what it was taught, on pairs that it was not taught with.
    let accuracies = case.column("whole/evals.csv", "eval_rewards/accuracies");
    let losses = case.column("whole/evals.csv", "eval_loss");
    assert!((losses[0] - std::f64::consts::LN_2).abs() < 1e-6, "the start is the reference");
    assert!(accuracies[4] > 0.9 && losses[4] < 0.6, "{accuracies:?} {losses:?}");
    // The folder is a model that says how it was made, and nothing is left of the way there.
    load_policy(&case.path("whole"), 1.0, &DeviceSpec::CPU.open().unwrap()).unwrap();
    let card = case.text("whole/README.md");
    for words in
        ["# `model` after DPO", "arXiv 2305.18290", "40 of `pairs.jsonl`", "experiments dpo --model model"]
    {
        assert!(card.contains(words), "{words}: {card}");
    }
    assert!(!case.path("whole/training/state.safetensors").exists());
    let model = case.bytes("whole/model.safetensors");
    case.dpo("whole", &more).assert().success().stderr(contains("finished before"));
    assert!(case.bytes("whole/model.safetensors") == model);
}

#[test]
fn a_ppo_training_that_was_killed_ends_as_one_that_was_not() {
    let case = Case::new();
    case.prompts();
    let more = [
        "--steps",
        "24",
        "--eval-steps",
        "8",
        "--save-steps",
        "3",
        "--target-kl",
        "2",
        "--learning-rate",
        "1e-3",
    ];
    case.ppo("whole", &more).assert().success().stdout(contains("objective/scores"));
    case.killed("killed", || case.ppo("killed", &more));
    case.same_results("whole", "killed");
    let kl = case.column("whole/evals.csv", "eval_objective/kl");
    assert!(kl[0].abs() < 1e-6 && kl[3] > 0.0, "{kl:?}");
    let sample: Value =
        serde_json::from_str(case.text("whole/samples.jsonl").lines().next().unwrap()).unwrap();
    assert!(sample["step"] == 0 && sample["score"].is_number() && sample["prompt"].is_string(), "{sample}");
}

#[test]
fn every_algorithm_learns_from_a_program_or_a_reward_model() {
    let case = Case::new();
    case.prompts();
    case.pairs();
    let train = ["--model", "model", "--pairs", "pairs.jsonl", "--out", "reward", "--steps", "40"];
    case.command(&[&["reward-model"], &train[..], &["--learning-rate", "3e-3", "--device", "cpu"]].concat())
        .assert()
        .success()
        .stdout(contains("accuracy"));
    load_scalar_model(&case.path("reward"), &DeviceSpec::CPU.open().unwrap()).unwrap();
    let accuracy = case.column("reward/evals.csv", "eval_accuracy");
    assert!(*accuracy.last().unwrap() > 0.9, "{accuracy:?}");
    // What is kept is the best on held-out pairs, and the card speaks of that one.
    let losses = case.column("reward/evals.csv", "eval_loss");
    let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
    let row = format!("| loss | {:.4} | {best:.4} |", losses[0]);
    assert!(case.text("reward/README.md").contains(&row), "{row}");
    for algorithm in ["rloo", "online-dpo"] {
        let batch = if algorithm == "rloo" { "16" } else { "4" };
        let more = ["--algorithm", algorithm, "--steps", "2", "--batch-size", batch];
        let mut command = case.command(&["ppo", "--model", "model", "--prompts", "prompts.jsonl"]);
        command.args(["--out", algorithm, "--reward-model", "reward", "--device", "cpu"]);
        command.args(["--set", "standardize_on=0", "--max-new-tokens", "6"]).args(more).assert().success();
        assert_eq!(case.column(&format!("{algorithm}/evals.csv"), "step"), [0.0, 1.0, 2.0]);
    }
    // Chosen responses score higher, and those of a model in its own unit.
    let pair = |response: &str| json!({ "prompt": "the house 3 was ", "response": response });
    case.write("responses.jsonl", &[pair("warm warm "), pair("cold ")]);
    let arguments =
        ["score", "--responses", "responses.jsonl", "--reward-model", "reward", "--device", "cpu"];
    let output = case.command(&arguments).assert().success().get_output().stdout.clone();
    let scores: Vec<f64> = String::from_utf8(output)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["score"].as_f64().unwrap())
        .collect();
    assert!(scores.len() == 2 && scores[0] > scores[1], "{scores:?}");
}

#[test]
fn supervised_training_lowers_the_perplexity_of_held_out_texts() {
    let case = Case::new();
    let text =
        |i: usize| json!({ "text": format!("the old house {} was warm and the cold rain fell", i % 7) });
    case.write(
        "texts.jsonl",
        &(0..60).map(text).chain([json!({ "text": "unlike all others" })]).collect::<Vec<_>>(),
    );
    let arguments = ["sft", "--model", "model", "--data", "texts.jsonl", "--out", "out", "--device", "cpu"];
    let more = ["--learning-rate", "3e-3", "--epochs", "20", "--eval-fraction", "0.3"];
    case.command(&[&arguments[..], &more].concat()).assert().success().stdout(contains("perplexity"));
    let perplexity = case.column("out/evals.csv", "eval_perplexity");
    assert!(perplexity.last().unwrap() * 2.0 < perplexity[0], "{perplexity:?}");
    // 8 texts that differ, of which 2 are held out; 20 passes over what is left of them.
    let config: toml::Table = case.text("out/config.toml").parse().unwrap();
    assert!(config["sft"]["steps"].as_integer().unwrap() > 20, "{config}");
}

/// Four batches of two make the step of one of eight, up to rounding.
#[test]
fn gradients_are_accumulated_over_batches() {
    let case = Case::new();
    case.pairs();
    let text =
        |i: usize| json!({ "prompt": "the house ", "completion": "was warm ".repeat(1 + i % 4) + "and old" });
    case.write("texts.jsonl", &(0..20).map(text).collect::<Vec<_>>());
    for (command, data, file, column) in [
        ("dpo", "--pairs", "pairs.jsonl", "eval_rewards/margins"),
        ("reward-model", "--pairs", "pairs.jsonl", "eval_margin"),
        ("sft", "--data", "texts.jsonl", "eval_loss"),
    ] {
        let train = |size: &str, batches: &str| -> Vec<f64> {
            let out = format!("{command}-{size}");
            let arguments = [command, "--model", "model", data, file, "--out", &out, "--batch-size", size];
            let more = ["--gradient-accumulation-steps", batches, "--learning-rate", "1e-3", "--epochs", "2"];
            case.command(&arguments).args(more).args(["--device", "cpu"]).assert().success();
            case.column(&format!("{out}/evals.csv"), column)
        };
        let (whole, parts) = (train("8", "1"), train("2", "4"));
        assert!((whole[0] - whole[whole.len() - 1]).abs() > 1e-3, "{command}: {whole:?}");
        assert_eq!(whole.len(), parts.len(), "{command}: passes count steps, not batches");
        for (whole, parts) in whole.iter().zip(&parts) {
            assert!((whole - parts).abs() < 1e-4, "{command}: {whole} is not {parts}");
        }
    }
    let none = case.dpo("out", &["--gradient-accumulation-steps", "0"]).assert().code(42);
    none.stderr(contains("gradient_accumulation_steps: found 0, expected at least 1"));
}

/// Every training that computes its activations again makes the files of one that keeps them, and goes on
/// from there.
#[test]
fn activations_that_are_computed_again_change_nothing() {
    let case = Case::new();
    case.pairs();
    case.prompts();
    let text = |i: usize| json!({ "prompt": "the house ", "completion": "was warm ".repeat(1 + i % 4) });
    case.write("texts.jsonl", &(0..20).map(text).collect::<Vec<_>>());
    let flag = "--gradient-checkpointing";
    let of_pairs = ["--pairs", "pairs.jsonl", "--steps", "3"];
    let of_prompts = ["--prompts", "prompts.jsonl", "--reward-model", "reward-model", "--steps", "2"];
    for (name, arguments) in [
        ("reward-model", [&["reward-model"], &of_pairs[..]].concat()),
        ("dpo", [&["dpo", "--lora-rank", "2"], &of_pairs[..]].concat()),
        ("sft", vec!["sft", "--data", "texts.jsonl", "--steps", "3"]),
        ("ppo", [&["ppo", "--batch-size", "16", "--set", "ppo.minibatch_size=8"], &of_prompts[..]].concat()),
        ("rloo", [&["ppo", "--algorithm", "rloo", "--batch-size", "16"], &of_prompts[..]].concat()),
        (
            "online-dpo",
            [&["ppo", "--algorithm", "online-dpo", "--batch-size", "4"], &of_prompts[..]].concat(),
        ),
    ] {
        let train = |out: &str, more: &[&str]| {
            let rest = ["--model", "model", "--out", out, "--learning-rate", "1e-3", "--device", "cpu"];
            case.command(&[&arguments[..], &rest[..], more].concat()).assert().success()
        };
        let again = format!("{name}-again");
        train(name, &[]);
        train(&again, &[flag]);
        let files = |out: &str| {
            let tables =
                ["metrics.csv", "evals.csv"].map(|file| case.without_seconds(&format!("{out}/{file}")));
            let weights = ["model.safetensors", "adapter_model.safetensors"].into_iter();
            let weights = weights.map(|file| format!("{out}/{file}")).find(|file| case.path(file).is_file());
            (tables, case.bytes(&weights.unwrap()))
        };
        assert!(files(name) == files(&again), "{name}");
        let config: toml::Table = case.text(&format!("{again}/config.toml")).parse().unwrap();
        assert_eq!(config["gradient_checkpointing"], toml::Value::Boolean(true));
        // It is the same training.
        train(name, &[flag]).stderr(contains("finished before"));
    }
}

#[test]
fn a_file_for_responses_is_made_with_its_folder_or_refused_before_the_work() {
    let case = Case::new();
    case.prompts();
    let generate = |out: &str, more: &[&str]| {
        let arguments =
            ["generate", "--model", "model", "--prompts", "prompts.jsonl", "--max-new-tokens", "6"];
        case.command(&arguments).args(["--device", "cpu", "--out", out]).args(more).assert()
    };
    generate("new/folder/out.jsonl", &["--num-return-sequences", "2"]).success();
    assert_eq!(case.text("new/folder/out.jsonl").lines().count(), 48);
    generate("new/folder/out.jsonl", &[]).success();
    assert_eq!(case.text("new/folder/out.jsonl").lines().count(), 24, "nothing of the longer one is left");
    // What stood there stays where the work cannot begin.
    generate("new/folder/out.jsonl", &["--num-return-sequences", "0"]).code(42);
    assert_eq!(case.text("new/folder/out.jsonl").lines().count(), 24);
    generate("model", &[]).code(42).stderr(contains("model: "));
    generate("prompts.jsonl/out.jsonl", &[]).code(42).stderr(contains("prompts.jsonl/out.jsonl: "));
}

#[test]
fn responses_are_generated_scored_and_compared() {
    let case = Case::new();
    case.prompts();
    let generate = |more: &[&str]| -> Vec<Value> {
        let arguments =
            ["generate", "--model", "model", "--prompts", "prompts.jsonl", "--max-new-tokens", "6"];
        let output = case.command(&arguments).args(more).args(["--device", "cpu"]).assert().success();
        let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let two = generate(&["--num-return-sequences", "2"]);
    assert_eq!(two.len(), 48);
    assert_eq!((&two[2]["line"], &two[3]["line"]), (&json!(2), &json!(2)));
    assert!(two.iter().any(|line| line["response"] != two[0]["response"]));
    let greedy = generate(&["--temperature", "0"]);
    assert_eq!(greedy, generate(&["--temperature", "0", "--seed", "9"]), "nothing is drawn");
    assert_eq!(
        greedy,
        generate(&["--top-k", "1"]),
        "of the most probable token alone nothing is drawn either"
    );
    assert_ne!(generate(&[]), generate(&["--top-p", "0.2"]));
    let arguments = ["generate", "--model", "model", "--prompts", "prompts.jsonl", "--top-p", "0.5"];
    case.command(&arguments).args(["--temperature", "0"]).assert().code(42).stderr(contains("--temperature"));
    case.command(&arguments)
        .args(["--max-new-tokens", "48"])
        .assert()
        .code(42)
        .stderr(contains("context of 48"));
    case.write("responses.jsonl", &two);
    case.command(&[
        "score",
        "--responses",
        "responses.jsonl",
        "--scorer-command",
        LENGTH,
        "--out",
        "scored.jsonl",
    ])
    .assert()
    .success()
    .stderr(contains("48 responses: mean score"));
    let scored: Value = serde_json::from_str(case.text("scored.jsonl").lines().next().unwrap()).unwrap();
    let request = json!({ "prompt": two[0]["prompt"], "response": two[0]["response"] }).to_string();
    assert_eq!(scored["score"].as_f64(), Some(request.len() as f64));
    let arguments = ["evaluate", "--model", "model", "--reference", "model", "--prompts", "prompts.jsonl"];
    let more = ["--scorer-command", LENGTH, "--max-new-tokens", "6", "--format", "json", "--device", "cpu"];
    let output = case.command(&arguments).args(more).assert().success().get_output().stdout.clone();
    let found: Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(found["prompts"], 24);
    assert_eq!(found["score"]["difference"]["mean"].as_f64(), Some(0.0), "a model is no better than itself");
    assert_eq!(found["sequence_kl"]["mean"].as_f64(), Some(0.0));
}

#[test]
fn a_printed_configuration_is_one() {
    let case = Case::new();
    case.pairs();
    let print = |arguments: &[&str]| {
        let output = case.command(arguments).arg("--print-config").assert().success();
        String::from_utf8(output.get_output().stdout.clone()).unwrap()
    };
    for command in [
        &["sft"][..],
        &["reward-model"],
        &["dpo", "--loss-type", "ipo", "--beta", "0.3", "--label-smoothing", "0.1"],
        &["dpo", "--label-smoothing", "0.1", "--steps", "3", "--scorer-command", "a 'quoted' \"command\" \\"],
        &["ppo", "--target-kl", "3", "--reward-model", "somewhere"],
        &["ppo", "--algorithm", "rloo", "--kl-coef", "0.5"],
        &["ppo", "--algorithm", "online-dpo", "--kl-coef", "0.5", "--max-new-tokens", "9"],
    ] {
        if command.contains(&"ipo") {
            // Only the sigmoid loss has labels to smooth.
            case.command(command).arg("--print-config").assert().code(42).stderr(contains("label_smoothing"));
            continue;
        }
        let printed = print(command);
        std::fs::write(case.path("printed.toml"), &printed).unwrap();
        let chosen = if command.contains(&"--algorithm") { &command[..3] } else { &command[..1] };
        assert_eq!(print(&[chosen, &["--config", "printed.toml"]].concat()), printed, "{command:?}");
    }
    // What a run has written is a configuration too, with nothing left to the data, and makes the same model.
    case.dpo("first", &["--epochs", "1"]).assert().success();
    case.command(&["dpo", "--config", "first/config.toml", "--out", "second", "--device", "cpu"])
        .assert()
        .success();
    case.same_results("first", "second");
    let unknown = case.text("first/config.toml").replace("beta = ", "betta = ");
    std::fs::write(case.path("unknown.toml"), unknown).unwrap();
    case.command(&["dpo", "--config", "unknown.toml", "--out", "third"])
        .assert()
        .code(42)
        .stderr(contains("dpo.betta").and(contains("dpo.beta")));
}

#[test]
fn bad_lines_and_bad_settings_are_refused_before_any_work() {
    let case = Case::new();
    case.pairs();
    let refuse = |mut command: Command, message: &str| {
        command.assert().code(42).stderr(contains(message));
    };
    let good = case.text("pairs.jsonl");
    std::fs::write(case.path("pairs.jsonl"), format!("{good}{{\"prompt\": \"p\", \"chosen\": 3}}\n"))
        .unwrap();
    refuse(case.dpo("out", &[]), "pairs.jsonl:41:chosen: found 3, expected text or a list of messages");
    std::fs::write(case.path("pairs.jsonl"), &good).unwrap();
    refuse(case.dpo("out", &["--max-length", "12", "--too-long", "refuse"]), "pairs.jsonl:1:prompt: found");
    refuse(case.dpo("out", &["--max-length", "49"]), "at most the model's context of 48 tokens");
    refuse(
        case.dpo("out", &["--beta", "0", "--batch-size", "0"]),
        "dpo.batch_prompts: found 0, expected at least 1",
    );
    refuse(case.dpo("out", &["--too-long", "cut"]), "limits.too_long");
    refuse(case.dpo("out", &["--eval-fraction", "1"]), "held_out.fraction: found 1");
    refuse(case.dpo("model", &[]), "holds files that no training wrote");
    refuse(case.command(&["dpo", "--pairs", "pairs.jsonl", "--out", "out"]), "model: found nothing");
    refuse(
        case.command(&["ppo", "--model", "model", "--prompts", "pairs.jsonl", "--out", "out"]),
        "--scorer-command",
    );
    refuse(
        case.ppo("out", &["--algorithm", "online-dpo", "--target-kl", "1"]),
        "online DPO has no controller",
    );
    assert!(!case.path("out").exists());
    let long = json!({ "prompt": "xyz ".repeat(20), "chosen": "a", "rejected": "b" });
    std::fs::write(case.path("pairs.jsonl"), format!("{good}{long}\n")).unwrap();
    let skipped = ["--steps", "1"];
    case.dpo("out", &skipped)
        .assert()
        .success()
        .stderr(contains("41 of `pairs.jsonl`, 1 of them left out as too long"));
    refuse(case.dpo("out", &["--steps", "1", "--beta", "0.2"]), "dpo.beta (there 0.1, here 0.2)");
    std::fs::write(case.path("pairs.jsonl"), good.replacen("warm", "mild", 1)).unwrap();
    refuse(case.dpo("out", &skipped), "pairs: the content of its files");
}

#[test]
fn a_scorer_that_fails_ends_the_training_with_its_words() {
    let case = Case::new();
    case.prompts();
    let mut command =
        case.command(&["ppo", "--model", "model", "--prompts", "prompts.jsonl", "--out", "out"]);
    command.args(["--device", "cpu", "--scorer-command", "echo 'no weights here' >&2; exit 9"]);
    command.assert().failure().stderr(contains("no weights here").and(contains("after 3 restarts")));
    assert!(!case.path("out/model.safetensors").exists());
}

/// A fixture of `crates/lm`, which `transformers` wrote.
fn fixture(name: &str) -> String {
    format!("{}/../crates/lm/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_classifier_s_labels_are_scores() {
    let case = Case::new();
    let bert = fixture("encoder/bert");
    let line = |text: &str| json!({ "prompt": "the film ", "response": text });
    case.write("responses.jsonl", &[line("was warm"), line("was cold and long"), line("")]);
    let scores = |label: &str| -> Vec<f64> {
        let arguments = ["score", "--responses", "responses.jsonl", "--classifier", &bert, "--label", label];
        let output = case.command(&arguments).args(["--device", "cpu"]).assert().success();
        let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["score"].as_f64().unwrap())
            .collect()
    };
    let (positive, negative) = (scores("POSITIVE"), scores("NEGATIVE"));
    assert!(
        positive.iter().zip(&negative).all(|(p, q)| (p + q - 1.0).abs() < 1e-6),
        "{positive:?} {negative:?}"
    );
    assert_eq!(positive, scores("1"));
    case.prompts();
    let arguments =
        ["ppo", "--model", "model", "--prompts", "prompts.jsonl", "--out", "out", "--classifier", &bert];
    let small = ["--steps", "1", "--batch-size", "16", "--max-new-tokens", "6", "--device", "cpu"];
    let both = ["--label", "POSITIVE", "--set", "scorer.command='cat'"];
    case.command(&arguments)
        .args(small)
        .args(both)
        .assert()
        .code(42)
        .stderr(contains("classifier and command"));
    case.command(&arguments).args(small).args(["--label", "POSITIVE"]).assert().success();
    assert!(case.text("out/README.md").contains("label `POSITIVE` of the classifier"));
}

/// What is not particular to GPT-2 is not: models of other families with ends of their own.
#[test]
fn other_families_are_trained_as_well() {
    for name in ["llama/grouped-untied", "gptj/whole-padded"] {
        is_trained(&fixture(name));
    }
}

fn is_trained(model: &str) {
    let case = Case::new();
    let pair = |i: usize| json!({ "prompt": format!("{i}"), "chosen": "ab", "rejected": "cd" });
    case.write("pairs.jsonl", &(0..12).map(pair).collect::<Vec<_>>());
    let arguments = ["dpo", "--model", model, "--pairs", "pairs.jsonl", "--out", "out", "--steps", "30"];
    case.command(&arguments).args(["--learning-rate", "1e-3", "--device", "cpu"]).assert().success();
    let losses = case.column("out/evals.csv", "eval_loss");
    assert!(losses.last().unwrap() + 0.05 < losses[0], "{losses:?}");
    let device = DeviceSpec::CPU.open().unwrap();
    let (policy, tokenizer) = load_policy(&case.path("out"), 1.0, &device).unwrap();
    let (start, before) = load_policy(model.as_ref(), 1.0, &device).unwrap();
    assert_eq!(policy.model().config(), start.model().config());
    assert_eq!((tokenizer.begin(), tokenizer.end()), (before.begin(), before.end()));
}

/// The chat template of the model is that of its data and of what was trained from it.
#[test]
fn conversations_go_through_the_model_s_chat_template() {
    let case = Case::new();
    let message = |role: &str, content: &str| json!({ "role": role, "content": content });
    let pair = |i: usize| {
        let (chosen, rejected) = (message("assistant", "warm"), message("assistant", "cold"));
        json!({ "prompt": [message("user", &format!("house {i}?"))], "chosen": [chosen], "rejected": [rejected] })
    };
    case.write("pairs.jsonl", &(0..8).map(pair).collect::<Vec<_>>());
    case.dpo("out", &[])
        .assert()
        .code(42)
        .stderr(contains("pairs.jsonl:1:prompt").and(contains("no chat template")));
    let template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}";
    std::fs::write(case.path("model/chat_template.jinja"), template).unwrap();
    case.dpo("out", &["--steps", "2"]).assert().success();
    let config: Value = serde_json::from_str(&case.text("out/tokenizer_config.json")).unwrap();
    assert_eq!(config["chat_template"], template);
    let sample: Value = serde_json::from_str(case.text("out/samples.jsonl").lines().next().unwrap()).unwrap();
    let prompt = sample["prompt"].as_str().unwrap();
    assert!(prompt.starts_with("user: house ") && prompt.ends_with("?\nassistant:"), "{prompt:?}");
}
