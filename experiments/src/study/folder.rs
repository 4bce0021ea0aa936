//! The output folder: what is where, what is finished, and who may write.
//!
//! Results stand in the folder itself. What only this machine needs (checkpoints, preference pairs,
//! markers of finished work) stands under `cache`, which git ignores; so a fresh clone has results to
//! read and nothing to reuse.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::exit::BadInput;
use crate::study::sizes::Sizes;
use crate::study::work::StageWork;

/// The output folder of one study.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

/// What finished work says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Marker {
    /// Hash of all that the work depends on.
    pub key: String,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Tokens processed, as each piece of work counts them.
    pub tokens: u64,
    /// What is worth knowing of the work, for the manifest.
    pub notes: serde_json::Value,
}

/// A marker as it is stored: when the files of a stage or a run are on the disk, and never before.
#[derive(Serialize, Deserialize)]
struct Stored {
    work: Marker,
    files: Sizes,
}

/// How a piece of work stands that has a certain key.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    Finished(Marker),
    /// Finished once, but a file is no longer what it was: which and how.
    Damaged(String),
    /// Not finished, or with another key.
    Open,
}

impl Standing {
    /// The marker of finished work.
    pub fn marker(self) -> Option<Marker> {
        match self {
            Self::Finished(marker) => Some(marker),
            Self::Damaged(_) | Self::Open => None,
        }
    }
}

impl Folder {
    pub fn new(root: &Path) -> Self {
        Self(root.to_owned())
    }

    pub fn root(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn cache(&self) -> PathBuf {
        self.0.join("cache")
    }

    /// The folder of a stage.
    pub fn stage(&self, name: &str) -> PathBuf {
        self.cache().join(name)
    }

    /// The folder of a run.
    pub fn run(&self, name: &str) -> PathBuf {
        self.0.join("runs").join(name)
    }

    /// The log of a run's child process.
    pub fn log(&self, name: &str) -> PathBuf {
        self.cache().join("runs").join(format!("{name}.log"))
    }

    /// What a run that is under way goes on from.
    pub fn checkpoint(&self, name: &str) -> PathBuf {
        self.cache().join("runs").join(format!("{name}.safetensors"))
    }

    fn run_marker(&self, name: &str) -> PathBuf {
        self.cache().join("runs").join(format!("{name}.json"))
    }

    /// Creates the folder and keeps other processes out of it while the returned file lives.
    pub fn lock(&self) -> Result<File> {
        let cache = self.cache();
        let path = cache.join("lock");
        let bad = |error: std::io::Error| BadInput(format!("output folder {}: {error}", self.0.display()));
        std::fs::create_dir_all(cache.join("runs")).map_err(bad)?;
        let file = File::create(&path).map_err(bad)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                Err(BadInput(format!("output folder {} is in use by another process", self.0.display()))
                    .into())
            }
            Err(TryLockError::Error(error)) => Err(bad(error).into()),
        }
    }

    /// Keeps other processes out of a run while the returned file lives. If one is in it already, waits until
    /// that one has ended: a scheduler may start a run again before it knows that the first try is dead.
    pub fn lock_run(&self, name: &str) -> Result<File> {
        let path = self.cache().join("runs").join(format!("{name}.lock"));
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            tracing::info!("{name}: waits for another process that is at it");
        }
        file.lock().with_context(|| path.display().to_string())?;
        Ok(file)
    }

    fn stage_marker(&self, name: &str) -> PathBuf {
        self.stage(name).join("done.json")
    }

    /// How a stage stands.
    pub fn stage_standing(&self, stage: &StageWork) -> Standing {
        let standing = self.standing(&self.stage_marker(&stage.name), &stage.key);
        let lacking = |name: &&&str| !self.stage(&stage.name).join(name).is_file();
        match (standing, stage.files.iter().find(lacking)) {
            (Standing::Finished(_), Some(name)) => {
                Standing::Damaged(format!("cache/{}/{name}: found no file", stage.name))
            }
            (standing, _) => standing,
        }
    }

    /// Empties a stage's folder before its work begins.
    pub fn begin_stage(&self, name: &str) -> Result<PathBuf> {
        fresh(&self.stage_marker(name), &self.stage(name))
    }

    /// Marks a stage as finished, with its results in the output folder itself.
    pub fn finish_stage(&self, stage: &StageWork, marker: &Marker) -> Result<()> {
        let results = stage.results.iter().map(|name| self.file(name));
        let places: Vec<PathBuf> = results.chain([self.stage(&stage.name)]).collect();
        self.finish(&self.stage_marker(&stage.name), &places, marker)
    }

    fn record(&self, name: &str) -> PathBuf {
        self.cache().join("records").join(format!("{name}.json"))
    }

    /// Records that a stage was finished elsewhere: here are only its results, in the output folder itself.
    pub fn record_stage(&self, stage: &StageWork, marker: &Marker) -> Result<()> {
        let results: Vec<PathBuf> = stage.results.iter().map(|name| self.file(name)).collect();
        let path = self.record(&stage.name);
        let dir = path.parent().unwrap_or(&self.0);
        std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        self.finish(&path, &results, marker)
    }

    /// Forgets such a record: the stage's own files are needed now.
    pub fn forget_record(&self, name: &str) -> Result<()> {
        remove(&self.record(name))
    }

    /// The marker of a stage with this key of which only the results are here.
    pub fn recorded_stage(&self, stage: &StageWork) -> Option<Marker> {
        self.standing(&self.record(&stage.name), &stage.key).marker()
    }

    /// How a run stands.
    pub fn run_standing(&self, name: &str, key: &str) -> Standing {
        self.standing(&self.run_marker(name), key)
    }

    /// The marker of a run that was finished with this key and whose results are still there.
    pub fn finished_run(&self, name: &str, key: &str) -> Option<Marker> {
        self.run_standing(name, key).marker()
    }

    /// Empties a run's folder before its work begins from the beginning.
    pub fn begin_run(&self, name: &str) -> Result<PathBuf> {
        remove(&self.checkpoint(name))?;
        fresh(&self.run_marker(name), &self.run(name))
    }

    /// Marks a run as finished. Its checkpoint has served then.
    pub fn finish_run(&self, name: &str, marker: &Marker) -> Result<()> {
        self.finish(&self.run_marker(name), &[self.run(name)], marker)?;
        remove(&self.checkpoint(name))
    }

    fn finish(&self, path: &Path, places: &[PathBuf], marker: &Marker) -> Result<()> {
        let files = Sizes::of(&self.0, places)?;
        write_json(path, &Stored { work: marker.clone(), files })
    }

    fn standing(&self, path: &Path, key: &str) -> Standing {
        let Ok(Stored { work, files }) = read_json(path) else { return Standing::Open };
        if work.key != key {
            return Standing::Open;
        }
        files.damage(&self.0).map_or(Standing::Finished(work), Standing::Damaged)
    }
}

