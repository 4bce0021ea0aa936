//! `experiments ablations`: the same study with one thing changed at a time.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::cli::{AblationOptions, FrontierOptions, PlanFormat, StudyOptions};
use crate::exit::{BadInput, Outcome};
use crate::folder::{Folder, read_json, write_json};
use crate::plan::Plan;
use crate::{frontier_command, preset, report};

mod page;

pub use page::{Shown, draw, shown};

const SHIPPED: &str = include_str!("../presets/ablations.toml");

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

impl Ablations {
    /// The shipped file by the name `ablations`, or another by its path. `overrides` come last in every variation.
    fn load(name: &str, overrides: &[String]) -> Result<Self> {
        let mut ablations: Self = if name == "ablations" {
            preset::read_text(name, SHIPPED, SHIPPED, &[])?
        } else {
            preset::read_file(Path::new(name), SHIPPED, &[])?
        };
        for variation in &mut ablations.variation {
            variation.set.extend(overrides.iter().cloned());
        }
        let mut names = BTreeSet::new();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let bad =
            |name: &&str| name.is_empty() || !name.chars().all(plain) || !names.insert((*name).to_owned());
        if let Some(name) = ablations.variation.iter().map(|v| v.name.as_str()).find(bad) {
            let expected = "letters, digits, - and _, and every name once";
            return Err(
                BadInput(format!("ablations: variation.name: found `{name}`, expected {expected}")).into()
            );
        }
        if ablations.variation.is_empty() {
            return Err(
                BadInput("ablations: variation: found none, expected the base at least".to_owned()).into()
            );
        }
        Ok(ablations)
    }

    /// What `imdb-frontier` would be given for a variation.
    fn options(&self, variation: &Variation, out: &Path, study: &StudyOptions) -> FrontierOptions {
        FrontierOptions {
            preset: self.base.clone(),
            out: Some(out.join(&variation.name)),
            stages_only: false,
            format: PlanFormat::Table,
            study: StudyOptions {
                overrides: self.set.iter().chain(&variation.set).cloned().collect(),
                ..study.clone()
            },
        }
    }
}

/// `experiments ablations`.
pub fn run(AblationOptions { preset, out, study }: &AblationOptions) -> Result<Outcome> {
    let ablations = Ablations::load(preset, &study.overrides)?;
    let out = out.clone().unwrap_or_else(|| frontier_command::folder_of(&ablations.base).join(FOLDER));
    let studies: Vec<FrontierOptions> =
        ablations.variation.iter().map(|variation| ablations.options(variation, &out, study)).collect();
    // All are checked before the first begins.
    for (of_variation, variation) in studies.iter().zip(&ablations.variation) {
        let settings = preset::load(&of_variation.preset, &of_variation.study.overrides)?;
        let plan = Plan::new(settings, &study.data, study.device.precision)?;
        if study.plan {
            let runs: Vec<&str> = plan.runs.iter().map(|run| run.name.as_str()).collect();
            let mut stdout = std::io::stdout().lock();
            writeln!(stdout, "{} ({}): {}", variation.name, variation.suspect, runs.join(", "))?;
        }
    }
    if study.plan {
        return Ok(Outcome::Done);
    }
    std::fs::create_dir_all(&out)
        .map_err(|error| BadInput(format!("output folder {}: {error}", out.display())))?;
    write_json(&out.join(RECORD), &ablations)?;
    let mut outcome = Outcome::Done;
    for (of_variation, variation) in studies.iter().zip(&ablations.variation) {
        tracing::info!("variation {}: {}", variation.name, variation.suspect);
        if frontier_command::study(of_variation, &siblings(&out, &variation.name))? != Outcome::Done {
            outcome = Outcome::SomeRunsFailed;
        }
    }
    draw(&out)?;
    tracing::info!("{}", out.join("ABLATIONS.md").display());
    if let Some(base) = out.parent().filter(|parent| out.ends_with(FOLDER) && report::is_study(parent)) {
        report::draw(base)?;
        tracing::info!("{}", base.join("report.html").display());
    }
    Ok(outcome)
}

/// Folders that may have finished the same work: the study that `out` lies in, other variations, and studies beside.
fn siblings(out: &Path, own: &str) -> Vec<Folder> {
    let parents = [Some(out), out.parent()];
    let entries =
        parents.into_iter().flatten().filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten();
    let mut paths: Vec<_> =
        entries.map(|entry| entry.path()).chain(out.parent().map(Path::to_owned)).collect();
    // The order of a directory's entries is the file system's.
    paths.sort();
    let own = out.join(own);
    let others = paths.into_iter().filter(|path| *path != own);
    others.map(|path| Folder::new(&path)).filter(|folder| folder.cache().is_dir()).collect()
}

/// The variations of an output folder.
fn read(dir: &Path) -> Result<Ablations> {
    read_json(&dir.join(RECORD))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]
    use lm::device::Precision;

    use super::*;

    #[test]
    fn every_suspect_has_a_variation_in_the_shipped_file() {
        let ablations = Ablations::load("ablations", &[]).unwrap();
        for suspect in ["optimiser", "step size", "batch", "samples", "labels", "capacity"] {
            assert!(ablations.variation.iter().any(|variation| variation.suspect == suspect), "{suspect}");
        }
        for variation in &ablations.variation {
            let overrides: Vec<String> = ablations.set.iter().chain(&variation.set).cloned().collect();
            let preset = preset::load(&ablations.base, &overrides).unwrap();
            let plan = Plan::new(preset, &imdb::Source::Embedded, Precision::F32).unwrap();
            assert!(!plan.runs.is_empty(), "{}", variation.name);
        }
    }
}
