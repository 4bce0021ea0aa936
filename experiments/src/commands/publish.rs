//! `experiments publish`: a small copy of a finished study, for a repository.

use anyhow::{Context as _, Result};
use frontier::{FRONTIER, REFERENCE_METRICS, REWARD_MODEL_METRICS, Run, published, write_frontier};

use crate::cli::PublishOptions;
use crate::exit::{BadInput, Outcome};
use crate::imdb_frontier::ablations::{page, record};
use crate::imdb_frontier::parts::{Part, join};
use crate::imdb_frontier::plan::REFERENCE_SAMPLES;
use crate::imdb_frontier::report;
use crate::imdb_frontier::results::{copy, is_study};
use crate::imdb_frontier::samples::SAMPLES;
use crate::jsonl;
use crate::study::folder::write_json;
use crate::study::manifest::MANIFEST;
use crate::tldr;

/// `experiments publish OUT DIR`.
pub fn run(options: &PublishOptions) -> Result<Outcome> {
    let (from, to) = (options.out.as_path(), options.dir.as_path());
    if tldr::report::is_drawn(from) {
        return tldr::report::publish(from, to);
    }
    if !is_study(from) {
        let found = format!("{}: no {MANIFEST}", from.display());
        return Err(
            BadInput(format!("{found}; expected a folder that imdb-frontier or tldr-winrate wrote")).into()
        );
    }
    if is_study(to) && !published::is_published(to) {
        let found = format!("{} is a study's own folder", to.display());
        return Err(BadInput(format!("{found}; expected a new folder, or a copy published before")).into());
    }
    let part = Part::read(from)?;
    let joined = if is_study(to) { join(to, &part)? } else { None };
    std::fs::create_dir_all(to).map_err(|error| BadInput(format!("{}: {error}", to.display())))?;
    match &joined {
        Some(Part { study, .. }) => write_json(&to.join(MANIFEST), &study.manifest)?,
        None => copy(from, to, MANIFEST)?,
    }
    copy(from, to, REFERENCE_SAMPLES)?;
    let Part { study, texts } = joined.as_ref().unwrap_or(&part);
    write_frontier(to.join(FRONTIER), &Run::rows(&study.runs))?;
    published::write(to, &study.runs, &study.samples)?;
    jsonl::write(&to.join(SAMPLES), texts)?;
    for (name, metrics) in [REFERENCE_METRICS, REWARD_MODEL_METRICS].into_iter().zip(&study.stages) {
        if let Some(metrics) = metrics {
            published::write_stage_metrics(to, name, metrics)?;
        }
    }
    let varied = from.join(record::FOLDER);
    if varied.join(record::RECORD).is_file() {
        let to = to.join(record::FOLDER);
        std::fs::create_dir_all(&to).with_context(|| to.display().to_string())?;
        for name in page::FILES {
            if varied.join(name).is_file() {
                copy(&varied, &to, name)?;
            }
        }
    }
    // From the copy alone: it holds all that its report needs.
    report::draw(to)?;
    tracing::info!("{}", to.join("REPORT.md").display());
    Ok(Outcome::Done)
}