/// Empties a folder. Its marker goes first: work that is cut short here is not finished.
fn fresh(marker: &Path, dir: &Path) -> Result<PathBuf> {
    remove(marker)?;
    if dir.exists() {
        std::fs::remove_dir_all(dir).with_context(|| dir.display().to_string())?;
    }
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    Ok(dir.to_owned())
}

/// Removes a file if it is there.
fn remove(path: &Path) -> Result<()> {
    if path.exists() {
        std::fs::remove_file(path).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Reads a JSON file.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| format!("{}: not what this program writes", path.display()))
}

/// Writes a JSON file by way of a temporary one, so that a crash leaves the old one or the new one.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    write_text(path, &json_text(value)?)
}

/// What [`write_json`] writes.
pub fn json_text(value: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Writes a text file the same way.
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    let partial = path.with_extension("partial");
    let write = || {
        let mut file = File::create(&partial)?;
        file.write_all(text.as_bytes())?;
        // Else a crash of the machine may keep the new name and lose the text.
        file.sync_all()
    };
    write().with_context(|| partial.display().to_string())?;
    std::fs::rename(&partial, path).with_context(|| path.display().to_string())
}

/// Writes several files of a folder by way of a folder inside it: at every moment each of them is
/// the old one or the new one.
pub fn write_files(dir: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let partial = dir.join("partial");
    let named = |path: &Path| path.display().to_string();
    if partial.exists() {
        std::fs::remove_dir_all(&partial).with_context(|| named(&partial))?;
    }
    std::fs::create_dir_all(&partial).with_context(|| named(&partial))?;
    write(&partial)?;
    for entry in std::fs::read_dir(&partial).with_context(|| named(&partial))? {
        let (source, target) = (entry?.path(), dir);
        let target = target.join(source.file_name().unwrap_or_default());
        std::fs::rename(&source, &target).with_context(|| named(&target))?;
    }
    std::fs::remove_dir(&partial).with_context(|| named(&partial))
}

/// The hash of all that a piece of work depends on: its name, its settings and the keys of what it builds on.
pub fn key(name: &str, settings: &impl Serialize, builds_on: &[&str]) -> Result<String> {
    // Raised when the meaning of what is stored changes.
    const FORMAT: u32 = 1;
    let text = serde_json::to_string(&(FORMAT, name, settings, builds_on))?;
    Ok(hex(&Sha256::digest(text.as_bytes())))
}

/// Hash of the bytes of files.
pub fn hash_files(paths: &[PathBuf]) -> Result<String> {
    let mut hash = Sha256::new();
    for path in paths {
        let bytes = std::fs::read(path).map_err(|error| BadInput(format!("{}: {error}", path.display())))?;
        hash.update(&bytes);
    }
    Ok(hex(&hash.finalize()))
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
