//! The documentation is true: its links lead somewhere, its commands are commands, its code is the code.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::path::{Path, PathBuf};
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;
use regex::Regex;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

const PAGES: [&str; 15] = [
    "README.md",
    "ARCHITECTURE.md",
    "REPRODUCING.md",
    "docs/new-loss.md",
    "docs/new-reward.md",
    "docs/pretrained.md",
    "docs/win-rates.md",
    "docs/your-own-data.md",
    "data/README.md",
    "fuzz/README.md",
    "results/devices/README.md",
    "results/speed/README.md",
    "scripts/devices/README.md",
    "scripts/reference/README.md",
    "scripts/slurm/README.md",
];

#[test]
fn links_lead_to_files() {
    let link = Regex::new(r"\]\(([^)#:]+)(#[^)]*)?\)").unwrap();
    for page in PAGES {
        let text = read(page);
        let folder = root().join(page).parent().unwrap().to_owned();
        for found in link.captures_iter(&text) {
            assert!(folder.join(&found[1]).exists(), "{page}: no such file: {}", &found[1]);
        }
    }
}

#[test]
fn paths_in_prose_are_files() {
    let path = Regex::new(r"`((?:crates|experiments|docs|data|scripts|results)/[\w/.-]+)`").unwrap();
    for page in PAGES {
        for found in path.captures_iter(&read(page)) {
            // What is made by a command and ignored by git need not be there.
            let made = ["data/cache", "data/raw"].iter().any(|folder| found[1].starts_with(folder));
            assert!(made || root().join(&found[1]).exists(), "{page}: no such path: {}", &found[1]);
        }
    }
}

#[test]
fn the_readme_is_short() {
    let words = read("README.md").split_whitespace().count();
    assert!(words <= 900, "README.md has {words} words, expected at most 900");
}

#[test]
fn commands_and_features_exist() {
    let command =
        Regex::new(r"cargo run -p experiments(?: --features ([\w,]+))?(?: -- ([^`\n|#]*))").unwrap();
    let word = Regex::new(r"'[^']*'|\S+").unwrap();
    let features = read("experiments/Cargo.toml");
    let mut commands = 0;
    for page in PAGES {
        for found in command.captures_iter(&read(page).replace("\\\n", " ")) {
            for feature in
                found.get(1).map_or("", |features| features.as_str()).split(',').filter(|f| !f.is_empty())
            {
                assert!(features.contains(&format!("\n{feature} = [")), "{page}: no feature {feature}");
            }
            let words = word.find_iter(&found[2]).map(|word| word.as_str()).filter(|word| *word != "help");
            // `--help` comes before values are looked at, and after the names of commands and flags are.
            Command::new(env!("CARGO_BIN_EXE_experiments"))
                .args(words.map(|word| word.trim_matches('\'')))
                .arg("--help")
                .assert()
                .success();
            commands += 1;
        }
    }
    assert!(commands >= 10, "{commands} commands in the documentation");
}

/// The fenced blocks of a page in one language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let block = Regex::new(&format!("(?s)```{language}\n(.*?)```")).unwrap();
    block.captures_iter(&read(page)).map(|found| found[1].to_owned()).collect()
}

#[test]
fn code_in_the_examples_is_the_code() {
    let source = Regex::new(r"`([\w/-]+\.rs)`").unwrap();
    for page in ["docs/new-loss.md", "docs/new-reward.md"] {
        let text = read(page);
        assert!(text.lines().count() < 60, "{page} has {} lines", text.lines().count());
        let sources: String = source.captures_iter(&text).map(|found| read(&found[1])).collect();
        let rust = blocks(page, "rust");
        assert!(!rust.is_empty());
        for block in rust {
            assert!(sources.contains(&block), "{page} shows code that no file has:\n{block}");
        }
    }
}

/// The smoke preset with the methods of the examples appended, as the examples say.
fn with_examples() -> String {
    let smoke = include_str!("../presets/smoke.toml");
    let hinge = blocks("docs/new-loss.md", "toml").concat();
    let start = smoke.find("[[method]]\nname = \"ppo\"\n").unwrap();
    let end = start + smoke[start..].find("[[method]]\nname = \"ppo-gt\"").unwrap();
    let mut worst_case = smoke[start..end].to_owned();
    for line in blocks("docs/new-reward.md", "toml").concat().lines() {
        let key = line.split(" = ").next().unwrap();
        let before =
            worst_case.lines().find(|other| other.starts_with(&format!("{key} = "))).unwrap().to_owned();
        worst_case = worst_case.replacen(&before, line, 1);
    }
    format!("{smoke}\n{hinge}\n{worst_case}")
}

#[test]
fn a_new_loss_and_a_new_reward_stand_in_the_figure_under_their_names() {
    let out = tempfile::tempdir().unwrap();
    let preset = out.path().join("examples.toml");
    std::fs::write(&preset, with_examples()).unwrap();
    let smaller =
        ["reference.train.sft.steps=30", "prompts.train=30", "prompts.evaluate=16", "reward_model.steps=4"];
    let others = ["dpo.sweep.beta=[1.0]", "ppo.sweep.kl.target_kl=[]", "ppo-gt.sweep.kl.target_kl=[]"];
    let steps = ["dpo.steps=2", "hinge.steps=4", "hinge.evaluate_every=2", "ppo-worst-case.steps=2"];
    let last = ["unlikelihood.sweep.loss.alpha=[]", "preferred-ft.sweep.optimizer.learning_rate=[]"];
    let overrides = smaller.iter().chain(&others).chain(&steps).chain(&last);
    Command::new(env!("CARGO_BIN_EXE_experiments"))
        .args(["imdb-frontier", "--preset", preset.to_str().unwrap()])
        .args(overrides.flat_map(|entry| ["--set", entry]))
        .arg("--out")
        .arg(out.path())
        .assert()
        .success();
    let read = |name: &str| std::fs::read_to_string(out.path().join(name)).unwrap();
    for name in ["hinge", "ppo-worst-case"] {
        let rows = read("frontier.csv").lines().filter(|row| row.contains(&format!(",{name},"))).count();
        assert!(rows >= 2, "{name} has {rows} rows in frontier.csv");
        for page in ["frontier.svg", "REPORT.md"] {
            assert!(read(page).contains(name), "{page} does not name {name}");
        }
    }
}
