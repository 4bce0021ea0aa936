//! The checkpoint of a run that is under way: where its process stops, another goes on, and the files at the
//! end are the same to the byte, but for the seconds.
//!
//! It is a [`State`] with the trainer's tensors and counters and with these:
//!
//! | name | what |
//! |-|-|
//! | `run` | the run's key: a run with other settings does not go on from it |
//! | `seconds` | what the run has taken so far, evaluations included |
//! | `score`, `sequence_kl` | what the last evaluation said |
//! | `bytes/FILE` | how long each of the run's files was |

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use lm::{PolicyTrainer, State};

use crate::appended::{bytes_of, reopen};
use crate::study::folder::Folder;
use crate::study::work::RunWork;

/// Files of a run that grow with it.
pub const METRICS: &str = "metrics.csv";
pub const EVALS: &str = "evals.csv";
pub const PROMPTS: &str = "prompts.csv";

/// Where a run is kept, and how often.
pub struct Checkpoint {
    path: PathBuf,
    /// The run's own folder.
    dir: PathBuf,
    key: String,
    every: Duration,
    /// When the last one was written, and what that took.
    last: Instant,
    took: Duration,
}

/// How far a run has come.
#[derive(Clone, Copy, Debug)]
pub struct Reached {
    pub step: usize,
    pub seconds: f64,
    pub score: f64,
    pub sequence_kl: f64,
}

impl Reached {
    /// Nowhere yet.
    pub const START: Self = Self { step: 0, seconds: 0.0, score: f64::NAN, sequence_kl: f64::NAN };
}

impl Checkpoint {
    /// One at most every so often. Large models take long to write: they are kept no more than a twentieth of
    /// the time.
    pub fn new(folder: &Folder, run: &RunWork, every: Duration) -> Self {
        let (path, dir) = (folder.checkpoint(&run.name), folder.run(&run.name));
        Self { path, dir, key: run.key.clone(), every, last: Instant::now(), took: Duration::ZERO }
    }

    /// The folder of the run's files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Puts the trainer and the run's files back to where the checkpoint left them, if there is one of this
    /// run.
    ///
    /// # Errors
    /// If there is one that cannot be used; the trainer is as it was then.
    pub fn resume(&self, trainer: &mut dyn PolicyTrainer) -> Result<Option<Reached>> {
        if !self.path.is_file() {
            return Ok(None);
        }
        let state = State::read(&self.path)?;
        if state.require("run", &self.key).is_err() {
            return Ok(None);
        }
        let reached = Reached {
            step: state.count("step")?,
            seconds: state.get("seconds")?,
            score: state.get("score")?,
            sequence_kl: state.get("sequence_kl")?,
        };
        for name in [METRICS, EVALS, PROMPTS] {
            reopen(&self.dir.join(name), state.count(&bytes_of(name))?)?;
        }
        trainer.restore(&state)?;
        Ok(Some(reached))
    }

    /// Keeps the trainer, if the last time was long enough ago.
    pub fn keep<T: PolicyTrainer + ?Sized>(&mut self, trainer: &T, reached: &Reached) -> Result<()> {
        if self.last.elapsed() < self.every.max(20 * self.took) {
            return Ok(());
        }
        let started = Instant::now();
        let mut state = State::new();
        trainer.save(&mut state);
        state.set("run", &self.key);
        state.set("seconds", reached.seconds);
        state.set("score", reached.score);
        state.set("sequence_kl", reached.sequence_kl);
        for name in [METRICS, EVALS, PROMPTS] {
            state.set(&bytes_of(name), synced(&self.dir.join(name))?);
        }
        state.write(&self.path)?;
        (self.took, self.last) = (started.elapsed(), Instant::now());
        Ok(())
    }
}

/// Bytes of a file, all of which the disk has: a checkpoint never speaks of more.
fn synced(path: &Path) -> Result<u64> {
    let bytes = || {
        let file = File::open(path)?;
        file.sync_all()?;
        Ok::<_, std::io::Error>(file.metadata()?.len())
    };
    bytes().with_context(|| path.display().to_string())
}
