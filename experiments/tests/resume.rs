//! What becomes of finished work when the same command is called again: after the reviews have changed, after
//! files were damaged, after signals.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::assert::OutputAssertExt;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

/// The smoke preset with two short runs.
const SMALL: [&str; 16] = [
    "reference.train.sft.steps=30",
    "prompts.train=30",
    "prompts.tune=16",
    "prompts.evaluate=16",
    "dpo.steps=4",
    "dpo.evaluate_every=2",
    "reward_model.steps=4",
    "ppo.sweep.kl.target_kl=[]",
    "ppo-gt.sweep.kl.target_kl=[]",
    "unlikelihood.sweep.loss.alpha=[]",
    "preferred-ft.sweep.optimizer.learning_rate=[]",
    "online-dpo.sweep.beta=[]",
    "online-dpo-gt.sweep.beta=[]",
    "rloo.sweep.kl.target_kl=[]",
    "rloo-gt.sweep.kl.target_kl=[]",
    "seeds=[7]",
];
const RUN: &str = "dpo-beta0.1-s7";

/// A folder for reviews, and one for a study of them.
struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn out(&self, name: &str) -> PathBuf {
        self.path("out").join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.out(name)).unwrap()
    }

    fn study(&self, more: &[&str]) -> Command {
        self.study_in("out", more)
    }

    fn study_in(&self, out: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
        command
            .args(["imdb-frontier", "--preset", "smoke"])
            .args(SMALL.iter().flat_map(|entry| ["--set", entry]));
        command.arg("--out").arg(self.path(out)).args(more);
        command
    }

    /// The frontier of the same study without any disturbance.
    fn undisturbed(&self) -> String {
        self.study_in("undisturbed", &[]).assert().success();
        std::fs::read_to_string(self.path("undisturbed/frontier.csv")).unwrap()
    }

    /// The study of the reviews in a folder.
    fn study_of(&self, reviews: &str) -> Command {
        let mut command = self.study(&["--set", "synthetic=false", "--data"]);
        command.arg(self.path(reviews));
        command
    }

    /// When a file was last written.
    fn written(&self, name: &str) -> std::time::SystemTime {
        std::fs::metadata(self.out(name)).unwrap().modified().unwrap()
    }
}

/// Reviews in the shape of the data set, whose names do not tell the label.
fn write_reviews(root: &Path) {
    for (split, count) in [("train", 120), ("test", 40)] {
        for (label, words) in [("pos", ["great", "moving"]), ("neg", ["dull", "wooden"])] {
            let folder = root.join("aclImdb").join(split).join(label);
            std::fs::create_dir_all(&folder).unwrap();
            for i in 0..count {
                let [one, two] = words;
                let things = ["plot", "cast", "music", "ending", "pace"];
                let (this, that) = (things[i % 5], things[(i / 5) % 5]);
                let text = format!(
                    "The {this} of {split} film number {i} is {one}, and I found its {that} {two} in scene {}.",
                    i * 7 % 11
                );
                std::fs::write(folder.join(format!("{i}_5.txt")), text).unwrap();
            }
        }
    }
}

