//! What a cluster's scheduler does, through the binary: the commands of a plan, one after the other, each by
//! a shell.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use assert_cmd::assert::{Assert, OutputAssertExt};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

/// The smoke preset with three short runs.
const SMALL: [&str; 34] = [
    "--preset",
    "smoke",
    "--set",
    "reference.train.sft.steps=30",
    "--set",
    "prompts.train=30",
    "--set",
    "prompts.evaluate=16",
    "--set",
    "dpo.steps=4",
    "--set",
    "dpo.evaluate_every=2",
    "--set",
    "dpo.sweep.beta=[0.1, 1.0]",
    "--set",
    "reward_model.steps=4",
    "--set",
    "ppo-gt.steps=2",
    "--set",
    "ppo.sweep.kl.target_kl=[]",
    "--set",
    "unlikelihood.sweep.loss.alpha=[]",
    "--set",
    "preferred-ft.sweep.optimizer.learning_rate=[]",
    "--set",
    "online-dpo.sweep.beta=[]",
    "--set",
    "online-dpo-gt.sweep.beta=[]",
    "--set",
    "rloo.sweep.kl.target_kl=[]",
    "--set",
    "rloo-gt.sweep.kl.target_kl=[]",
    "--set",
    "seeds=[7]",
];

const RUNS: [&str; 3] = ["dpo-beta0.1-s7", "dpo-beta1-s7", "ppo-gt-target-kl1-s7"];

fn experiments(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
    command.args(arguments);
    command
}

/// A line of `--plan --format commands`.
struct Line {
    name: String,
    after: Vec<String>,
    command: String,
}

impl Line {
    fn read(text: &str) -> Self {
        let cells: Vec<&str> = text.splitn(3, '\t').collect();
        let [name, after, command] = cells[..] else { panic!("not three cells: {text}") };
        let after = if after == "-" { Vec::new() } else { after.split(',').map(str::to_owned).collect() };
        Self { name: name.to_owned(), after, command: command.to_owned() }
    }

    /// Has a shell do it, somewhere else than where the plan was made.
    fn call(&self) -> Assert {
        self.shell().assert()
    }

    fn shell(&self) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", &self.command]).current_dir("/");
        shell.stdout(Stdio::piped()).stderr(Stdio::piped());
        shell
    }
}

/// The commands of the small study, planned in `dir` with a relative output folder.
fn commands(dir: &Path, out: &str) -> Vec<Line> {
    let mut plan = experiments(&["imdb-frontier", "--plan", "--format", "commands"]);
    let output = plan.args(SMALL).args(["--out", out]).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(Line::read).collect()
}

#[test]
fn every_stage_and_run_of_the_plan_is_one_command_after_what_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let lines = commands(dir.path(), "out");
    let names: Vec<&str> = lines.iter().map(|line| line.name.as_str()).collect();
    assert_eq!(names, [&["stages"], &RUNS[..], &["gather"]].concat());
    // The table for people names the same runs.
    let table = experiments(&["imdb-frontier", "--plan"]).args(SMALL).output().unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    let (_, runs) = table.split_once("\nruns ").unwrap();
    let runs: Vec<&str> = runs.lines().skip(1).map_while(|line| line.split_whitespace().next()).collect();
    assert_eq!(runs, RUNS);

    let mut before = BTreeSet::new();
    for line in &lines {
        assert!(line.after.iter().all(|name| before.contains(name)), "{} waits for a later line", line.name);
        before.insert(line.name.clone());
    }
    assert_eq!(lines[4].after, RUNS);
    assert!(lines[1..4].iter().all(|line| line.after == ["stages"]));
    // Nothing was begun.
    assert!(!dir.path().join("out").exists());
    // The table is the default, and the commands belong to the plan.
    experiments(&["imdb-frontier", "--format", "commands"]).assert().code(2).stderr(contains("--plan"));
    experiments(&["imdb-frontier", "--stages-only", "--plan"]).assert().code(2);
}

#[test]
fn commands_called_by_a_shell_make_the_frontier_of_the_plain_command() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("it's a $HOME");
    std::fs::create_dir(&home).unwrap();
    let lines = commands(&home, "one study");
    let out = home.join("one study");
    let [stages, one, two, three, gather] = &lines[..] else { panic!("{} lines", lines.len()) };

    // Nothing goes ahead of what it waits for.
    one.call().code(42).stderr(contains("--stages-only"));
    gather.call().code(42).stderr(contains("--stages-only"));
    stages.call().success();
    assert!(!out.join("frontier.csv").exists());
    gather.call().code(42).stderr(contains("no run is finished"));

    // A run that was killed in the middle has a folder and no marker.
    let killed = out.join("runs").join(&one.name);
    std::fs::create_dir_all(&killed).unwrap();
    std::fs::write(killed.join("evals.csv"), "half a li").unwrap();
    std::fs::write(killed.join("left_over"), "").unwrap();
    one.call().success();
    assert!(!killed.join("left_over").exists(), "the killed run went on in its old folder");
    two.call().success();
    gather.call().code(3).stderr(contains(format!("1 of 3 runs not finished: {}", three.name)));
    // A run that is started twice at once is done once.
    let both = [three.shell().spawn().unwrap(), three.shell().spawn().unwrap()];
    let said =
        both.map(|child| child.wait_with_output().unwrap().assert().success().get_output().stderr.clone());
    let reused = |stderr: &&Vec<u8>| String::from_utf8_lossy(stderr).contains("finished before");
    assert_eq!(said.iter().filter(reused).count(), 1, "{said:?}");
    gather.call().success();

    let plain = dir.path().join("plain");
    experiments(&["imdb-frontier", "--out", plain.to_str().unwrap()]).args(SMALL).assert().success();
    let read = |dir: &Path| std::fs::read_to_string(dir.join("frontier.csv")).unwrap();
    assert_eq!(read(&out), read(&plain), "the scheduler's frontier and the plain command's");
    called_again(&lines, &out);
}

/// A scheduler may call any command again: nothing is done twice, and the manifest still tells of all.
fn called_again(lines: &[Line], out: &Path) {
    let manifest = || std::fs::read_to_string(out.join("manifest.json")).unwrap();
    let before = manifest();
    assert!(before.contains("\"status\": \"done\"") && !before.contains("waiting"), "{before}");
    let evals = out.join("runs").join(RUNS[0]).join("evals.csv");
    let written = || std::fs::metadata(&evals).unwrap().modified().unwrap();
    let first = written();
    for line in lines {
        let again = line.call().success();
        if line.name != "gather" {
            again.stderr(contains("finished before").and(contains("reused").not()));
        }
    }
    assert_eq!(first, written(), "a finished run was done again");
    assert_eq!(before, manifest());
}
