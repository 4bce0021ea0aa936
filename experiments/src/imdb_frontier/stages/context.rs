//! What the stages work with.

use std::cell::OnceCell;
use std::path::Path;

use anyhow::{Context as _, Result};
use burn::tensor::Device;
use imdb::Reviews;
use serde_json::Value;

use crate::imdb_frontier::plan::Plan;
use crate::imdb_frontier::reviews;
use crate::progress::Progress;
use crate::study::folder::Folder;
use crate::study::stages::{self, Finished};

/// What the stages work with.
pub struct Context<'a> {
    pub plan: &'a Plan,
    pub folder: &'a Folder,
    pub device: &'a Device,
    pub progress: &'a Progress,
    reviews: OnceCell<Reviews>,
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
        let reviews = reviews::load(&self.plan.source, self.plan.preset.data_seed)?;
        Ok(self.reviews.get_or_init(|| reviews))
    }

    /// Does a stage unless it is done; see [`crate::study::stages::stage`].
    pub fn stage(
        &self,
        name: &'static str,
        work: impl FnOnce(&Path) -> Result<(u64, Value)>,
    ) -> Result<Finished> {
        let stages = self.plan.stage_work();
        let stage = stages.iter().find(|stage| stage.name == name);
        stages::stage(self.folder, self.progress, stage.context(name)?, work)
    }
}
