//! The stages that all runs share. Each leaves its results in a folder of the cache, and is done again only when
//! something that it depends on has changed.

pub mod data;
pub mod ground_truth;
pub mod reference;
pub mod shared;

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use burn::tensor::Device;
use imdb::Reviews;
use serde_json::Value;

use crate::exit::BadInput;
use crate::folder::{Folder, Marker};
use crate::plan::Plan;
use crate::progress::Progress;

/// What the stages work with.
pub struct Context<'a> {
    pub plan: &'a Plan,
    pub folder: &'a Folder,
    pub device: &'a Device,
    pub progress: &'a Progress,
    reviews: OnceCell<Reviews>,
}

/// A stage that is finished, now or before.
#[derive(Clone, Debug)]
pub struct Finished {
    pub name: &'static str,
    pub marker: Marker,
}

impl<'a> Context<'a> {
    pub fn new(plan: &'a Plan, folder: &'a Folder, device: &'a Device, progress: &'a Progress) -> Self {
        Self { plan, folder, device, progress, reviews: OnceCell::new() }
    }

    /// The reviews, read when the first stage needs them.
    pub fn reviews(&self) -> Result<&Reviews> {
        if let Some(reviews) = self.reviews.get() {
            return Ok(reviews);
        }
        let reviews = data::load(&self.plan.source, self.plan.preset.data_seed)?;
        Ok(self.reviews.get_or_init(|| reviews))
    }

    /// Does a stage unless it is done. The work returns the tokens it processed and notes for the manifest.
    fn stage(
        &self,
        name: &'static str,
        key: &str,
        work: impl FnOnce(&Path) -> Result<(u64, Value)>,
    ) -> Result<Finished> {
        if let Some(marker) = self.folder.finished_stage(name, key) {
            tracing::info!("{name}: reused");
            return Ok(Finished { name, marker });
        }
        let dir = self.folder.begin_stage(name)?;
        let task = self.progress.task(name, 0);
        let started = Instant::now();
        let (tokens, notes) = work(&dir)?;
        let marker = Marker { key: key.to_owned(), seconds: started.elapsed().as_secs_f64(), tokens, notes };
        self.folder.finish_stage(name, &marker)?;
        task.done("");
        Ok(Finished { name, marker })
    }
}

/// All stages in order.
pub fn all(context: &Context<'_>) -> Result<Vec<Finished>> {
    Ok(vec![
        reference::stage(context)?,
        ground_truth::stage(context)?,
        shared::prompts(context)?,
        shared::reference_samples(context)?,
        shared::preferences(context)?,
        shared::reward_model(context)?,
    ])
}

/// The stages that were finished before, in order; an error names those that were not.
pub fn finished(plan: &Plan, folder: &Folder) -> Result<Vec<Finished>> {
    let (mut finished, mut missing) = (Vec::new(), Vec::new());
    for (name, key) in plan.keys.named() {
        match folder.finished_stage(name, key) {
            Some(marker) => finished.push(Finished { name, marker }),
            None => missing.push(name),
        }
    }
    if missing.is_empty() {
        return Ok(finished);
    }
    let found = format!("{}: stages not finished: {}", folder.root().display(), missing.join(", "));
    Err(BadInput(format!("{found}; `imdb-frontier --stages-only` does them")).into())
}

/// A file or folder of the repository's `data`: seen from the repository's root as records show it, or from anywhere
/// else by the path that this program was built at.
pub fn shipped(name: &str) -> PathBuf {
    let here = Path::new("data");
    if here.join("README.md").is_file() {
        return here.join(name);
    }
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data").join(name)
}
