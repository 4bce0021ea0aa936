//! What a user does, through the binary: plans, refusals, a whole small study, reuse, failure, interruption.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use assert_cmd::assert::{Assert, OutputAssertExt};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

fn experiments(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
    command.args(arguments);
    command
}

/// Overrides that make the smoke preset smaller still.
const SMALL: [&str; 13] = [
    "reference.train.sft.steps=30",
    "prompts.train=30",
    "prompts.evaluate=16",
    "dpo.steps=4",
    "dpo.evaluate_every=2",
    "reward_model.steps=4",
    "ppo.steps=2",
    "ppo-gt.steps=2",
    "online-dpo.sweep.beta=[]",
    "online-dpo-gt.sweep.beta=[]",
    "rloo.sweep.kl.target_kl=[]",
    "rloo-gt.sweep.kl.target_kl=[]",
    "seeds=[7]",
];

/// The smoke preset with PPO without a penalty as one more method.
fn with_free_ppo() -> String {
    let smoke = include_str!("../presets/smoke.toml");
    let start = smoke.find("[[method]]\nname = \"ppo\"\n").unwrap();
    let end = start + smoke[start..].find("[[method]]\nname = \"ppo-gt\"").unwrap();
    let line = |key: &str| smoke[start..end].lines().find(|line| line.starts_with(key)).unwrap();
    let free = smoke[start..end]
        .replace(line("sweep"), "sweep = { \"kl.kl_coef\" = [0.0] }")
        .replace(line("kl ="), "kl = { name = \"fixed\", kl_coef = 0.0 }");
    format!("{}{free}{}", &smoke[..end], &smoke[end..])
}

fn small(out: &Path, more: &[&str]) -> Command {
    std::fs::create_dir_all(out).unwrap();
    let preset = out.join("tiny.toml");
    std::fs::write(&preset, with_free_ppo()).unwrap();
    let mut command = experiments(&["imdb-frontier", "--preset", preset.to_str().unwrap()]);
    command.args(SMALL.iter().flat_map(|entry| ["--set", entry])).arg("--out").arg(out).args(more);
    command
}

/// Three variations of the smallest study: the base, another learning rate, and other labels.
fn ablations(dir: &Path) -> Command {
    let path = dir.join("tiny.toml");
    let text = format!(
        "base = \"smoke\"\nset = {SMALL:?}\n\
         [[variation]]\nname = \"base\"\nsuspect = \"nothing\"\nset = []\n\
         [[variation]]\nname = \"slow\"\nsuspect = \"step size\"\nset = [\"dpo.optimizer.learning_rate=1e-5\"]\n\
         [[variation]]\nname = \"noisy\"\nsuspect = \"labels\"\n\
         set = [\"preferences.labels={{ noisy = {{ flip = 0.2 }} }}\", \"ppo-gt.sweep.kl.target_kl=[]\"]\n"
    );
    std::fs::write(&path, text).unwrap();
    let mut command = experiments(&["ablations", "--preset", path.to_str().unwrap()]);
    command.arg("--out").arg(dir.join("out"));
    command.args([
        "--set",
        "ppo.sweep.kl.target_kl=[]",
        "--set",
        "unlikelihood.sweep.loss.alpha=[]",
        "--set",
        "preferred-ft.sweep.optimizer.learning_rate=[]",
    ]);
    command
}

