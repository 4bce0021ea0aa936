//! The plan as it stands in an output folder: made once, by the process that begins the study, and
//! read by all others of it. What they need is in the folder: none of them looks at the reviews or at
//! a model elsewhere again.

use std::path::Path;

use anyhow::Result;
use lm::device::Precision;
use serde::{Deserialize, Serialize};

use crate::exit::BadInput;
use crate::imdb_frontier::keys::StageKeys;
use crate::imdb_frontier::plan::Plan;
use crate::imdb_frontier::preset::Preset;
use crate::imdb_frontier::reviews::Identity;
use crate::imdb_frontier::work::Work;
use crate::study::folder::{Folder, read_json, write_json};

/// The plan's name in the folder's cache.
const PLAN: &str = "plan.json";

/// A study as it was begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    pub preset: Preset,
    /// What matrix products compute in.
    pub precision: String,
    pub reviews: Identity,
    pub keys: StageKeys,
}

impl Planned {
    pub fn new(preset: Preset, reviews: Identity, precision: Precision) -> Result<Self> {
        let keys = StageKeys::new(&preset, &reviews.origin, precision)?;
        Ok(Self { preset, precision: precision.name().to_owned(), reviews, keys })
    }

    pub fn write(&self, folder: &Folder) -> Result<()> {
        write_json(&folder.cache().join(PLAN), self)
    }

    /// The plan in a folder, if there is one.
    pub fn find(folder: &Folder) -> Option<Self> {
        read_json(&folder.cache().join(PLAN)).ok()
    }

    /// The plan in the output folder of a study whose stages are done.
    pub fn read(out: &Path) -> Result<(Folder, Self)> {
        let folder = Folder::new(out);
        let path = folder.cache().join(PLAN);
        if !path.is_file() {
            let expected = "expected a folder in which `imdb-frontier --stages-only` has done the stages";
            return Err(BadInput(format!("{}: no cache/{PLAN}; {expected}", out.display())).into());
        }
        let planned = read_json(&path)?;
        Ok((folder, planned))
    }

    /// All pieces of work of the study.
    pub fn work(&self) -> Result<Work> {
        Work::new(Plan::new(self.preset.clone(), &self.reviews.source)?, &self.keys)
    }

    /// What is finished in one precision is not in the other.
    pub fn refuse_other_precision(&self, here: Precision) -> Result<()> {
        if self.precision == here.name() {
            return Ok(());
        }
        let found = format!("found {here}, expected {}, as the stages are", self.precision);
        Err(BadInput(format!("--precision: {found}")).into())
    }
}
