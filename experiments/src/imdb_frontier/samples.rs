//! The texts that a study keeps: responses of the last checkpoints, in its own folder or in a published copy.

use std::path::Path;

use anyhow::{Context as _, Result};
use feedback::Sample;
use frontier::{Run, published};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::imdb_frontier::plan::REFERENCE_SAMPLES;

/// In the folder of a run, and in a published copy for all runs.
pub const SAMPLES: &str = "samples.jsonl";

/// Responses of each run that a published copy keeps: as many as the report shows.
pub const PUBLISHED: usize = 8;

/// A line of a published copy.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct OfRun {
    pub run: String,
    #[serde(flatten)]
    sample: Sample,
}

/// The reference's own responses.
pub fn of_reference(dir: &Path) -> Result<Vec<Sample>> {
    read(&dir.join(REFERENCE_SAMPLES))
}

/// The responses of a run, to the same prompts.
pub fn of_run(dir: &Path, run: &str) -> Result<Vec<Sample>> {
    if published::is_published(dir) {
        let all: Vec<OfRun> = read(&dir.join(SAMPLES))?;
        return Ok(all.into_iter().filter(|line| line.run == run).map(|line| line.sample).collect());
    }
    read(&dir.join("runs").join(run).join(SAMPLES))
}

/// What a published copy keeps of the responses of runs in `dir`.
pub fn kept(dir: &Path, runs: &[Run]) -> Result<Vec<OfRun>> {
    let mut lines = Vec::new();
    for run in runs {
        let samples = of_run(dir, &run.name)?.into_iter().take(PUBLISHED);
        lines.extend(samples.map(|sample| OfRun { run: run.name.clone(), sample }));
    }
    Ok(lines)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.lines()
        .enumerate()
        .map(|(i, line)| serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), i + 1)))
        .collect()
}
