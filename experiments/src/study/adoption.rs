//! Work that another folder has finished already, with the same key, or that committed evidence records:
//! taken over instead of done again.

use std::path::Path;

use anyhow::{Context, Result};

use crate::study::folder::{Folder, Marker};
use crate::study::work::{RunWork, StageWork};

/// Where finished runs are found.
pub trait Source {
    /// What a run with this name and key says of itself, if it is finished there.
    fn finished(&self, run: &RunWork) -> Option<Marker>;

    /// Puts its files into an empty folder.
    fn give(&self, run: &RunWork, into: &Path) -> Result<()>;
}

impl Source for Folder {
    fn finished(&self, run: &RunWork) -> Option<Marker> {
        self.finished_run(&run.name, &run.key)
    }

    fn give(&self, run: &RunWork, into: &Path) -> Result<()> {
        link_files(&self.run(&run.name), into, &[])
    }
}

/// Takes over every run that `folder` lacks and `source` has, and says how many these are.
pub fn adopt_runs(runs: &[RunWork], folder: &Folder, source: &impl Source) -> Result<usize> {
    let mut adopted = 0;
    for run in runs {
        if folder.finished_run(&run.name, &run.key).is_some() {
            continue;
        }
        if let Some(marker) = source.finished(run) {
            source.give(run, &folder.begin_run(&run.name)?)?;
            folder.finish_run(&run.name, &marker)?;
            adopted += 1;
        }
    }
    Ok(adopted)
}

/// Takes over every stage and run that `folder` lacks and one of `siblings` has.
pub fn adopt(stages: &[StageWork], runs: &[RunWork], folder: &Folder, siblings: &[Folder]) -> Result<()> {
    let mut adopted = 0;
    for stage in stages {
        let marker = |of: &Folder| of.stage_standing(stage).marker();
        if marker(folder).is_some() {
            continue;
        }
        let found = siblings.iter().find_map(|sibling| Some((sibling, marker(sibling)?)));
        if let Some((source, marker)) = found {
            folder.begin_stage(&stage.name)?;
            copy_results(stage.results, source, folder)?;
            link_files(&source.stage(&stage.name), &folder.stage(&stage.name), &["done.json"])?;
            folder.finish_stage(stage, &marker)?;
            adopted += 1;
        }
    }
    for sibling in siblings {
        adopted += adopt_runs(runs, folder, sibling)?;
    }
    if adopted > 0 {
        tracing::info!(
            "{adopted} stages and runs taken over from folders beside {}",
            folder.root().display()
        );
    }
    Ok(())
}

/// Copies what a stage left in the output folder itself.
fn copy_results(names: &[&str], source: &Folder, folder: &Folder) -> Result<()> {
    for name in names {
        // Copied: the stage writes into these files, and a link would let it into the other folder.
        std::fs::copy(source.file(name), folder.file(name)).with_context(|| (*name).to_owned())?;
    }
    Ok(())
}

/// Links, or where that is not possible copies, all files of a folder but `except`. Work that is done again
/// begins in a new folder, so links do not tie the two.
fn link_files(from: &Path, to: &Path, except: &[&str]) -> Result<()> {
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name();
        if except.iter().any(|skipped| name == *skipped) {
            continue;
        }
        let (source, target) = (entry.path(), to.join(&name));
        if entry.file_type()?.is_dir() {
            std::fs::create_dir_all(&target).with_context(|| target.display().to_string())?;
            link_files(&source, &target, &[])?;
        } else if std::fs::hard_link(&source, &target).is_err() {
            std::fs::copy(&source, &target).with_context(|| target.display().to_string())?;
        }
    }
    Ok(())
}
