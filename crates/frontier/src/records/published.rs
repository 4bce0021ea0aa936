//! The published copy of a study: small enough for a repository, whole enough that every figure and
//! table is made from it again.
//!
//! Beside `frontier.csv` it has three tables in place of files per run. They are compressed with bzip2, which
//! leaves a fifth less of digits than gzip does.
//!
//! | file | columns | rows |
//! |-|-|-|
//! | [`PROMPTS`] | `column`, `step`, `run`, then a number per prompt | each evaluation, first its scores, then its KLs |
//! | [`METRICS`] | `run`, `column`, `values` with blanks between | each column that is [kept](KEPT_METRICS) of each run |
//! | [`SCORES`] | `prompt`, then a score per sample | each prompt |
//!
//! Neighbours that are alike compress well, so the first table is sorted by column and step: at step 0 all
//! runs are the reference. Numbers have the digits of the originals.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::csv_file::{create_compressed, finish, read, write_error, write_table};
use super::metrics::Metrics;
use super::prompts::{PromptScore, PromptScores, rounded};
use super::run::Run;
use super::samples::PromptSamples;
use crate::Error;

/// The prompts of all runs.
pub const PROMPTS: &str = "prompts.csv.bz2";
/// The metrics of all runs.
pub const METRICS: &str = "metrics.csv.bz2";
/// The scores of the reference's samples.
pub const SCORES: &str = "reference_scores.csv.bz2";

/// The columns of metrics that are published: those that figures and statistics use, and PPO's state of
/// health, which takes little room.
pub const KEPT_METRICS: [&str; 11] = [
    "step",
    "seconds",
    "num_tokens",
    "rewards/accuracies",
    "rewards/margins",
    "objective/entropy",
    "objective/kl_coef",
    "policy/clipfrac_avg",
    "policy/skipped_minibatches",
    "val/ratio",
    "response_length",
];

const METRIC_COLUMNS: [&str; 3] = ["run", "column", "values"];

/// Whether `dir` holds a published copy.
pub fn is_published(dir: impl AsRef<Path>) -> bool {
    dir.as_ref().join(PROMPTS).is_file()
}

/// Writes the three tables into `dir`, which exists.
///
/// # Errors
/// [`Error::Io`] if a file cannot be written, or two evaluations have different numbers of prompts.
pub fn write(dir: impl AsRef<Path>, runs: &[Run], samples: &PromptSamples) -> Result<(), Error> {
    let dir = dir.as_ref();
    write_prompts(&dir.join(PROMPTS), runs)?;
    write_metrics(&dir.join(METRICS), runs)?;
    write_samples(&dir.join(SCORES), samples)
}

/// The name of a table of metrics in a published copy.
pub fn compressed(name: &str) -> String {
    format!("{name}.bz2")
}

/// Writes the metrics of a stage, all columns, into `dir`, under the [compressed](compressed) name.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn write_stage_metrics(dir: impl AsRef<Path>, name: &str, metrics: &Metrics) -> Result<(), Error> {
    let path = dir.as_ref().join(compressed(name));
    let mut csv = create_compressed(&path)?;
    write_table(&path, &mut csv, &metrics.columns, &metrics.rows)?;
    finish(&path, csv)
}

/// The names of `count` columns, after those of `first`.
fn numbered(first: &[&str], count: usize) -> Vec<String> {
    first.iter().map(|name| (*name).to_owned()).chain((0..count).map(|index| index.to_string())).collect()
}

/// What is written of a prompt.
type Number = fn(&PromptScore) -> f64;

fn write_prompts(path: &Path, runs: &[Run]) -> Result<(), Error> {
    let mut csv = create_compressed(path)?;
    let failed = |error| write_error(path, error);
    let steps: BTreeSet<u64> = runs.iter().flat_map(|run| run.prompts.keys().copied()).collect();
    let count = runs.iter().find_map(|run| run.prompts.values().next()).map_or(0, Vec::len);
    csv.write_record(numbered(&["column", "step", "run"], count)).map_err(failed)?;
    let columns: [(&str, Number); 2] =
        [("score", |prompt| prompt.score), ("sequence_kl", |prompt| prompt.sequence_kl)];
    for (column, value) in columns {
        for step in &steps {
            for run in runs {
                let Some(prompts) = run.prompts.get(step) else { continue };
                let names = [column.to_owned(), step.to_string(), run.name.clone()];
                let numbers = prompts.iter().map(|prompt| rounded(value(prompt)));
                csv.write_record(names.into_iter().chain(numbers)).map_err(failed)?;
            }
        }
    }
    finish(path, csv)
}