/// Waits for something that a child does, which must go on at least until then.
fn wait(child: &mut Child, what: &str, happened: impl Fn() -> bool) {
    let started = Instant::now();
    while !happened() {
        assert!(started.elapsed() < Duration::from_mins(5), "{what}: never");
        assert!(child.try_wait().unwrap().is_none(), "it ended before: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn signal(name: &str, to: &str) {
    Command::new("kill").args([name, "--", to]).assert().success();
}

/// Asks a program to terminate, which it does within two seconds.
fn terminate(child: &mut Child) {
    let asked = Instant::now();
    signal("-TERM", &child.id().to_string());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(2), "it took {:?}", asked.elapsed());
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_study_belongs_to_what_its_reviews_say_and_not_to_where_they_lie() {
    let case = Case::new();
    write_reviews(&case.path("D"));
    case.study_of("D").assert().success();
    let evals = format!("runs/{RUN}/evals.csv");
    let (frontier, written) = (case.read("frontier.csv"), case.written(&evals));

    // Times and places do not count.
    copy(&case.path("D"), &case.path("same"));
    let reused = || contains("2 runs, 2 of them finished before").and(contains("prompts: reused"));
    case.study_of("same").assert().success().stderr(reused());
    Command::new("touch")
        .arg(case.path("D"))
        .arg(case.path("D/aclImdb/train/pos/0_5.txt"))
        .assert()
        .success();
    case.study_of("D").assert().success().stderr(reused());
    assert_eq!(written, case.written(&evals));

    // The content does, in place or elsewhere, whatever sizes and times say.
    let [pos, neg] = ["pos", "neg"].map(|label| case.path("D/aclImdb/train").join(label));
    let swap = case.path("swap");
    for (from, to) in [(&pos, &swap), (&neg, &pos), (&swap, &neg)] {
        std::fs::rename(from, to).unwrap();
    }
    let refused = contains("data (there ").and(contains("content ")).and(contains("give another --out"));
    case.study_of("D").assert().code(42).stderr(refused);
    std::fs::write(case.path("same/aclImdb/test/pos/0_5.txt"), "The plot is great.").unwrap();
    case.study_of("same").assert().code(42).stderr(contains("data (there "));
    assert_eq!(
        (frontier, written),
        (case.read("frontier.csv"), case.written(&evals)),
        "results were touched"
    );
    // And if the manifest is all there is of the study.
    std::fs::remove_dir_all(case.out("cache")).unwrap();
    case.study_of("same").assert().code(42).stderr(contains("data (there "));
}

#[test]
fn runs_need_nothing_but_the_folder_of_their_study() {
    let case = Case::new();
    write_reviews(&case.path("D"));
    let mut child = case.study_of("D").args(["--jobs", "1"]).spawn().unwrap();
    wait(&mut child, "the first run", || case.out(&format!("runs/{RUN}/metrics.csv")).is_file());
    std::fs::remove_dir_all(case.path("D")).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(case.read("frontier.csv").contains("dpo-beta1-s7"));
}

/// A folder that is taken for the repository, with a cache of its own.
fn repository(root: &Path) {
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::create_dir_all(root.join("data/cache")).unwrap();
    for name in ["data/reference-lm", "data/ground-truth"] {
        symlink(real.join(name), root.join(name)).unwrap();
    }
}

/// `auto` takes the shipped models for want of reviews, and reviews as soon as there are some.
#[test]
fn reviews_that_come_later_are_used() {
    let case = Case::new();
    repository(&case.path(""));
    let auto = || {
        let mut command =
            case.study(&["--stages-only", "--set", "synthetic=false", "--set", "reference=\"shipped\""]);
        // Neither curl nor pip.
        command.current_dir(case.path("")).env("PATH", "/nonexistent");
        command
    };
    let loud = || contains("NO IMDb REVIEWS");
    auto().assert().success().stderr(loud());
    assert!(case.read("manifest.json").contains("\"embedded\": true"));
    auto().assert().success().stderr(loud().and(contains("all stages finished before")));

    // As many as the data set has, or the cache is not believed.
    for part in ["train/pos", "train/neg", "test/pos", "test/neg"] {
        let folder = case.path("data/cache/aclImdb").join(part);
        std::fs::create_dir_all(&folder).unwrap();
        for i in 0..12_500 {
            std::fs::write(folder.join(format!("{i}_5.txt")), format!("{part} {i}")).unwrap();
        }
    }
    let mut child = auto().stderr(Stdio::piped()).spawn().unwrap();
    wait(&mut child, "another manifest", || case.read("manifest.json").contains("\"embedded\": false"));
    terminate(&mut child);
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(
        log.contains("IMDb REVIEWS ARE THERE NOW (data/cache") && !log.contains("NO IMDb REVIEWS"),
        "{log}"
    );
    // And not given up again in silence.
    std::fs::remove_dir_all(case.path("data/cache/aclImdb")).unwrap();
    auto()
        .assert()
        .code(42)
        .stderr(contains("data (there auto: data/cache").and(contains("here auto: no reviews")));
}

/// Every method of a study that computes its activations again ends where it does otherwise, by the same
/// keys.
#[test]
fn activations_that_are_computed_again_change_no_number() {
    let case = Case::new();
    let smoke = include_str!("../presets/smoke.toml");
    let again = smoke.replacen("data_seed", "gradient_checkpointing = true\ndata_seed", 1);
    let study = |name: &str, preset: &str| {
        let path = case.path(&format!("{name}.toml"));
        std::fs::write(&path, preset).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
        command.args(["imdb-frontier", "--preset"]).arg(path).args(["--set", "ppo.steps=2"]);
        // Small, but with all methods.
        command.args(SMALL[..7].iter().flat_map(|entry| ["--set", entry]));
        command.arg("--out").arg(case.path(name)).assert().success();
        let text = |file: &str| std::fs::read_to_string(case.path(name).join(file)).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&text("manifest.json")).unwrap();
        let list = |of: &str| manifest[of].as_array().unwrap().clone();
        let parts: Vec<_> = list("stages").into_iter().chain(list("runs")).collect();
        assert!(parts.len() > 12 && parts.iter().all(|part| part["taken_over"].is_null()));
        let keys: Vec<_> = parts.iter().map(|part| (part["name"].clone(), part["key"].clone())).collect();
        assert!(keys.iter().all(|(_, key)| key.is_string()));
        (text("frontier.csv"), keys)
    };
    assert_eq!(study("again", &again), study("kept", smoke));
}

#[test]
fn damaged_work_is_done_again_and_says_what_was_damaged() {
    let case = Case::new();
    case.study(&[]).assert().success();
    let frontier = case.read("frontier.csv");
    let (model, scores) = ("cache/reference/model.safetensors", "reference_scores.csv");
    let truncate = |name: &str| std::fs::write(case.out(name), "").unwrap();

    // Of stages, which the runs need.
    truncate(model);
    truncate(scores);
    std::fs::remove_dir_all(case.out(&format!("runs/{RUN}"))).unwrap();
    let found = |what: &str, name: &str, found: &str| {
        contains(format!("{what} is done again; {name}: found {found}"))
    };
    let mut run = Command::new(env!("CARGO_BIN_EXE_experiments"));
    run.arg("run").arg(case.path("out")).arg(RUN);
    run.assert().code(42).stderr(contains(format!("reference ({model}: found 0 bytes")));
    case.study(&[])
        .assert()
        .success()
        .stderr(found("reference", model, "0 bytes").and(found("reference-samples", scores, "0 bytes")))
        .stderr(found(RUN, &format!("runs/{RUN}/evals.csv"), "no file"))
        .stderr(contains("ground-truth: reused").and(contains("2 runs, 1 of them finished before")));
    assert_eq!(frontier, case.read("frontier.csv"));

    // Of a run.
    let metrics = format!("runs/{RUN}/metrics.csv");
    truncate(&metrics);
    case.study(&[]).assert().success().stderr(found(RUN, &metrics, "0 bytes"));
    assert_eq!(frontier, case.read("frontier.csv"));

    // Of a stage that an older version finished without a file that is read today.
    let (marker, pairs) = ("cache/preferences-s7/done.json", "cache/preferences-s7/comparisons.jsonl");
    let of_pairs = format!("\"{pairs}\"");
    let older: Vec<String> =
        case.read(marker).lines().filter(|line| !line.contains(&of_pairs)).map(str::to_owned).collect();
    assert_eq!(older.len() + 1, case.read(marker).lines().count(), "{older:?}");
    std::fs::write(case.out(marker), older.join("\n")).unwrap();
    std::fs::remove_file(case.out(pairs)).unwrap();
    case.study(&[]).assert().success().stderr(found("preferences-s7", pairs, "no file"));
    assert_eq!(frontier, case.read("frontier.csv"));

    // What another study takes over is whole.
    truncate(model);
    let beside = case.path("beside");
    let mut ablations = Command::new(env!("CARGO_BIN_EXE_experiments"));
    let preset = case.path("one.toml");
    let set: Vec<&str> = SMALL.to_vec();
    let text = format!(
        "base = \"smoke\"\nset = {set:?}\n[[variation]]\nname = \"base\"\nsuspect = \"nothing\"\nset = []\n"
    );
    std::fs::write(&preset, text).unwrap();
    ablations.arg("ablations").arg("--preset").arg(preset).arg("--out").arg(&beside);
    ablations
        .assert()
        .success()
        .stderr(contains("7 stages and runs taken over").and(contains("reference: done")));
    assert_eq!(frontier, std::fs::read_to_string(beside.join("base/frontier.csv")).unwrap());

    // A manifest that is none is no reason to begin anew.
    truncate("manifest.json");
    case.study(&[]).assert().code(42).stderr(contains("manifest.json").and(contains("give another --out")));
}

#[test]
fn a_request_to_terminate_ends_a_study_at_once_wherever_it_is() {
    let case = Case::new();
    // From its first line on it listens to signals; a folder that is waited for may be there from the time
    // before.
    let spawn = || {
        let mut child = case.study(&["--jobs", "1"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        log.read_line(&mut String::new()).unwrap();
        (child, log)
    };
    let (mut child, _log) = spawn();
    terminate(&mut child);
    let of_all = ["reference", "ground-truth", "prompts", "reference-samples"];
    for stage in of_all.into_iter().chain(["preferences-s7", "reward-model-s7"]) {
        let (mut child, _log) = spawn();
        wait(&mut child, stage, || case.out("cache").join(stage).is_dir());
        terminate(&mut child);
        assert!(case.read("manifest.json").contains("\"status\": \"interrupted\""), "{stage}");
    }
    case.study(&[]).assert().success();
    assert!(case.read("manifest.json").contains("\"status\": \"done\""));
    assert_eq!(case.read("frontier.csv"), case.undisturbed());
}

#[test]
fn a_study_that_was_killed_anywhere_ends_in_the_same_files() {
    let case = Case::new();
    let marks = ["cache/reference", "cache/reference-samples", "cache/reward-model-s7"].map(str::to_owned);
    for mark in marks.into_iter().chain([format!("runs/{RUN}/metrics.csv"), "frontier.csv".to_owned()]) {
        let mut command = case.study(&[]);
        let mut child = command.process_group(0).stderr(Stdio::null()).spawn().unwrap();
        wait(&mut child, &mark, || case.out(&mark).exists());
        signal("-KILL", &format!("-{}", child.id()));
        child.wait().unwrap();
    }
    case.study(&[]).assert().success();
    assert_eq!(case.read("frontier.csv"), case.undisturbed());
}

/// Files of a run, the seconds left out.
fn files_of_run(dir: &Path) -> Vec<String> {
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    let metrics = read("metrics.csv");
    let (header, rows) = metrics.split_once('\n').unwrap();
    let at = header.split(',').position(|column| column == "seconds").unwrap();
    let without = |row: &str| {
        let cells = row.split(',').enumerate().filter(|(index, _)| *index != at);
        cells.map(|(_, cell)| cell.to_owned()).collect::<Vec<_>>().join(",")
    };
    let rows: Vec<String> = rows.lines().map(without).collect();
    let others = ["evals.csv", "prompts.csv", "samples.jsonl"].map(read);
    others.into_iter().chain(rows).collect()
}

/// A trainer that averages its policies has the most to keep.
#[test]
fn a_run_that_was_killed_goes_on_from_its_checkpoint_to_the_same_files() {
    let long = ["--set", "dpo.steps=300", "--set", "dpo.evaluate_every=40"];
    let averaged = ["--set", "dpo.policy={ average = { power = 3.0 } }", "--set", "dpo.sweep.beta=[0.1]"];
    let more: Vec<&str> = long.into_iter().chain(averaged).collect();
    let case = Case::new();
    case.study_in("undisturbed", &more).assert().success();
    let expected = files_of_run(&case.path("undisturbed/runs").join(RUN));

    case.study(&more).arg("--stages-only").assert().success();
    let (dir, kept) = (case.out(&format!("runs/{RUN}")), case.out(&format!("cache/runs/{RUN}.safetensors")));
    let run = |every: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
        command.arg("run").arg(case.path("out")).arg(RUN).args(["--checkpoint-every", every]);
        command
    };
    let steps = || std::fs::read_to_string(dir.join("metrics.csv")).map_or(0, |text| text.lines().count());
    let kill_after = |most: usize| {
        let mut child = run("0").stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        wait(&mut child, "a checkpoint", || kept.is_file() && steps() > most);
        child.kill().unwrap();
        let mut log = String::new();
        child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        child.wait().unwrap();
        log
    };
    // Within a run, and again between two evaluations of what is left of it.
    assert!(!kill_after(90).contains("goes on"));
    assert!(kill_after(170).contains(&format!("{RUN}: goes on from step ")));
    run("60").assert().success().stderr(contains("goes on from step ").and(contains(" of 300")));
    assert_eq!(expected, files_of_run(&dir));
    assert!(!kept.exists(), "it has served");

    // What a checkpoint needs is gone: the run says so and begins anew.
    std::fs::remove_file(case.out(&format!("cache/runs/{RUN}.json"))).unwrap();
    kill_after(90);
    std::fs::write(dir.join("evals.csv"), "").unwrap();
    let anew = contains(format!("{RUN} begins anew")).and(contains("evals.csv: fewer than the "));
    run("60").assert().success().stderr(anew);
    assert_eq!(expected, files_of_run(&dir));
    std::fs::remove_file(case.out(&format!("cache/runs/{RUN}.json"))).unwrap();
    kill_after(90);
    std::fs::write(&kept, "no tensors").unwrap();
    run("60").assert().success().stderr(contains(format!("{RUN} begins anew")).and(contains("safetensors")));
    assert_eq!(expected, files_of_run(&dir));
}

/// Other commands have nothing to record, and leave nothing behind.
#[test]
fn a_request_to_terminate_ends_other_commands_and_their_downloads() {
    let case = Case::new();
    repository(&case.path(""));
    // A download that never ends, and shows that it is alive.
    let (curl, alive) = (case.path("bin/curl"), case.path("alive"));
    std::fs::create_dir(case.path("bin")).unwrap();
    std::fs::write(
        &curl,
        format!("#!/bin/sh\nwhile :; do echo >> '{}'; sleep 0.05; done\n", alive.display()),
    )
    .unwrap();
    std::fs::set_permissions(&curl, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
    let path = format!("{}:{}", case.path("bin").display(), std::env::var("PATH").unwrap());
    command.args(["fetch", "imdb"]).current_dir(case.path("")).env("PATH", path);
    let mut child = command.spawn().unwrap();
    wait(&mut child, "the download", || alive.is_file());
    terminate(&mut child);
    let beats = || std::fs::metadata(&alive).unwrap().len();
    let last = beats();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(beats(), last, "the download goes on");

    write_reviews(&case.path("D"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
    command.arg("train-reference").arg("--data").arg(case.path("D")).arg("--out").arg(case.path("model"));
    for entry in
        ["sft.steps=100000", "n_layer=1", "n_embd=32", "n_head=2", "vocab_size=300", "sft.batch_size=8"]
    {
        command.args(["--set", entry]);
    }
    let mut child = command.spawn().unwrap();
    let snapshot = || case.path("model/model.safetensors").is_file() && !case.path("model/partial").exists();
    wait(&mut child, "a snapshot", snapshot);
    // What is there is whole, and nothing lies beside it.
    terminate(&mut child);
    assert!(!case.path("model/partial").exists());
    let mut names: Vec<_> =
        std::fs::read_dir(case.path("model")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "config.json",
            "generation_config.json",
            "metrics.csv",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json"
        ]
    );
}

/// A folder with a `data/README.md` of its own is not the repository.
#[test]
fn another_folder_of_data_is_not_taken_for_the_repository() {
    let case = Case::new();
    std::fs::create_dir(case.path("data")).unwrap();
    std::fs::write(case.path("data/README.md"), "hi").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
    command.args(["imdb-frontier", "--preset", "quick", "--plan"]).current_dir(case.path(""));
    command.assert().success().stdout(contains("minutes in all"));
}