#[test]
fn ablations_share_what_they_have_in_common_and_do_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    // Of "slow", the six stages and the run on the true reward are the base's; of "noisy", all before the
    // pairs.
    ablations(dir.path())
        .assert()
        .success()
        .stderr(contains("7 stages and runs taken over").and(contains("4 stages and runs taken over")));
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    let names = ["ablations.csv", "ABLATIONS.md", "ablations.svg", "labels.svg"];
    let first: Vec<String> = names.iter().map(|name| read(name)).collect();
    let lines: Vec<&str> = first[0].lines().filter(|line| line.contains(",dpo,0.5,")).collect();
    assert_eq!(lines.len(), 3, "{}", first[0]);
    assert!(first[1].contains("as base") && first[1].contains("**noisy**"), "{}", first[1]);

    // The curves of shared trainings stand in each study.
    for name in ["reference_metrics.csv", "reward_model_metrics.csv", "reference_scores.csv"] {
        assert_eq!(read(&format!("slow/{name}")), read(&format!("base/{name}")), "{name}");
    }

    // A second call finds all of it, and the report alone comes to the same bytes.
    let written = |name: &str| std::fs::metadata(out.join(name)).unwrap().modified().unwrap();
    let run = "slow/runs/dpo-beta0.1-s7/evals.csv";
    let before = written(run);
    ablations(dir.path()).assert().success().stderr(contains("3 runs, 3 of them finished before"));
    assert_eq!(before, written(run));
    for name in names {
        std::fs::remove_file(out.join(name)).unwrap();
    }
    experiments(&["report", out.to_str().unwrap()]).assert().success();
    let again: Vec<String> = names.iter().map(|name| read(name)).collect();
    assert_eq!(first, again);

    // What was not reached is named as such.
    std::fs::rename(out.join("slow"), dir.path().join("slow")).unwrap();
    experiments(&["report", out.to_str().unwrap()]).assert().success();
    assert!(
        read("ABLATIONS.md").contains("- **slow** (not run): `dpo.optimizer"),
        "{}",
        read("ABLATIONS.md")
    );
    std::fs::rename(dir.path().join("slow"), out.join("slow")).unwrap();
    experiments(&["report", out.to_str().unwrap()]).assert().success();

    // A study that has these ablations in its folder shows them, from the two files that a repository keeps.
    let study = dir.path().join("study");
    std::fs::rename(out.join("base"), &study).unwrap();
    std::fs::create_dir(study.join("ablations")).unwrap();
    for name in ["ablations.csv", "ablations.json"] {
        std::fs::rename(out.join(name), study.join("ablations").join(name)).unwrap();
    }
    let responses = "method,responses,passes,seed,share,share_se,kl,pair_accuracy\n\
                     dpo,1000,1,7,0.2,0.03,1,0.6\ndpo,4000,1,7,0.4,0.03,1.1,0.7\n";
    std::fs::write(study.join("ablations/responses.csv"), responses).unwrap();
    experiments(&["report", study.to_str().unwrap()]).assert().success();
    let page = std::fs::read_to_string(study.join("ablations/ABLATIONS.md")).unwrap();
    assert!(page.contains("| DPO | 4000 | 1 | 7 | 40% ± 3 | 1.10 | 0.700 |"), "{page}");
    assert!(study.join("ablations/responses.svg").is_file() && study.join("responses.svg").is_file());
    for (name, cell) in [("REPORT.md", "| slow | step size | DPO |"), ("report.html", "<td>step size</td>")] {
        let text = std::fs::read_to_string(study.join(name)).unwrap();
        assert!(text.contains("What keeps the methods") && text.contains(cell), "{text}");
    }

    // The shipped file, and names that cannot be folders.
    experiments(&["ablations", "--data", "embedded", "--plan"])
        .assert()
        .success()
        .stdout(contains("half-width (capacity): dpo-beta0.68-s1"));
    let path = dir.path().join("tiny.toml");
    std::fs::write(&path, std::fs::read_to_string(&path).unwrap().replace("\"slow\"", "\"../slow\""))
        .unwrap();
    refused(&["ablations", "--preset", path.to_str().unwrap()]).stderr(contains("../slow"));
}

fn refused(arguments: &[&str]) -> Assert {
    experiments(arguments).assert().code(42)
}

#[test]
fn bad_data_is_refused_before_any_work() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let missing = dir.path().join("no-such-reviews.tar.gz");
    experiments(&["imdb-frontier", "--data", missing.to_str().unwrap(), "--out", out.to_str().unwrap()])
        .assert()
        .code(42)
        .stderr(contains("no-such-reviews.tar.gz"));
    refused(&["report", dir.path().to_str().unwrap()]).stderr(contains("manifest.json"));
}

