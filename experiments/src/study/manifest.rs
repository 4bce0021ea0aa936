//! `manifest.json`: what was done, with what, how long it took, and whether it is finished.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::settings::Step;
use crate::study::children::Ending;
use crate::study::folder::{Folder, Marker, json_text};
use crate::study::interrupt;
use crate::study::stages::Finished;
use crate::study::work::RunWork;

/// The manifest's name in an output folder.
pub const MANIFEST: &str = "manifest.json";

/// The status of a study that Ctrl-C or a request to terminate has stopped.
pub const INTERRUPTED: &str = "interrupted";

/// The record of a study.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// running, done, some runs failed, so many runs not finished, interrupted, or failed with the reason.
    pub status: String,
    /// Name or path of the preset.
    pub preset_name: String,
    /// `--set` overrides, in order.
    pub overrides: Vec<String>,
    /// The preset with overrides applied.
    pub preset: Value,
    /// Where the reviews come from, as asked for.
    pub data: String,
    /// Whether no reviews were at hand and the shipped models stood in.
    pub embedded: bool,
    /// The device by the name that `--device` takes.
    pub device: String,
    /// What it is.
    pub adapter: String,
    /// Its driver, and what kernels are compiled for.
    pub driver: String,
    /// What matrix products compute in.
    pub precision: String,
    /// Runs side by side.
    pub jobs: usize,
    pub environment: Environment,
    /// Floating-point operations of each method by its name, once the stages are finished.
    pub flops: BTreeMap<String, MethodFlops>,
    /// How long this program takes to build from nothing, as `scripts/cold_build.sh` last measured it.
    pub cold_build: Option<Value>,
    pub stages: Vec<StageRecord>,
    pub runs: Vec<RunRecord>,
}

/// Floating-point operations of a method.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodFlops {
    /// For each token that its runs count.
    pub per_token: f64,
    /// Before a run starts.
    pub upfront: f64,
}

/// The version of burn, which does not tell its own.
const BURN: &str = "0.22.1";

/// The machine and the versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    pub git_commit: String,
    pub package: String,
    pub burn: String,
    pub os: String,
    pub cpu: String,
    pub cores: usize,
}

/// A finished stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    pub name: String,
    /// Hash of all that it depends on; older manifests have none.
    pub key: Option<String>,
    pub seconds: f64,
    pub tokens: u64,
    pub tokens_per_second: Option<f64>,
    pub notes: Value,
}

/// A run, finished or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    pub name: String,
    /// Hash of all that it depends on; older manifests have none.
    pub key: Option<String>,
    pub status: String,
    pub seconds: Option<f64>,
    pub tokens: Option<u64>,
    pub training_tokens_per_second: Option<f64>,
    /// Where it was computed, if this study took it over.
    pub taken_over: Option<Provenance>,
}

/// Whose work was taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The folder with its evidence.
    pub folder: String,
    /// The device that it ran on.
    pub device: String,
    pub adapter: String,
    pub cpu: String,
    pub git_commit: String,
}

/// The note of a marker that says whose work it is.
const TAKEN_OVER: &str = "taken_over";

impl Manifest {
    /// Whose work that of this study in `folder` is.
    pub fn provenance(&self, folder: &Path) -> Provenance {
        let Environment { cpu, git_commit, .. } = self.environment.clone();
        let (device, adapter) = (self.device.clone(), self.adapter.clone());
        Provenance { folder: folder.display().to_string(), device, adapter, cpu, git_commit }
    }

    /// Writes the manifest, and has it tell of an interruption should there be one from now on.
    pub fn write(&self, folder: &Folder) -> Result<()> {
        let interrupted = Self { status: INTERRUPTED.to_owned(), ..self.clone() };
        interrupt::record(&folder.file(MANIFEST), &json_text(self)?, json_text(&interrupted)?)
    }
}

impl Environment {
    pub fn here() -> Self {
        Self {
            git_commit: git_commit(),
            package: env!("CARGO_PKG_VERSION").to_owned(),
            burn: BURN.to_owned(),
            os: std::env::consts::OS.to_owned(),
            cpu: lm::device::cpu_name(),
            cores: lm::device::cores(),
        }
    }
}

impl StageRecord {
    pub fn new(stage: &Finished) -> Self {
        let Marker { key, seconds, tokens, notes } = stage.marker.clone();
        let rate = (tokens > 0).then(|| tokens as f64 / seconds);
        Self { name: stage.name.clone(), key: Some(key), seconds, tokens, tokens_per_second: rate, notes }
    }

    /// The stage as another study may record it, if its key is known.
    pub fn marker(&self) -> Option<Marker> {
        let Self { key, seconds, tokens, notes, .. } = self.clone();
        Some(Marker { key: key?, seconds, tokens, notes })
    }
}

