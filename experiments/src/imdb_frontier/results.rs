//! A finished study, as its CSV files and its manifest tell it.

use std::path::Path;

use anyhow::{Context as _, Result};
use frontier::{
    Analysis, Bootstrap, FRONTIER, Metrics, PromptSamples, REFERENCE_METRICS, REWARD_MODEL_METRICS, Run,
    published, read_runs, read_samples, read_stage_metrics,
};
use serde_json::Value;

use crate::exit::BadInput;
use crate::imdb_frontier::plan::REFERENCE_SCORES;
use crate::study::folder::read_json;
use crate::study::manifest::{MANIFEST, Manifest};

/// Reference samples that must carry a reweighted mean, for the optimum to be drawn.
const MIN_EFFECTIVE_SAMPLES: f64 = 8.0;
/// Resamples of the prompts.
const BOOTSTRAP: Bootstrap = Bootstrap { resamples: 2000, seed: 0 };

/// Whether a folder is one of `imdb-frontier`.
pub fn is_study(dir: &Path) -> bool {
    dir.join(MANIFEST).is_file()
}

/// A finished study, as its CSV files and its manifest tell it.
pub struct Study {
    pub manifest: Manifest,
    pub runs: Vec<Run>,
    pub samples: PromptSamples,
    /// The training of the reference model and of the reward model, as far as they were recorded.
    pub stages: [Option<Metrics>; 2],
}

impl Study {
    /// The study in a folder: its own, or that of a published copy.
    pub fn read(dir: &Path) -> Result<Self> {
        let manifest: Manifest = read_json(&dir.join(MANIFEST))?;
        if let Some(lacks) = unfinished(dir) {
            return Err(BadInput(format!("{} (status: {}): {lacks}", dir.display(), manifest.status)).into());
        }
        let stages =
            [read_stage_metrics(dir, REFERENCE_METRICS)?, read_stage_metrics(dir, REWARD_MODEL_METRICS)?];
        Ok(Self { manifest, runs: read_runs(dir)?, samples: read_samples(dir)?, stages })
    }

    /// The study with its prompts resampled.
    pub fn analysis(&self) -> Result<Analysis<'_>> {
        Ok(Analysis::new(&self.runs, &self.samples, MIN_EFFECTIVE_SAMPLES, BOOTSTRAP)?)
    }

    /// Preset, seeds and data in one line.
    pub fn subtitle(&self) -> String {
        subtitle(&self.manifest, seeds(&self.manifest))
    }
}

/// Copies a file from one study into another.
pub fn copy(from: &Path, to: &Path, name: &str) -> Result<()> {
    let source = from.join(name);
    std::fs::copy(&source, to.join(name)).with_context(|| source.display().to_string())?;
    Ok(())
}

/// What a study lacks that a report needs, and what to do about it.
fn unfinished(dir: &Path) -> Option<String> {
    let sampled = published::is_published(dir) || dir.join(REFERENCE_SCORES).is_file();
    let again = "wait for it, or give the command that began it once more, which goes on where it stopped";
    if !sampled {
        return Some(format!("the study has not finished its stages; {again}"));
    }
    let gather =
        format!("`experiments gather {}` makes the report of the runs that are finished", dir.display());
    (!dir.join(FRONTIER).is_file()).then(|| format!("the study is not finished; {again}; {gather}"))
}

/// Preset, seeds and data in one line, with the word *embedded* where it is due, and how many of the preset's
/// values another one took the place of, seeds aside.
pub fn subtitle(manifest: &Manifest, seeds: usize) -> String {
    let name =
        Path::new(&manifest.preset_name).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let data = if manifest.embedded {
        "embedded models, no reviews"
    } else if manifest.data == "synthetic" {
        "synthetic reviews"
    } else {
        "IMDb reviews"
    };
    let set = manifest.overrides.iter().filter(|set| !set.starts_with("seeds=")).count();
    let s = |count: usize| if count == 1 { "" } else { "s" };
    let changed = if set == 0 { String::new() } else { format!(" with {set} value{} changed", s(set)) };
    format!("preset {name}{changed}, {seeds} seed{}, {data}", s(seeds))
}

fn seeds(manifest: &Manifest) -> usize {
    manifest.preset.get("seeds").and_then(Value::as_array).map_or(0, Vec::len)
}
