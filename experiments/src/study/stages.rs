//! Stages: work that several runs share, done once and then found again by its key.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use serde_json::Value;

use crate::exit::BadInput;
use crate::progress::Progress;
use crate::study::folder::{Folder, Marker, Standing};
use crate::study::work::StageWork;

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

/// The stages of a study that were finished before, in order; an error names those that were not.
pub fn finished(stages: &[StageWork], folder: &Folder) -> Result<Vec<Finished>> {
    let (mut finished, mut missing) = (Vec::new(), Vec::new());
    for stage in stages {
        match folder.stage_standing(stage) {
            Standing::Finished(marker) => finished.push(Finished { name: stage.name.clone(), marker }),
            Standing::Damaged(how) => missing.push(format!("{} ({how})", stage.name)),
            Standing::Open => missing.push(stage.name.clone()),
        }
    }
    if missing.is_empty() {
        return Ok(finished);
    }
    let found = format!("{}: stages not finished: {}", folder.root().display(), missing.join(", "));
    Err(BadInput(format!("{found}; `imdb-frontier --stages-only` does them")).into())
}