fn write_metrics(path: &Path, runs: &[Run]) -> Result<(), Error> {
    let mut csv = create_compressed(path)?;
    let failed = |error| write_error(path, error);
    csv.write_record(METRIC_COLUMNS).map_err(failed)?;
    for run in runs {
        for column in KEPT_METRICS {
            let Some(values) = run.metrics.column(column) else { continue };
            let values: Vec<String> = values.map(|value| value.to_string()).collect();
            csv.write_record([&run.name, column, &values.join(" ")]).map_err(failed)?;
        }
    }
    finish(path, csv)
}

fn write_samples(path: &Path, samples: &PromptSamples) -> Result<(), Error> {
    let mut csv = create_compressed(path)?;
    let failed = |error| write_error(path, error);
    csv.write_record(numbered(&["prompt"], samples.samples_per_prompt())).map_err(failed)?;
    for (prompt, scores) in samples.prompts().iter().enumerate() {
        let numbers = std::iter::once(prompt.to_string()).chain(scores.iter().map(f64::to_string));
        csv.write_record(numbers).map_err(failed)?;
    }
    finish(path, csv)
}

/// Adds what the tables in `dir` tell of `runs`; a run that they do not name stays as it is.
pub(super) fn read_into(dir: &Path, runs: &mut [Run]) -> Result<(), Error> {
    let (mut prompts, mut metrics) = (read_prompts(&dir.join(PROMPTS))?, read_metrics(&dir.join(METRICS))?);
    for run in runs {
        run.prompts = prompts.remove(&run.name).unwrap_or_default();
        run.metrics = metrics.remove(&run.name).unwrap_or_default();
    }
    Ok(())
}

fn read_prompts(path: &Path) -> Result<BTreeMap<String, PromptScores>, Error> {
    let columns = ["column", "step", "run"];
    let mut runs: BTreeMap<String, PromptScores> = BTreeMap::new();
    let lines = read(path, &columns, |fields| {
        let set: fn(&mut PromptScore, f64) = match fields.text("column") {
            "score" => |prompt, value| prompt.score = value,
            "sequence_kl" => |prompt, value| prompt.sequence_kl = value,
            other => return Err(fields.bad("column", other, "`score` or `sequence_kl` is expected")),
        };
        let key = (fields.text("run").to_owned(), fields.count("step")?);
        Ok((key, set, fields.numbers_from(columns.len())?))
    })?;
    for ((run, step), set, numbers) in lines {
        let prompts = runs.entry(run).or_default().entry(step).or_default();
        prompts.resize(numbers.len(), PromptScore { score: f64::NAN, sequence_kl: f64::NAN });
        for (prompt, number) in prompts.iter_mut().zip(numbers) {
            set(prompt, number);
        }
    }
    Ok(runs)
}

fn read_metrics(path: &Path) -> Result<BTreeMap<String, Metrics>, Error> {
    let mut runs: BTreeMap<String, Metrics> = BTreeMap::new();
    let lines = read(path, &METRIC_COLUMNS, |fields| {
        let name = |column: &str| fields.text(column).to_owned();
        Ok((fields.line(), name("run"), name("column"), fields.numbers_of("values")?))
    })?;
    for (line, run, column, values) in lines {
        let Metrics { columns, rows } = runs.entry(run).or_default();
        if columns.is_empty() {
            rows.resize(values.len(), Vec::new());
        }
        if rows.len() != values.len() {
            let reason = format!("{} values, but the run's first column has {}", values.len(), rows.len());
            return Err(Error::BadLine { path: path.into(), line, reason });
        }
        columns.push(column);
        for (row, value) in rows.iter_mut().zip(values) {
            row.push(value);
        }
    }
    Ok(runs)
}

/// The scores of the reference's samples.
pub(super) fn read_samples(dir: &Path) -> Result<PromptSamples, Error> {
    PromptSamples::new(read(&dir.join(SCORES), &["prompt"], |fields| fields.numbers_from(1))?)
}
