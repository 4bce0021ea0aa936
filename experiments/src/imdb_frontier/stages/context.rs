//! What the stages work with.

use std::cell::OnceCell;
use std::path::Path;

use anyhow::{Context as _, Result};
use burn::tensor::Device;
use imdb::Reviews;
use serde_json::Value;

use crate::exit::BadInput;
use crate::imdb_frontier::plan::Plan;
use crate::imdb_frontier::reviews::{self, Identity};
use crate::imdb_frontier::work::Work;
use crate::progress::Progress;
use crate::study::folder::Folder;
use crate::study::stages::{self, Finished};
use crate::study::work::StageWork;

/// What the stages work with.
pub struct Context<'a> {
    pub plan: &'a Plan,
    pub folder: &'a Folder,
    pub device: &'a Device,
    pub progress: &'a Progress,
    stages: &'a [StageWork],
    identity: &'a Identity,
    reviews: OnceCell<Reviews>,
}

impl<'a> Context<'a> {
    /// `reviews`, if they have been read.
    pub fn new(
        work: &'a Work,
        folder: &'a Folder,
        (identity, reviews): (&'a Identity, Option<Reviews>),
        device: &'a Device,
        progress: &'a Progress,
    ) -> Self {
        let reviews = reviews.map_or_else(OnceCell::new, OnceCell::from);
        Self { plan: &work.plan, stages: &work.stages, folder, device, progress, identity, reviews }
    }

    /// The reviews, read when the first stage needs them, if they were not to find out what they are.
    pub fn reviews(&self) -> Result<&Reviews> {
        if let Some(reviews) = self.reviews.get() {
            return Ok(reviews);
        }
        let reviews = reviews::load(&self.plan.source, self.plan.preset.data_seed)?;
        let (found, expected) = (&reviews.origin.content_sha256, &self.identity.origin.content_sha256);
        if found != expected {
            let found = format!("content {found}, expected {expected}");
            let why = "they changed while they were in use";
            return Err(BadInput(format!("reviews from {}: {why}: found {found}", self.plan.source)).into());
        }
        Ok(self.reviews.get_or_init(|| reviews))
    }

    /// Does a stage unless it is done; see [`crate::study::stages::stage`].
    pub fn stage(&self, name: &str, work: impl FnOnce(&Path) -> Result<(u64, Value)>) -> Result<Finished> {
        let stage = self.stages.iter().find(|stage| stage.name == name);
        stages::stage(self.folder, self.progress, stage.with_context(|| name.to_owned())?, work)
    }
}
