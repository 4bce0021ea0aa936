//! The crates know of each other what the design says and nothing more.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// What each crate may depend on in the workspace; arrows point inward only. `measure` is the form of
/// measurements, which the binary and benchmarks use.
const ARROWS: [(&str, &[&str]); 11] = [
    ("fused", &[]),
    ("measure", &[]),
    ("frontier", &[]),
    ("lm", &["fused"]),
    ("reward-model", &["lm"]),
    ("ppo", &["lm"]),
    ("dpo", &["lm"]),
    ("training", &["lm"]),
    ("feedback", &["lm"]),
    ("imdb", &["feedback", "lm"]),
    (
        "experiments",
        &["dpo", "feedback", "frontier", "fused", "imdb", "lm", "measure", "ppo", "reward-model", "training"],
    ),
];

/// Every package of the workspace with the workspace's packages that it depends on to run, not to be tested.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let names: BTreeSet<&str> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    let inner = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let at_run_time = dependencies.filter(|dependency| dependency["kind"].is_null());
        let name = |dependency: &Value| dependency["name"].as_str().unwrap().to_owned();
        at_run_time.map(name).filter(|name| names.contains(name.as_str())).collect()
    };
    packages.iter().map(|package| (package["name"].as_str().unwrap().to_owned(), inner(package))).collect()
}

#[test]
fn arrows_point_inward() {
    let found = dependencies();
    let expected: BTreeSet<&str> = ARROWS.iter().map(|&(name, _)| name).collect();
    let names: BTreeSet<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(names, expected, "a new crate needs its arrows in this test and in the README's code map");
    for (name, allowed) in ARROWS {
        let forbidden: Vec<&String> =
            found[name].iter().filter(|other| !allowed.contains(&other.as_str())).collect();
        assert!(forbidden.is_empty(), "{name} depends on {forbidden:?}, which the design does not allow");
    }
}
