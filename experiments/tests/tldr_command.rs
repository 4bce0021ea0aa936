//! `experiments tldr-winrate`, from policies to pages: on synthetic reviews, with a language model's endpoint
//! played by a server on loopback.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

#[allow(dead_code, reason = "the tests of the endpoint use more of it")]
#[path = "../../crates/feedback/tests/feedback/server.rs"]
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;
use server::{Mood, Server};

const KEY: &str = "sk-secret-0123456789";

const SETTINGS: &str = r#"
description = "a small study"
question = "positive"
folders = {}
temperatures = [0.0, 1.0]
prompts = 16
best_of_n = 2
orders = "random"
[policies.study]
preset = "smoke"
set = []
runs = ["dpo-beta0.1"]
"#;

fn command(dir: &Path, more: &[&str]) -> Command {
    let preset = dir.join("settings.toml");
    fs::write(&preset, SETTINGS).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
    command.current_dir(dir).args(["tldr-winrate", "--out", "out", "--preset"]).arg(preset).args(more);
    command.env("TEST_KEY", KEY);
    command
}

/// All files below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<PathBuf> =
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    found.sort();
    found
}

/// Name and bytes of what a report is drawn from and what it draws; the manifest knows how long it took.
fn results(out: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let named =
        files.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap()));
    let mut found: Vec<_> = named.filter(|(name, _)| name != "manifest.json").collect();
    found.sort();
    found
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_study_is_sampled_judged_drawn_and_not_done_twice() {
    let server = Server::start(|_, _| Mood::Says("Preferred: A".to_owned()));
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let asked =
        ["--judge", &server.url, "--judge-model", "tiny", "--judge-key", "TEST_KEY", "--judge-parallel", "2"];
    // Stopped by its budget, it has kept what it was told, and goes on from there.
    let stopped = [&asked[..], &["--judge-requests", "20"]].concat();
    command(dir.path(), &stopped).assert().failure().stderr(contains("the budget of 20 requests is spent"));
    assert_eq!(server.seen().len(), 20);
    command(dir.path(), &asked).assert().success();
    let requests = server.seen().len();
    // 3 policies, 2 temperatures, 16 prompts; equal questions are asked once.
    assert!((33..=96).contains(&requests), "{requests}");
    let manifest = json(&out.join("manifest.json"));
    assert_eq!((&manifest["status"], &manifest["questions"]), (&"done".into(), &96.into()));
    assert_eq!(manifest["spent"]["requests"], requests);
    assert_eq!(manifest["judges"].as_array().unwrap().len(), 3);

    // The one that always says A has the first shown win every time.
    let summary = json(&out.join("summary.json"));
    let by = &summary["judges"][2];
    assert_eq!((&by["judge"], &by["comparisons"]), (&"tiny (positive)".into(), &96.into()));
    assert_eq!(by["first_wins"]["value"], 1.0);

    // The reference is no distance from itself, and the best of equal responses is that response.
    let table = fs::read_to_string(out.join("temperatures.csv")).unwrap();
    let row = |start: &str| -> Vec<f64> {
        let line = table.lines().find(|line| line.starts_with(start)).unwrap();
        line.split(',').skip(3).map(|field| field.parse().unwrap()).collect()
    };
    let [cold, warm, best] = ["reference,1,0,", "reference,1,1,", "best-of-n,1,0,"].map(row);
    // score, score_se, second_opinion, sequence_kl, ...
    assert!(warm[3] == 0.0 && cold[3] > 1.0 && (best[0] - cold[0]).abs() < 1e-12, "{table}");

    // What people wrote stays in the cache, and the key is nowhere.
    let human = json(&out.join("cache/human/human.json"));
    let texts: Vec<&str> =
        human.as_array().unwrap().iter().map(|one| one["text"].as_str().unwrap()).collect();
    assert!(texts.len() == 16 && texts.iter().all(|text| text.len() > 10), "{texts:?}");
    for path in files(&out) {
        let bytes = fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("secret"), "{}", path.display());
        if path.parent() == Some(&out) {
            assert!(!texts.iter().any(|theirs| text.contains(theirs)), "{}", path.display());
        }
    }

    // Once more: nothing is asked, nothing is sampled, and all is the same.
    let before = results(&out);
    let names: Vec<&str> = before.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "REPORT.md",
        "claims.json",
        "judgements.csv.bz2",
        "report.html",
        "samples.jsonl",
        "summary.json",
        "temperatures.csv",
        "win_rate.svg",
        "win_rates.csv",
    ];
    assert_eq!(names, expected);
    command(dir.path(), &asked).assert().success().stderr(contains("samples-dpo-s1: reused"));
    assert_eq!((results(&out) == before, server.seen().len()), (true, requests));
    // A damaged stage is done again, to the same bytes.
    fs::write(out.join("cache/samples-dpo-s1/responses.json"), "[]").unwrap();
    fs::remove_dir_all(out.join("study/runs/dpo-beta0.1-s1/policy")).unwrap();
    command(dir.path(), &asked).assert().success().stderr(contains("samples-dpo-s1 is done again"));
    assert!(results(&out) == before);
    // From the tables alone, in a copy without the cache.
    let copy = dir.path().join("copy");
    let experiments = |arguments: &[&Path]| {
        Command::new(env!("CARGO_BIN_EXE_experiments")).args(arguments).assert().success();
    };
    experiments(&[Path::new("publish"), &out, &copy]);
    assert!(results(&copy) == before && !copy.join("cache").exists());
    fs::remove_file(copy.join("win_rate.svg")).unwrap();
    experiments(&[Path::new("report"), &copy]);
    assert!(results(&copy) == before);

    command(dir.path(), &["--set", "prompts=8"])
        .assert()
        .code(42)
        .stderr(contains("holds win rates of other settings"));
}