#[test]
fn a_study_is_reproducible_reusable_and_guarded() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    small(&one, &["--jobs", "1"]).assert().success();
    small(&two, &["--jobs", "2"]).assert().success();
    let frontier = |out: &Path| std::fs::read_to_string(out.join("frontier.csv")).unwrap();
    assert_eq!(frontier(&one), frontier(&two), "one and two jobs give different bytes");
    for name in
        ["manifest.json", "frontier.svg", "training.svg", "collapse.svg", "report.html", "summary.json"]
    {
        assert!(one.join(name).is_file(), "{name} is missing");
    }
    let run = one.join("runs/dpo-beta0.1-s7");
    for name in ["metrics.csv", "evals.csv", "samples.jsonl"] {
        assert!(run.join(name).is_file(), "{name} of a run is missing");
    }
    for (name, column, steps) in
        [("reference_metrics.csv", "loss", 30), ("reward_model_metrics.csv", "eval_accuracy", 4)]
    {
        let curve = std::fs::read_to_string(one.join(name)).unwrap();
        assert!(curve.starts_with("step,seconds,loss,") && curve.contains(column), "{name}: {curve}");
        assert_eq!(curve.lines().count(), 1 + steps, "{name}: one row for each step");
    }
    starts_at_zero(&frontier(&one));
    every_row_is_measured(&frontier(&one));
    let manifest: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(one.join("manifest.json")).unwrap()).unwrap();
    let flops = |pointer: &str| manifest.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap();
    assert!(flops("/flops/ppo/upfront") > 0.0 && flops("/flops/ppo-gt/upfront") == 0.0);
    assert!(flops("/flops/dpo/per_token") > flops("/flops/unlikelihood/per_token"));

    // The report comes from the CSV files alone, to the same bytes.
    let report = || std::fs::read_to_string(one.join("report.html")).unwrap();
    let first = report();
    assert!(
        first.contains("ppo-kl-coef0-s7") && first.contains("Training of the models that all runs share")
    );
    let changed = SMALL.len() - 1;
    let subtitle = format!("preset tiny with {changed} values changed, 1 seed, synthetic reviews");
    assert!(first.contains(&subtitle), "no `{subtitle}`");
    std::fs::remove_file(one.join("report.html")).unwrap();
    experiments(&["report", one.to_str().unwrap()]).assert().success();
    assert_eq!(first, report());
    // And from a published copy.
    let copy = dir.path().join("copy");
    experiments(&["publish", one.to_str().unwrap(), copy.to_str().unwrap()]).assert().success();
    assert_eq!(first, std::fs::read_to_string(copy.join("report.html")).unwrap());
    assert!(!copy.join("runs").exists() && !copy.join("cache").exists());

    // A second call finds everything done.
    let before = std::fs::metadata(run.join("evals.csv")).unwrap().modified().unwrap();
    small(&one, &[]).assert().success().stderr(contains("7 runs, 7 of them finished before"));
    assert_eq!(before, std::fs::metadata(run.join("evals.csv")).unwrap().modified().unwrap());

    // Another configuration may not overwrite it, and the keys that differ are named.
    small(&one, &["--set", "dpo.steps=6"]).assert().code(42).stderr(contains("dpo.steps (there 4, here 6)"));

    // A run that fails leaves the frontier of the others, and says so.
    std::fs::remove_file(one.join("cache/runs/dpo-beta0.1-s7.json")).unwrap();
    let pairs = one.join("cache/preferences-s7/comparisons.jsonl");
    // Of the same size: a file of another is not taken for what the stage wrote.
    let damaged = std::fs::read_to_string(&pairs).unwrap().replacen('{', "?", 1);
    std::fs::write(pairs, damaged).unwrap();
    small(&one, &[]).assert().code(3).stderr(contains("comparisons.jsonl:1"));
    assert!(!frontier(&one).contains("dpo-beta0.1-s7") && frontier(&one).contains("dpo-beta1-s7"));
    let report = std::fs::read_to_string(one.join("report.html")).unwrap();
    assert!(report.contains("did not finish"), "the report shows no gap");
}

fn every_row_is_measured(csv: &str) {
    let mut lines = csv.lines();
    assert!(lines.next().unwrap().ends_with("learned,distinct_2,pair_accuracy"));
    for line in lines {
        let mut cells = line.rsplit(',').map(|cell| cell.parse::<f64>().unwrap());
        let [accuracy, distinct, learned] = [(); 3].map(|()| cells.next().unwrap());
        let shares = [accuracy, distinct].iter().all(|share| (0.0..=1.0).contains(share));
        assert!(shares && learned.is_finite(), "{line}");
    }
}

