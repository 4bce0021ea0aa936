//! Work that another folder has finished already, with the same key: taken over instead of done again.

use std::path::Path;

use anyhow::{Context, Result};

use crate::folder::Folder;
use crate::plan::Plan;
use crate::stages::shared::{REFERENCE_SAMPLES, REFERENCE_SCORES};

/// Takes over every stage and run of `plan` that `folder` lacks and one of `siblings` has.
pub fn adopt(plan: &Plan, folder: &Folder, siblings: &[Folder]) -> Result<()> {
    let mut adopted = 0;
    for (name, key) in plan.keys.named() {
        let lacks = folder.finished_stage(name, key).is_none();
        let source = siblings.iter().find(|sibling| lacks && sibling.finished_stage(name, key).is_some());
        let Some(source) = source else { continue };
        let Some(marker) = source.finished_stage(name, key) else { continue };
        if name == "reference-samples" && !adopt_samples(source, folder)? {
            continue;
        }
        folder.begin_stage(name)?;
        link_files(&source.stage(name), &folder.stage(name), &["done.json"])?;
        folder.finish_stage(name, &marker)?;
        adopted += 1;
    }
    for spec in &plan.runs {
        let marker = |of: &Folder| of.finished_run(&spec.name, &spec.key);
        if marker(folder).is_some() {
            continue;
        }
        let found = siblings.iter().find_map(|sibling| Some((sibling, marker(sibling)?)));
        if let Some((source, marker)) = found {
            folder.begin_run(&spec.name)?;
            link_files(&source.run(&spec.name), &folder.run(&spec.name), &[])?;
            folder.finish_run(&spec.name, &marker)?;
            adopted += 1;
        }
    }
    if adopted > 0 {
        tracing::info!(
            "{adopted} stages and runs taken over from folders beside {}",
            folder.root().display()
        );
    }
    Ok(())
}

/// The results that the stage leaves in the output folder itself; false if the source has lost them.
fn adopt_samples(source: &Folder, folder: &Folder) -> Result<bool> {
    let names = [REFERENCE_SCORES, REFERENCE_SAMPLES];
    if !names.iter().all(|name| source.file(name).is_file()) {
        return Ok(false);
    }
    for name in names {
        // Copied: the stage writes into these files, and a link would let it into the other folder.
        std::fs::copy(source.file(name), folder.file(name)).with_context(|| name.to_owned())?;
    }
    Ok(true)
}

/// Links, or where that is not possible copies, all files of a folder but `except`. Work that is done again begins in
/// a new folder, so links do not tie the two.
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
