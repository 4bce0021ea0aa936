//! The record of a study's variations.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::study::folder::read_json;

/// The record of the variations in an output folder: what the report goes by.
pub const RECORD: &str = "ablations.json";
/// The output folder, in that of the base study, whose report shows the outcome.
pub const FOLDER: &str = "ablations";

/// A base and its variations, as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ablations {
    /// A preset by name, or the path of a TOML file.
    pub base: String,
    /// Overrides of the base in every variation.
    pub set: Vec<String>,
    /// The variations; the first is what the others are compared with.
    pub variation: Vec<Variation>,
}

/// One variation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variation {
    /// The name of its folder.
    pub name: String,
    /// What it suspects of keeping a method from the optimum.
    pub suspect: String,
    /// Its overrides.
    pub set: Vec<String>,
}

/// The variations of an output folder.
pub fn read(dir: &Path) -> Result<Ablations> {
    read_json(&dir.join(RECORD))
}
