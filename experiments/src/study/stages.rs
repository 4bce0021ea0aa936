//! Stages: work that several runs share, done once and then found again by its key.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use serde_json::Value;

use crate::exit::BadInput;
use crate::progress::Progress;
use crate::study::folder::{Folder, Marker, Standing};
use crate::study::work::{RunWork, StageWork};

/// A stage that is finished, now or before.
#[derive(Clone, Debug)]
pub struct Finished {
    pub name: String,
    pub marker: Marker,
}

/// Does a stage unless it is done. The work returns the tokens it processed and notes for the manifest.
pub fn stage(
    folder: &Folder,
    progress: &Progress,
    stage: &StageWork,
    work: impl FnOnce(&Path) -> Result<(u64, Value)>,
) -> Result<Finished> {
    let name = stage.name.as_str();
    if let Some(marker) = folder.recorded_stage(stage) {
        tracing::info!("{name}: not needed, as recorded");
        return Ok(Finished { name: name.to_owned(), marker });
    }
    match folder.stage_standing(stage) {
        Standing::Finished(marker) => {
            tracing::info!("{name}: reused");
            return Ok(Finished { name: name.to_owned(), marker });
        }
        Standing::Damaged(how) => tracing::warn!("{name} is done again; {how}"),
        Standing::Open => {}
    }
    let dir = folder.begin_stage(name)?;
    let task = progress.task(name, 0);
    let started = Instant::now();
    let (tokens, notes) = work(&dir)?;
    let seconds = started.elapsed().as_secs_f64();
    let marker = Marker { key: stage.key.clone(), seconds, tokens, notes };
    folder.finish_stage(stage, &marker)?;
    task.done("");
    Ok(Finished { name: name.to_owned(), marker })
}

/// The stages of a study that were finished before, in order, here or elsewhere; an error
/// names those that were not.
pub fn finished(stages: &[StageWork], folder: &Folder) -> Result<Vec<Finished>> {
    let (mut finished, mut missing) = (Vec::new(), Vec::new());
    for stage in stages {
        match folder.stage_standing(stage).marker().or_else(|| folder.recorded_stage(stage)) {
            Some(marker) => finished.push(Finished { name: stage.name.clone(), marker }),
            None => missing.push(stage),
        }
    }
    refuse_missing(&missing, folder)?;
    Ok(finished)
}

/// Makes sure that the stages that a run needs are finished, with all their files here.
pub fn ready(stages: &[StageWork], run: &RunWork, folder: &Folder) -> Result<()> {
    let needed = stages.iter().filter(|stage| run.needs.contains(&stage.name));
    let missing: Vec<&StageWork> =
        needed.filter(|stage| folder.stage_standing(stage).marker().is_none()).collect();
    refuse_missing(&missing, folder)
}

fn refuse_missing(missing: &[&StageWork], folder: &Folder) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = missing
        .iter()
        .map(|stage| match folder.stage_standing(stage) {
            Standing::Damaged(how) => format!("{} ({how})", stage.name),
            Standing::Finished(_) | Standing::Open => stage.name.clone(),
        })
        .collect();
    let found = format!("{}: stages not finished: {}", folder.root().display(), names.join(", "));
    Err(BadInput(format!("{found}; `imdb-frontier --stages-only` does them")).into())
}
