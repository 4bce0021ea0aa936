//! TL;DR's files: read, refused where they are wrong, and turned into what trainings read; judges against
//! people.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::fs;
use std::path::Path;
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;
use predicates::str::contains;
use serde_json::Value;

fn experiments(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
    command.current_dir(dir).args(arguments);
    command
}

fn lines(path: &Path) -> Vec<Value> {
    fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A judge in Python that knows: the summary that has a question.
const KNOWS: &str = r#"
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    word = "first" if "?" in asked["first"] else "second"
    print(json.dumps({"preferred": word}))
"#;

#[test]
fn made_up_posts_go_through_every_training_and_judges_agree_with_people() {
    let dir = tempfile::tempdir().unwrap();
    let (at, data) = (dir.path(), dir.path().join("data"));
    experiments(at, &["tldr-data", "--synthetic", "60", "--out", "data"]).assert().success();
    let count = |name: &str| lines(&data.join(name)).len();
    assert_eq!(
        ["posts.jsonl", "posts-held-out.jsonl", "comparisons.jsonl", "sft.jsonl", "prompts.jsonl"].map(count),
        [48, 6, 108, 48, 48]
    );
    // Of ten posts eight are trained on, one has comparisons by two people that are held out, one is held out
    // itself.
    assert_eq!(
        ["preferences.jsonl", "preferred.jsonl", "preferences-held-out.jsonl", "held-out.jsonl"].map(count),
        [96, 96, 12, 6]
    );
    // The same files read as a user's own, the posts that are trained on held out: nothing else has them.
    let own = [
        "tldr-data",
        "--held-out-posts",
        "data/posts.jsonl",
        "--comparisons",
        "data/comparisons.jsonl",
        "--out",
        "own",
    ];
    experiments(at, &own)
        .assert()
        .success()
        .stderr(contains("96 posts and comparisons of held-out posts are left out"));
    assert!(!at.join("own/preferences.jsonl").exists());
    assert_eq!(lines(&at.join("own/preferences-held-out.jsonl")).len(), 12);
    let first = &lines(&data.join("sft.jsonl"))[0];
    let prompt = first["prompt"].as_str().unwrap();
    assert!(
        prompt.starts_with("SUBREDDIT: r/advice\n\nTITLE: ") && prompt.ends_with("\n\nTL;DR:"),
        "{prompt}"
    );
    assert!(first["completion"].as_str().unwrap().starts_with(" my "));

    // Each person is right as often as the file says, and the judge always.
    let compared = lines(&data.join("comparisons.jsonl"));
    let right = |one: &&Value| {
        let choice = one["choice"].as_u64().unwrap() as usize;
        one["summaries"][choice]["text"].as_str().unwrap().contains('?')
    };
    let of_first: Vec<&Value> = compared.iter().filter(|one| one["worker"] == "worker-1").collect();
    let expected = of_first.iter().filter(|one| right(one)).count() as f64 / 54.0;
    fs::write(at.join("judge.py"), KNOWS).unwrap();
    let judged = [
        "tldr-agreement",
        "data/comparisons.jsonl",
        "--judge-command",
        "python3 judge.py",
        "--out",
        "agreed",
    ];
    experiments(at, &judged).assert().success().stdout(contains("people and python3 judge.py"));
    let agreement: Value =
        serde_json::from_slice(&fs::read(at.join("agreed/agreement.json")).unwrap()).unwrap();
    let of = |first: &str, second: &str| {
        let found =
            agreement.as_array().unwrap().iter().find(|one| one["first"] == first && one["second"] == second);
        found.unwrap()["rate"].as_f64().unwrap()
    };
    assert!((of("people", "python3 judge.py") - expected).abs() < 1e-12);
    assert!((0.6..=1.0).contains(&of("people", "other people")));
    assert!((0.75..=1.0).contains(&expected), "{expected}");

    // SFT, reward model, DPO and PPO on these files.
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/reference-lm");
    let model = model.to_str().unwrap();
    let short = ["--steps", "2", "--batch-size", "4", "--too-long", "truncate", "--eval-steps", "2"];
    let train = |arguments: &[&str]| {
        experiments(at, &[arguments, &short].concat()).assert().success();
    };
    train(&["sft", "--model", model, "--data", "data/sft.jsonl", "--out", "sft"]);
    let pairs = "data/preferences.jsonl";
    let fitted = fs::read_dir(at.join("sft")).unwrap().map(|entry| entry.unwrap().path());
    let fitted =
        fitted.chain([at.join("sft")]).find(|path| path.join("model.safetensors").is_file()).unwrap();
    let fitted = fitted.to_str().unwrap();
    train(&["reward-model", "--model", fitted, "--pairs", pairs, "--out", "rm"]);
    train(&["dpo", "--model", fitted, "--pairs", pairs, "--out", "dpo"]);
    let scorer = "python3 -c 'import sys\nfor line in sys.stdin: print(line.count(\"?\"), flush=True)'";
    train(&[
        "ppo",
        "--model",
        fitted,
        "--prompts",
        "data/prompts.jsonl",
        "--scorer-command",
        scorer,
        "--out",
        "ppo",
        "--max-new-tokens",
        "6",
        "--set",
        "ppo.minibatch_size=4",
    ]);
}

const INFO: &str = r#"{"id":"t3_1","post":"I lost it.","title":"Lost","subreddit":"help"}"#;

fn comparison(info: &str, summaries: &str, more: &str) -> String {
    format!(
        r#"{{"info":{info},"split":"train","summaries":{summaries},"worker":"w","batch":"b","extra":{{}}{more}}}"#
    )
}

#[test]
fn damaged_files_are_refused_by_line_and_field() {
    let dir = tempfile::tempdir().unwrap();
    let two = r#"[{"text":" a","policy":"p","note":null},{"text":" b","policy":"p","note":null}]"#;
    let good = comparison(INFO, two, r#","choice":0"#);
    let empty = two.replace(" b", "  ");
    let unknown = two.replace("\"note\"", "\"score\"");
    let no_title = INFO.replace("\"title\":\"Lost\",", "");
    let cases = [
        (comparison(INFO, two, ""), "choice: found nothing, expected 0 or 1"),
        (comparison(INFO, two, r#","choice":2"#), "choice: found 2, expected 0 or 1"),
        (comparison(INFO, &empty, r#","choice":0"#), "summaries[1].text: found an empty text, expected text"),
        (
            comparison(INFO, &unknown, r#","choice":0"#),
            "summaries[0].score: found a key, expected none but text",
        ),
        (comparison(INFO, "[]", r#","choice":0"#), "summaries: found a list of 0, expected a list of 2"),
        (comparison(&no_title, two, r#","choice":0"#), "info.title: found nothing, expected text"),
        (comparison(INFO, two, r#","choice":0,"age":7"#), "age: found a key, expected none but info"),
        ("[]".to_owned(), "found a list of 0, expected a JSON object"),
        ("{".to_owned(), "expected a JSON object"),
    ];
    let path = dir.path().join("c.jsonl");
    let refused = |message: &str| {
        let command = ["tldr-data", "--comparisons", "c.jsonl", "--out", "out"];
        experiments(dir.path(), &command).assert().code(42).stderr(contains(message));
    };
    for (line, message) in cases {
        fs::write(&path, format!("{good}\n{line}\n")).unwrap();
        refused("c.jsonl:2:");
        refused(message);
    }
    fs::write(&path, [good.as_bytes(), b"\n\"\xff\"\n"].concat()).unwrap();
    refused("c.jsonl:2: found no UTF-8 at byte 1");
    fs::write(&path, "").unwrap();
    refused("c.jsonl: found no comparisons");
    fs::write(
        dir.path().join("p.jsonl"),
        "{\"id\":\"1\",\"subreddit\":\"s\",\"title\":\"t\",\"post\":\"p\",\"summary\":7}\n",
    )
    .unwrap();
    let posts = ["tldr-data", "--posts", "p.jsonl", "--out", "out"];
    let message = "p.jsonl:1:summary: found 7, expected text that is not empty";
    experiments(dir.path(), &posts).assert().code(42).stderr(contains(message));
    experiments(dir.path(), &["tldr-data", "--out", "out"])
        .assert()
        .code(42)
        .stderr(contains("found no files"));
}