fn starts_at_zero(csv: &str) {
    let header: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    let column = |name: &str| header.iter().position(|found| *found == name).unwrap();
    let (step, kl) = (column("step"), column("sequence_kl"));
    let starts: Vec<f64> = csv
        .lines()
        .skip(1)
        .map(|line| line.split(',').collect::<Vec<_>>())
        .filter(|cells| cells[step] == "0")
        .map(|cells| cells[kl].parse().unwrap())
        .collect();
    assert_eq!(starts, [0.0; 7], "KL at step 0 of the seven runs");
}

#[test]
fn a_log_that_nobody_reads_stops_no_study() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = small(dir.path(), &[]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut log = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut log, &mut line).unwrap();
    assert!(!line.is_empty());
    drop(log);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(dir.path().join("report.html").is_file());
}

/// Ctrl-C in a terminal reaches the runs too. What they were doing is interrupted, and not failed.
#[cfg(unix)]
#[test]
fn a_terminal_interrupts_runs_as_well() {
    use std::os::unix::process::CommandExt;
    let dir = tempfile::tempdir().unwrap();
    let mut command = small(dir.path(), &["--jobs", "2", "--set", "dpo.steps=20000"]);
    let mut child = command.process_group(0).spawn().unwrap();
    let metrics = dir.path().join("runs/dpo-beta0.1-s7/metrics.csv");
    let started = Instant::now();
    while !metrics.is_file() {
        assert!(started.elapsed() < Duration::from_mins(5), "no run ever began");
        assert!(child.try_wait().unwrap().is_none(), "the study ended before it was interrupted");
        std::thread::sleep(Duration::from_millis(20));
    }
    Command::new("kill").args(["-INT", "--", &format!("-{}", child.id())]).assert().success();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let manifest = std::fs::read_to_string(dir.path().join("manifest.json")).unwrap();
    assert!(manifest.contains("\"interrupted\"") && !manifest.contains("failed"), "{manifest}");
}

/// A training of hours in a stage stops between two steps.
#[cfg(unix)]
#[test]
fn an_interrupt_reaches_a_stage_that_trains() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = small(dir.path(), &["--set", "reference.train.sft.steps=1000000"]).spawn().unwrap();
    let metrics = dir.path().join("reference_metrics.csv");
    let started = Instant::now();
    while std::fs::read_to_string(&metrics).map_or(0, |rows| rows.lines().count()) < 3 {
        assert!(started.elapsed() < Duration::from_mins(5), "the reference's training never began");
        assert!(child.try_wait().unwrap().is_none(), "the study ended before it was interrupted");
        std::thread::sleep(Duration::from_millis(20));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).assert().success();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let manifest = std::fs::read_to_string(dir.path().join("manifest.json")).unwrap();
    assert!(manifest.contains("\"interrupted\""), "{manifest}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_study_goes_on_where_it_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = small(dir.path(), &["--jobs", "1"]).spawn().unwrap();
    let first = dir.path().join("cache/runs/dpo-beta0.1-s7.json");
    let started = Instant::now();
    while !first.is_file() {
        assert!(started.elapsed() < Duration::from_mins(5), "the first run never ended");
        assert!(child.try_wait().unwrap().is_none(), "the study ended before it was interrupted");
        std::thread::sleep(Duration::from_millis(20));
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).assert().success();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let manifest = std::fs::read_to_string(dir.path().join("manifest.json")).unwrap();
    assert!(manifest.contains("\"interrupted\""));
    let kept = std::fs::metadata(&first).unwrap().modified().unwrap();
    small(dir.path(), &[]).assert().success();
    assert_eq!(kept, std::fs::metadata(&first).unwrap().modified().unwrap(), "a finished run was done again");
}

/// At a temperature near 0 all responses to a prompt are the same.
#[test]
fn a_study_in_which_all_pairs_tie_says_so_once() {
    let dir = tempfile::tempdir().unwrap();
    small(dir.path(), &["--set", "temperature=1e-4"]).assert().code(42).stderr(
        contains("found no pair to train on: 180 of 180 pairs are ties")
            .and(contains("responses_per_prompt"))
            .and(contains("temperature")),
    );
}
