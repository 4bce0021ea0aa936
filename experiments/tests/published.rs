//! Published studies: the committed ones follow from their tables, and what is not finished is not published.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::fs;
use std::path::Path;
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;
use predicates::str::contains;

fn experiments(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
    command.args(arguments);
    command
}

/// The files of a folder by name, but for the page and what holds numbers in more digits than processors
/// agree in.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap()))
        .filter(|(name, _)| {
            !["report.html", "summary.json", "claims.json", "README.md"].contains(&name.as_str())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn a_committed_study_follows_from_its_tables_to_the_byte() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/imdb-frontier/quick");
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("copy");
    experiments(&["publish", committed.to_str().unwrap(), copy.to_str().unwrap()]).assert().success();
    let (copied, original) = (files(&copy), files(&committed));
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|file| file.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(&copied), names(&original));
    assert!(names(&copied).contains(&"REPORT.md".to_owned()) && copied.len() > 15);
    for ((name, copied), (_, original)) in copied.iter().zip(&original) {
        assert!(copied == original, "{name}");
    }
    assert!(copy.join("report.html").is_file());
}

#[test]
fn a_study_that_is_not_finished_says_so() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../results/imdb-frontier/quick");
    let dir = tempfile::tempdir().unwrap();
    let study = dir.path().join("study");
    fs::create_dir(&study).unwrap();
    let manifest = fs::read_to_string(committed.join("manifest.json")).unwrap();
    let running = manifest.replacen("\"status\": \"done\"", "\"status\": \"running\"", 1);
    fs::write(study.join("manifest.json"), running).unwrap();
    let (study, copy) = (study.to_str().unwrap(), dir.path().join("copy"));
    let refused = |arguments: &[&str], message: &str| {
        experiments(arguments).assert().code(42).stderr(contains(message));
    };
    refused(
        &["report", study],
        "(status: running): the study has not finished its stages; wait for it, or give",
    );
    fs::write(Path::new(study).join("reference_scores.csv"), "prompt,sample,score\n").unwrap();
    refused(&["report", study], "(status: running): the study is not finished; wait for it, or give");
    refused(&["report", study], "`experiments gather ");
    refused(&["publish", study, copy.to_str().unwrap()], "the study is not finished");
    assert!(!copy.exists());
    refused(&["publish", committed.to_str().unwrap(), study], "is a study's own folder");
    refused(&["publish", dir.path().to_str().unwrap(), study], "no manifest.json");
}
