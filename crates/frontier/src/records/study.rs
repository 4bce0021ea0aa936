//! A study's records, in its own folder or in a published copy.

use std::path::Path;

use super::evals::{read_frontier, write_evals};
use super::metrics::Metrics;
use super::prompts::{PromptWriter, read_prompts};
use super::published;
use super::run::Run;
use super::samples::{PromptSamples, read_reference_scores};
use crate::Error;

/// The evaluations of all runs.
pub const FRONTIER: &str = "frontier.csv";
/// The scores of the reference's samples, a line per sample.
pub const REFERENCE_SCORES: &str = "reference_scores.csv";

/// The evaluations of a run.
const EVALS: &str = "evals.csv";
/// The prompts of its evaluations.
const RUN_PROMPTS: &str = "prompts.csv";
/// Its trainer's numbers.
const RUN_METRICS: &str = "metrics.csv";

/// The training of the reference model, a line per step; not there if it was not trained here.
pub const REFERENCE_METRICS: &str = "reference_metrics.csv";
/// The training of the reward model, a line per step.
pub const REWARD_MODEL_METRICS: &str = "reward_model_metrics.csv";

/// Reads `frontier.csv` of `dir` and, where they exist, the prompts and metrics of its runs: from
/// `runs/RUN/prompts.csv` and `runs/RUN/metrics.csv`, or from the tables of a [published](published) copy.
pub fn read_runs(dir: impl AsRef<Path>) -> Result<Vec<Run>, Error> {
    let dir = dir.as_ref();
    let mut runs = Run::of_rows(read_frontier(dir.join(FRONTIER))?);
    if published::is_published(dir) {
        published::read_into(dir, &mut runs)?;
        return Ok(runs);
    }
    for run in &mut runs {
        let folder = dir.join("runs").join(&run.name);
        let (prompts, metrics) = (folder.join(RUN_PROMPTS), folder.join(RUN_METRICS));
        if prompts.is_file() {
            run.prompts = read_prompts(prompts)?;
        }
        if metrics.is_file() {
            run.metrics = Metrics::read(metrics)?;
        }
    }
    Ok(runs)
}

/// Writes the evaluations, prompts and metrics of a run into its folder in a study, where
/// [`read_runs`] finds them.
///
/// # Errors
/// [`Error::Io`] if a file cannot be written.
pub fn write_run(folder: impl AsRef<Path>, run: &Run) -> Result<(), Error> {
    let folder = folder.as_ref();
    write_evals(folder.join(EVALS), &run.evals)?;
    let mut prompts = PromptWriter::create(folder.join(RUN_PROMPTS))?;
    for (step, of_step) in &run.prompts {
        prompts.write(*step, of_step.iter().copied())?;
    }
    run.metrics.write(folder.join(RUN_METRICS))
}

/// Reads the metrics of a stage, `name` being [`REFERENCE_METRICS`] or [`REWARD_MODEL_METRICS`]; `None`
/// if they were not recorded.
pub fn read_stage_metrics(dir: impl AsRef<Path>, name: &str) -> Result<Option<Metrics>, Error> {
    let (plain, compressed) = (dir.as_ref().join(name), dir.as_ref().join(published::compressed(name)));
    let found = [plain, compressed].into_iter().find(|path| path.is_file());
    found.map(Metrics::read).transpose()
}

/// Reads the scores of the reference's samples, from `reference_scores.csv` or from a
/// [published](published) copy.
pub fn read_samples(dir: impl AsRef<Path>) -> Result<PromptSamples, Error> {
    let dir = dir.as_ref();
    if published::is_published(dir) {
        return published::read_samples(dir);
    }
    read_reference_scores(dir.join(REFERENCE_SCORES))
}
