//! `experiments ablations`: the same study with one thing changed at a time.

use std::io::Write;
use std::path::Path;

use anyhow::Result;

use crate::cli::{AblationOptions, FrontierOptions, PlanFormat, StudyOptions};
use crate::exit::{BadInput, Outcome};
use crate::imdb_frontier::ablations::page::draw;
use crate::imdb_frontier::ablations::record::{Ablations, FOLDER, RECORD, Variation};
use crate::imdb_frontier::plan::Plan;
use crate::imdb_frontier::preset::{self, folder_of};
use crate::imdb_frontier::results::is_study;
use crate::imdb_frontier::{command, report};
use crate::settings;
use crate::study::folder::{Folder, write_json};

const SHIPPED: &str = include_str!("../../presets/ablations.toml");

/// The shipped file by the name `ablations`, or another by its path. `overrides` come last in every
/// variation.
fn load(name: &str, overrides: &[String]) -> Result<Ablations> {
    let mut ablations: Ablations = if name == "ablations" {
        settings::read_text(name, SHIPPED, SHIPPED, &[])?
    } else {
        settings::read_file(Path::new(name), SHIPPED, &[])?
    };
    for variation in &mut ablations.variation {
        variation.set.extend(overrides.iter().cloned());
    }
    Ok(ablations)
}

/// What `imdb-frontier` would be given for a variation.
fn options(
    ablations: &Ablations,
    variation: &Variation,
    out: &Path,
    study: &StudyOptions,
) -> FrontierOptions {
    FrontierOptions {
        preset: ablations.base.clone(),
        out: Some(out.join(&variation.name)),
        evidence: None,
        stages_only: false,
        format: PlanFormat::Table,
        study: StudyOptions {
            overrides: ablations.set.iter().chain(&variation.set).cloned().collect(),
            ..study.clone()
        },
    }
}

/// `experiments ablations`.
pub fn run(AblationOptions { preset, out, study }: &AblationOptions) -> Result<Outcome> {
    let ablations = load(preset, &study.overrides)?;
    let out = out.clone().unwrap_or_else(|| folder_of(&ablations.base).join(FOLDER));
    let studies: Vec<FrontierOptions> =
        ablations.variation.iter().map(|variation| options(&ablations, variation, &out, study)).collect();
    // All are checked before the first begins.
    for (of_variation, variation) in studies.iter().zip(&ablations.variation) {
        let settings = preset::load(&of_variation.preset, &of_variation.study.overrides)?;
        let plan = Plan::new(settings, &study.data)?;
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
        if command::study(of_variation, &siblings(&out, &variation.name))? != Outcome::Done {
            outcome = Outcome::SomeRunsFailed;
        }
    }
    draw(&out)?;
    tracing::info!("{}", out.join("ABLATIONS.md").display());
    if let Some(base) = out.parent().filter(|parent| out.ends_with(FOLDER) && is_study(parent)) {
        report::draw(base)?;
        tracing::info!("{}", base.join("report.html").display());
    }
    Ok(outcome)
}

/// Folders that may have finished the same work: the study that `out` lies in, other
/// variations, and studies beside.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suspect_has_a_variation_in_the_shipped_file() {
        let ablations = load("ablations", &[]).unwrap();
        for suspect in ["optimiser", "step size", "batch", "samples", "labels", "capacity"] {
            assert!(ablations.variation.iter().any(|variation| variation.suspect == suspect), "{suspect}");
        }
        for variation in &ablations.variation {
            let overrides: Vec<String> = ablations.set.iter().chain(&variation.set).cloned().collect();
            let preset = preset::load(&ablations.base, &overrides).unwrap();
            let plan = Plan::new(preset, &imdb::Source::Embedded).unwrap();
            assert!(!plan.runs.is_empty(), "{}", variation.name);
        }
    }
}