impl RunRecord {
    /// Whether the run ended as it should.
    pub fn is_done(&self) -> bool {
        self.status == DONE
    }

    /// The run as another study may take it over, if it is done and its key is known.
    pub fn marker(&self, from: &Provenance) -> Option<Marker> {
        if !self.is_done() {
            return None;
        }
        let (seconds, tokens) = (self.seconds?, self.tokens?);
        let training = self.training_tokens_per_second.map(|rate| tokens as f64 / rate);
        // Taken over twice, it is still the work of the first.
        let from = self.taken_over.as_ref().unwrap_or(from);
        let notes = json!({ "training_seconds": training, TAKEN_OVER: from });
        Some(Marker { key: self.key.clone()?, seconds, tokens, notes })
    }
}

/// The status of a run that ended as it should, and of a study whose runs all did.
pub const DONE: &str = "done";

/// How the status of a run begins that failed.
const FAILED: &str = "failed";

/// What is known of every run.
pub fn run_records(runs: &[RunWork], folder: &Folder, ended: &[(String, Ending)]) -> Vec<RunRecord> {
    runs.iter()
        .map(|run| {
            let ending = ended.iter().find(|(name, _)| *name == run.name).map(|(_, ending)| ending);
            let marker = folder.finished_run(&run.name, &run.key);
            let status = match (&marker, ending) {
                (Some(_), _) => DONE.to_owned(),
                (None, Some(Ending::Failed(why))) => format!("{FAILED}: {why}"),
                (None, Some(Ending::Interrupted)) => INTERRUPTED.to_owned(),
                (None, _) => "waiting".to_owned(),
            };
            let training =
                marker.as_ref().and_then(|m| m.notes.get("training_seconds").and_then(Value::as_f64));
            let taken_over = marker.as_ref().and_then(|m| m.notes.get(TAKEN_OVER).cloned());
            RunRecord {
                name: run.name.clone(),
                key: Some(run.key.clone()),
                status,
                seconds: marker.as_ref().map(|marker| marker.seconds),
                tokens: marker.as_ref().map(|marker| marker.tokens),
                training_tokens_per_second: marker
                    .as_ref()
                    .zip(training)
                    .map(|(marker, seconds)| marker.tokens as f64 / seconds),
                taken_over: taken_over.and_then(|from| serde_json::from_value(from).ok()),
            }
        })
        .collect()
}

/// The status of a study whose runs stand like this.
pub fn runs_status(runs: &[RunRecord]) -> String {
    let left = runs.iter().filter(|run| !run.is_done()).count();
    if left == 0 {
        DONE.to_owned()
    } else if runs.iter().any(|run| run.status.starts_with(FAILED)) {
        "some runs failed".to_owned()
    } else {
        format!("{left} of {} runs not finished", runs.len())
    }
}

/// The keys at which two presets differ, such as `dpo.steps`, as `spelled` spells their places.
pub fn differences(before: &Value, now: &Value, spelled: impl Fn(&[Step]) -> String) -> Vec<String> {
    fn walk(place: &[Step], before: &Value, now: &Value, found: &mut Vec<(Vec<Step>, String)>) {
        let mut inner = |step: Step, before: &Value, now: &Value| {
            walk(&[place, &[step]].concat(), before, now, found);
        };
        match (before, now) {
            (Value::Object(a), Value::Object(b)) => {
                for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                    let value =
                        |of: &serde_json::Map<String, Value>| of.get(key).cloned().unwrap_or_default();
                    inner(Step::Key(key.clone()), &value(a), &value(b));
                }
            }
            (Value::Array(a), Value::Array(b)) if a.len() == b.len() && a.iter().any(Value::is_object) => {
                for (index, (before, now)) in a.iter().zip(b).enumerate() {
                    inner(Step::Index(index), before, now);
                }
            }
            _ if before != now => {
                found.push((place.to_vec(), format!("(there {}, here {})", short(before), short(now))));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(&[], before, now, &mut found);
    found.into_iter().map(|(place, values)| format!("{} {values}", spelled(&place))).collect()
}

/// A value in a few words.
fn short(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Object(_) => "a table".to_owned(),
        Value::Array(list) if list.iter().any(Value::is_object) => format!("{} tables", list.len()),
        Value::Array(_) | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

fn git_commit() -> String {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "HEAD"]) else { return "unknown".to_owned() };
    // Results are rewritten by the very run that asks, so only sources count as changes.
    match git(&["status", "--porcelain", "--untracked-files=no", "--", "crates", "experiments", "Cargo.toml"])
    {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit} with changes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_burn_is_the_pinned_one() {
        let workspace: toml::Table = toml::from_str(include_str!("../../../Cargo.toml")).unwrap();
        let pinned = &workspace["workspace"]["dependencies"]["burn"]["version"];
        assert_eq!(pinned.as_str(), Some(format!("={BURN}").as_str()));
    }
}
