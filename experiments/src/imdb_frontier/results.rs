//! A finished study, as its CSV files and its manifest tell it.

use std::path::Path;

use anyhow::{Context, Result};
use frontier::{Analysis, Bootstrap, PromptSamples, Run, read_runs};
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
}

impl Study {
    pub fn read(dir: &Path) -> Result<Self> {
        let manifest = read_json(&dir.join(MANIFEST))?;
        let samples = read_scores(&dir.join(REFERENCE_SCORES))?;
        Ok(Self { manifest, runs: read_runs(dir)?, samples })
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

/// Preset, seeds and data in one line, with the word *embedded* where it is due.
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
    let plural = if seeds == 1 { "" } else { "s" };
    format!("preset {name}, {seeds} seed{plural}, {data}")
}

fn seeds(manifest: &Manifest) -> usize {
    manifest.preset.get("seeds").and_then(Value::as_array).map_or(0, Vec::len)
}

/// Scores of the reference samples, a list for each prompt.
fn read_scores(path: &Path) -> Result<PromptSamples> {
    let mut csv = csv::Reader::from_path(path).with_context(|| path.display().to_string())?;
    let mut scores: Vec<Vec<f64>> = Vec::new();
    for (line, record) in csv.deserialize::<(usize, usize, f64)>().enumerate() {
        let (prompt, _, score) =
            record.map_err(|error| BadInput(format!("{}:{}: {error}", path.display(), line + 2)))?;
        if prompt >= scores.len() {
            scores.resize_with(prompt + 1, Vec::new);
        }
        scores[prompt].push(score);
    }
    Ok(PromptSamples::new(scores)?)
}