#[test]
fn the_plan_has_the_questions_and_their_cost() {
    let dir = tempfile::tempdir().unwrap();
    let asked =
        ["--plan", "--judge", "http://127.0.0.1:9/v1", "--judge-model", "tiny", "--judge-prices", "1,4"];
    let plan = command(dir.path(), &asked).assert().success();
    // 96 questions of 8 + 2 * 12 + 100 tokens at 1 and 160 at 4 the million.
    let told = contains("96 questions to each judge").and(contains("up to 96 requests"));
    plan.stdout(told.and(contains("the best of 2 of its samples")).and(contains("at most about 0.07")));
    assert!(!dir.path().join("out").exists());
    let refused = |more: &[&str], message: &str| {
        command(dir.path(), more).assert().code(42).stderr(contains(message));
    };
    refused(&["--judge", "x", "--judge-model", "tiny"], "url: found x, expected an address");
    refused(
        &["--judge", "http://x", "--judge-model", "m", "--judge-prices", "1"],
        "found 1 numbers, expected two",
    );
    refused(
        &["--set", "policies.study.runs=[\"dpo-beta7\"]"],
        "policies.study.runs: found dpo-beta7, expected a run of smoke: dpo-beta0.1",
    );
    refused(&["--policy", "mine=nowhere"], "folders.mine: found no config.json in nowhere, expected a model");
    refused(&["--set", "prompts=65"], "prompts: found 65, expected at most 64");
}

