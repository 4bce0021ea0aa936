//! A study goes on from committed evidence: runs that a published copy holds with the same name and key are
//! not computed again, and neither are stages that no other run needs.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use anyhow::Result;
use frontier::{Run, read_runs, read_samples, read_stage_metrics, write_reference_scores, write_run};
use serde_json::Value;

use crate::cli::FrontierOptions;
use crate::exit::BadInput;
use crate::imdb_frontier::plan::{
    REFERENCE_METRICS, REFERENCE_SAMPLES, REFERENCE_SCORES, REWARD_MODEL_METRICS, reward_model_of,
};
use crate::imdb_frontier::results::{copy, is_study};
use crate::imdb_frontier::samples;
use crate::imdb_frontier::work::Work;
use crate::jsonl;
use crate::repository;
use crate::study::adoption::{Source, adopt_runs};
use crate::study::folder::{Folder, Marker, read_json};
use crate::study::manifest::{MANIFEST, Manifest};
use crate::study::work::{RunWork, StageWork};

/// The word for no evidence.
const NONE: &str = "none";
/// Where the repository keeps its studies, by the names of presets.
const COMMITTED: &str = "results/imdb-frontier";

/// What another machine, or this one before, has finished of a study and published.
pub struct Evidence {
    dir: PathBuf,
    pub manifest: Manifest,
    /// Whether the command line names it.
    asked_for: bool,
    /// Read when the first run is taken over.
    runs: OnceCell<Vec<Run>>,
}

impl Evidence {
    /// The evidence that the command line names, or that the repository has of the preset, for a study in
    /// `folder`.
    pub fn find(options: &FrontierOptions, folder: &Folder) -> Result<Option<Self>> {
        match &options.evidence {
            Some(none) if none.as_os_str() == NONE => Ok(None),
            Some(dir) => Ok(Some(Self { asked_for: true, ..Self::read(dir, folder)? })),
            None => {
                let committed = repository::path(COMMITTED).map(|studies| studies.join(&options.preset));
                // Of an older format or of none: nothing there is known by its key.
                Ok(committed.and_then(|dir| Self::read(&dir, folder)).ok())
            }
        }
    }

    fn read(dir: &Path, folder: &Folder) -> Result<Self> {
        let refuse = |found: String| BadInput(format!("--evidence {}: found {found}", dir.display()));
        let expected = "expected a folder that publish wrote, or `none`";
        if !is_study(dir) {
            return Err(refuse(format!("no {MANIFEST}, {expected}")).into());
        }
        if [dir, folder.root()].map(|dir| dir.canonicalize().ok()).windows(2).all(|both| both[0] == both[1]) {
            return Err(refuse(format!("the output folder itself, {expected}")).into());
        }
        let manifest = read_json(&dir.join(MANIFEST)).map_err(|error| refuse(format!("{error:#}")))?;
        Ok(Self { dir: dir.to_owned(), manifest, asked_for: false, runs: OnceCell::new() })
    }

    /// Takes over what `folder` lacks: the runs, and of the stages that no run needs any more what the report
    /// shows.
    pub fn take_over(&self, work: &Work, folder: &Folder) -> Result<()> {
        let (all, dir) = (work.runs.len(), self.dir.display());
        // Who repeats a finished study wants to see it computed; who goes on with one that is not finished
        // does not.
        if !self.asked_for && work.runs.iter().all(|run| self.finished(run).is_some()) {
            tracing::info!("{dir} has all {all} runs; `--evidence {dir}` takes them over");
            return Ok(());
        }
        let count = adopt_runs(&work.runs, folder, self)?;
        if count > 0 {
            tracing::info!(
                "{count} of {all} runs taken over from {dir}; `--evidence {NONE}` computes them here"
            );
        }
        for stage in unneeded(work, folder) {
            let known = folder.stage_standing(stage).marker().or_else(|| folder.recorded_stage(stage));
            if known.is_none()
                && let Some(marker) = self.stage(stage)
            {
                self.give_results(stage, folder)?;
                folder.record_stage(stage, &marker)?;
            }
        }
        Ok(())
    }

    /// The marker of a stage with this key, if its results are here too.
    fn stage(&self, stage: &StageWork) -> Option<Marker> {
        let record = self.manifest.stages.iter().find(|record| record.name == stage.name)?;
        // One curve of a reward model is published, that of the lowest seed.
        let seeds = self.manifest.preset.get("seeds").and_then(Value::as_array).into_iter().flatten();
        let lowest = seeds.filter_map(Value::as_u64).min().map(reward_model_of);
        let has_curve =
            !stage.results.contains(&REWARD_MODEL_METRICS) || lowest.as_ref() == Some(&stage.name);
        record.marker().filter(|marker| marker.key == stage.key && has_curve)
    }

    /// Copies what a stage left in the output folder itself.
    fn give_results(&self, stage: &StageWork, folder: &Folder) -> Result<()> {
        for &name in stage.results {
            match name {
                REFERENCE_SCORES => write_reference_scores(folder.file(name), &read_samples(&self.dir)?)?,
                REFERENCE_METRICS | REWARD_MODEL_METRICS => {
                    let metrics = read_stage_metrics(&self.dir, name)?.ok_or_else(|| self.lacks(name))?;
                    metrics.write(folder.file(name))?;
                }
                REFERENCE_SAMPLES => copy(&self.dir, folder.root(), name)?,
                other => return Err(self.lacks(other)),
            }
        }
        Ok(())
    }

    fn runs(&self) -> Result<&[Run]> {
        if let Some(runs) = self.runs.get() {
            return Ok(runs);
        }
        let runs = read_runs(&self.dir)?;
        Ok(self.runs.get_or_init(|| runs))
    }

    fn lacks(&self, what: &str) -> anyhow::Error {
        let found = format!("--evidence {}: no {what}, which its {MANIFEST} promises", self.dir.display());
        BadInput(format!("{found}; `--evidence {NONE}` does without")).into()
    }
}

impl Source for Evidence {
    fn finished(&self, run: &RunWork) -> Option<Marker> {
        let record = self.manifest.runs.iter().find(|record| record.name == run.name)?;
        record.marker(&self.manifest.provenance(&self.dir)).filter(|marker| marker.key == run.key)
    }

    fn give(&self, run: &RunWork, into: &Path) -> Result<()> {
        let found = self.runs()?.iter().find(|found| found.name == run.name);
        // Every evaluation has its prompts, or no interval can be drawn.
        let found = found.filter(|found| found.prompts.len() == found.evals.len());
        write_run(into, found.ok_or_else(|| self.lacks(&run.name))?)?;
        jsonl::write(&into.join(samples::SAMPLES), samples::of_run(&self.dir, &run.name)?)
    }
}

/// The stages that no unfinished run needs.
fn unneeded<'a>(work: &'a Work, folder: &Folder) -> Vec<&'a StageWork> {
    let needed = needed(work, folder);
    work.stages.iter().filter(|stage| !needed.contains(&stage.name.as_str())).collect()
}

/// The names of the stages that unfinished runs need.
pub fn needed<'a>(work: &'a Work, folder: &Folder) -> Vec<&'a str> {
    let left = work.runs.iter().filter(|run| folder.finished_run(&run.name, &run.key).is_none());
    left.flat_map(|run| run.needs.iter().map(String::as_str)).collect()
}
