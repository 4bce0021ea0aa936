//! `experiments publish`: a small copy of a finished study, for a repository.

use std::path::Path;

use anyhow::{Context as _, Result};
use frontier::{
    FRONTIER, REFERENCE_METRICS, REWARD_MODEL_METRICS, Run, published, read_stage_metrics, write_frontier,
};

use crate::cli::PublishOptions;
use crate::exit::{BadInput, Outcome};
use crate::imdb_frontier::ablations::{page, record};
use crate::imdb_frontier::plan::REFERENCE_SAMPLES;
use crate::imdb_frontier::results::{Study, is_study};
use crate::imdb_frontier::{report, samples};
use crate::study::manifest::MANIFEST;

/// `experiments publish OUT DIR`.
pub fn run(options: &PublishOptions) -> Result<Outcome> {
    let (from, to) = (options.out.as_path(), options.dir.as_path());
    if !is_study(from) {
        let found = format!("{}: no {MANIFEST}", from.display());
        return Err(BadInput(format!("{found}; expected a folder that imdb-frontier wrote")).into());
    }
    if is_study(to) && !published::is_published(to) {
        let found = format!("{} is a study's own folder", to.display());
        return Err(BadInput(format!("{found}; expected a new folder, or a copy published before")).into());
    }
    let study = Study::read(from)?;
    std::fs::create_dir_all(to).map_err(|error| BadInput(format!("{}: {error}", to.display())))?;
    write_frontier(to.join(FRONTIER), &Run::rows(&study.runs))?;
    published::write(to, &study.runs, &study.samples)?;
    samples::publish(from, to, &study.runs)?;
    for name in [REFERENCE_METRICS, REWARD_MODEL_METRICS] {
        if let Some(metrics) = read_stage_metrics(from, name)? {
            published::write_stage_metrics(to, name, &metrics)?;
        }
    }
    for name in [MANIFEST, REFERENCE_SAMPLES] {
        copy(from, to, name)?;
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

fn copy(from: &Path, to: &Path, name: &str) -> Result<()> {
    let source = from.join(name);
    std::fs::copy(&source, to.join(name)).with_context(|| source.display().to_string())?;
    Ok(())
}
