//! The record of a study's variations.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use lm::{Config, Problem};
use serde::{Deserialize, Serialize};

use crate::settings::FromFile;
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

impl Config for Ablations {
    fn problems(&self) -> Vec<Problem> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let expected = "letters, digits, - and _, and every name once";
        let mut names = BTreeSet::new();
        let any = Problem::unless(!self.variation.is_empty(), "variation", "none", "the base at least");
        let mut problems: Vec<Problem> = any.into_iter().collect();
        for (index, Variation { name, .. }) in self.variation.iter().enumerate() {
            let possible = !name.is_empty() && name.chars().all(plain) && names.insert(name);
            let key = format!("variation[{index}].name");
            problems.extend(Problem::unless(possible, key, format!("`{name}`"), expected));
        }
        problems
    }
}

impl FromFile for Ablations {}

/// The variations of an output folder.
pub fn read(dir: &Path) -> Result<Ablations> {
    read_json(&dir.join(RECORD))
}
