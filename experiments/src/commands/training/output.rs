//! The output folder of a training: whose it is, and how far the training is.
//!
//! ```text
//! config.toml                the configuration, with the numbers that were left to the data and the model
//! metrics.csv  evals.csv     a row of each step; a row of each evaluation
//! samples.jsonl              responses of each evaluation
//! events.out.tfevents.*      the same numbers for TensorBoard
//! training/run.json          what the training depends on
//! training/state.safetensors its last checkpoint
//! training/done.json         that it is finished
//! ```
//!
//! and, once it is, the model's files.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::exit::BadInput;
use crate::settings::spelled;
use crate::study::folder::{hash_files, read_json, write_json};
use crate::study::manifest::differences;

/// What a training depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// `dpo`, `ppo`, ...
    pub command: String,
    /// The configuration but for what an update does not depend on.
    pub settings: Value,
    /// Hashes of the files that are read, by the key that names them.
    pub inputs: BTreeMap<String, String>,
    /// What matrix products compute in.
    pub precision: String,
}

impl Identity {
    /// Of a configuration and the files that its keys name.
    pub fn new(
        command: &str,
        settings: &impl Serialize,
        inputs: &[(&str, Vec<PathBuf>)],
        precision: &str,
    ) -> Result<Self> {
        let hash = |(key, files): &(&str, Vec<PathBuf>)| Ok(((*key).to_owned(), hash_files(files)?));
        let mut settings = serde_json::to_value(settings)?;
        if let Some(settings) = settings.as_object_mut() {
            // A training that ran out of memory goes on with recomputed activations.
            settings.remove("gradient_checkpointing");
        }
        Ok(Self {
            command: command.to_owned(),
            settings,
            inputs: inputs.iter().map(hash).collect::<Result<_>>()?,
            precision: precision.to_owned(),
        })
    }

    /// What another training differs in.
    fn differences(&self, here: &Self) -> Vec<String> {
        let mut keys = Vec::new();
        for (key, there, here) in
            [("command", &self.command, &here.command), ("--precision", &self.precision, &here.precision)]
        {
            if there != here {
                keys.push(format!("{key} (there {there}, here {here})"));
            }
        }
        keys.extend(differences(&self.settings, &here.settings, spelled));
        let changed = here.inputs.iter().filter(|(key, hash)| self.inputs.get(*key) != Some(hash));
        keys.extend(changed.map(|(key, _)| format!("{key}: the content of its files")));
        keys
    }
}

/// How far a training is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing is there that counts.
    New,
    /// There is a checkpoint.
    Begun,
    /// All is there.
    Finished,
}

/// A folder that no other process writes to while this lives.
pub struct Output {
    root: PathBuf,
    _lock: File,
}

impl Output {
    /// Opens the folder for a training, and refuses one that holds anything else.
    pub fn open(root: &Path, identity: &Identity) -> Result<(Self, Standing)> {
        let own = root.join("training");
        let bad = |error: std::io::Error| BadInput(format!("output folder {}: {error}", root.display()));
        let run = own.join("run.json");
        refuse_other_files(root, &run)?;
        std::fs::create_dir_all(&own).map_err(bad)?;
        let lock = File::create(own.join("lock")).map_err(bad)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let used = "is in use by another process";
                return Err(BadInput(format!("output folder {} {used}", root.display())).into());
            }
            Err(TryLockError::Error(error)) => return Err(bad(error).into()),
        }
        let output = Self { root: root.to_owned(), _lock: lock };
        if run.exists() {
            output.refuse_another(&read_json(&run)?, identity)?;
        } else {
            write_json(&run, identity)?;
        }
        let standing = match (output.done().exists(), output.state().exists()) {
            (true, _) => Standing::Finished,
            (false, true) => Standing::Begun,
            (false, false) => Standing::New,
        };
        Ok((output, standing))
    }

    fn refuse_another(&self, there: &Identity, here: &Identity) -> Result<()> {
        let keys = there.differences(here);
        if keys.is_empty() {
            return Ok(());
        }
        let (root, keys) = (self.root.display(), keys.join("\n  "));
        let cure = "give another --out, or remove it";
        Err(BadInput(format!("{root} holds another training; {cure}. Keys that differ:\n  {keys}")).into())
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The checkpoint.
    pub fn state(&self) -> PathBuf {
        self.root.join("training/state.safetensors")
    }

    /// Mean and standard deviation of the score on the reference, which are measured once.
    pub fn score_unit(&self) -> PathBuf {
        self.root.join("training/score_unit.json")
    }

    fn done(&self) -> PathBuf {
        self.root.join("training/done.json")
    }

    /// Marks the training as finished. Its checkpoint has served then.
    pub fn finish(&self, summary: &impl Serialize) -> Result<()> {
        write_json(&self.done(), summary)?;
        let state = self.state();
        if state.exists() {
            std::fs::remove_file(&state).with_context(|| state.display().to_string())?;
        }
        Ok(())
    }
}

/// A folder with files and no record of a training is somebody's: the model itself, for one.
fn refuse_other_files(root: &Path, run: &Path) -> Result<()> {
    let Ok(mut entries) = std::fs::read_dir(root) else { return Ok(()) };
    // A training that was stopped before its record was written left this folder alone.
    let other = entries.find_map(|entry| entry.ok().filter(|entry| entry.file_name() != "training"));
    match other {
        Some(other) if !run.exists() => {
            let found =
                format!("holds files that no training wrote ({})", other.file_name().to_string_lossy());
            Err(BadInput(format!("output folder {} {found}; give another --out", root.display())).into())
        }
        _ => Ok(()),
    }
}