/// The pipeline of `tldr-tiny`, smaller still.
#[test]
fn models_are_trained_on_posts_sampled_and_judged() {
    let server = Server::start(|_, _| Mood::Says("Preferred: B".to_owned()));
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let small = [
        "prompts=8",
        "policies.posts.data.synthetic.posts=200",
        "policies.posts.sft=[\"sft.steps=4\"]",
        "policies.posts.reward_model=[\"reward_model.steps=2\"]",
        "policies.posts.methods={ dpo = { dpo = [\"dpo.steps=2\"] }, rloo = { rloo = [\"rloo.steps=1\"] } }",
        "policies.posts.seeds=[1, 2]",
        "temperatures=[0, 1]",
    ];
    let posts = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
        command.current_dir(dir.path()).args(["tldr-winrate", "--preset", "tldr-tiny", "--out", "out"]);
        command.args(small.iter().flat_map(|set| ["--set", set])).args(more).assert()
    };
    let judged = [
        "--judge",
        &server.url,
        "--judge-model",
        "tiny",
        "--judge-reward-model",
        "out/models/reward-model-s2",
    ];
    // The judge's folder is looked for before anything is trained.
    posts(&judged)
        .code(42)
        .stderr(contains("--judge-reward-model: found no config.json in out/models/reward-model-s2"));
    posts(&[]).success().stderr(contains("rloo-s2: experiments ppo --algorithm rloo --prompts"));
    let mine = ["--policy", "mine=out/models/dpo-s2"];
    posts(&mine).code(42).stderr(contains("holds win rates of other settings"));

    // Held-out posts are in no training, and what was read is what the schema's files have.
    let data = out.join("cache/data");
    let lines = |name: &str| fs::read_to_string(data.join(name)).unwrap().lines().count();
    let names = [
        "posts.jsonl",
        "posts-held-out.jsonl",
        "sft.jsonl",
        "preferences.jsonl",
        "preferences-held-out.jsonl",
    ];
    assert_eq!(names.map(lines), [160, 20, 160, 320, 40]);

    // Nothing is trained again; two more judges are asked.
    let before = fs::metadata(out.join("models/dpo-s1/model.safetensors")).unwrap().modified().unwrap();
    posts(&judged).success().stderr(contains("samples-dpo-s1: reused"));
    assert_eq!(
        fs::metadata(out.join("models/dpo-s1/model.safetensors")).unwrap().modified().unwrap(),
        before
    );
    let manifest = json(&out.join("manifest.json"));
    let expected = [
        "the reward model",
        "the second opinion",
        "reward model out/models/reward-model-s2",
        "tiny (simple)",
    ];
    assert_eq!(manifest["judges"], Value::from(expected.map(str::to_owned).to_vec()));
    // 4 methods, 2 seeds, 2 temperatures, 8 posts.
    assert_eq!(manifest["questions"], 4 * 2 * 2 * 8);
    let summary = json(&out.join("summary.json"));
    let by = &summary["judges"][3];
    assert_eq!((&by["judge"], &by["comparisons"]), (&"tiny (simple)".into(), &128.into()));
    assert_eq!((&by["ties"], &by["unreadable"]), (&0.into(), &0.into()));
    let report = fs::read_to_string(out.join("REPORT.md")).unwrap();
    assert!(
        report.contains("Policies trained on posts that a program made up, 2 seeds, 8 held-out posts"),
        "{report}"
    );
    let methods: Vec<String> = fs::read_to_string(out.join("win_rates.csv"))
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("the reward model,"))
        .map(|line| line.split(',').nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(methods.iter().filter(|method| *method == "rloo").count(), 2, "{methods:?}");
}

#[test]
fn the_plan_of_the_paper_has_trainings_and_questions_without_any_file() {
    let dir = tempfile::tempdir().unwrap();
    let plan = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
        command
            .current_dir(dir.path())
            .args(["tldr-winrate", "--preset", "tldr", "--plan"])
            .args(more)
            .assert()
    };
    // 90% of 92,858 comparisons in steps of 64; 5 policies, 5 temperatures, 256 posts.
    let told = contains("1306 steps of 64 ")
        .and(contains("GiB of memory"))
        .and(contains("6400 questions to each judge"));
    let models = contains("a model of 6050.9 million parameters");
    plan(&["--judge", "http://127.0.0.1:9/v1", "--judge-model", "m", "--judge-prices", "2,8"])
        .success()
        // 6400 questions of 512 + 2 * 48 + 100 tokens at 2 and 160 at 8 the million.
        .stdout(told.and(models).and(contains("at most about 17.25")));
    plan(&["--set", "policies.posts.methods.dpo.dpo=[\"dpo.betta=1\"]"])
        .code(42)
        .stderr(contains("policies.posts: dpo-s1").and(contains("dpo.betta")));
    plan(&["--set", "question=positive"])
        .code(42)
        .stderr(contains("question: found positive, expected simple or concise"));
    // Without the files nothing is begun.
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
    command.current_dir(dir.path()).args(["tldr-winrate", "--preset", "tldr"]);
    command.assert().code(42).stderr(contains("found no model in models/gpt-j-6b"));
}
