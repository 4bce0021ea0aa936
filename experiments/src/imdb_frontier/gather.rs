//! `experiments gather`: the end of a study, from its finished stages and runs.

use anyhow::Result;

use crate::cli::GatherOptions;
use crate::exit::{BadInput, Outcome};
use crate::imdb_frontier::plan::Plan;
use crate::imdb_frontier::planned::Planned;
use crate::imdb_frontier::work::Work;
use crate::imdb_frontier::{flops, report};
use crate::study::folder::{Folder, read_json};
use crate::study::interrupt;
use crate::study::manifest::{MANIFEST, Manifest, RunRecord, StageRecord, run_records, runs_status};
use crate::study::stages::{self, Finished};

/// `experiments gather OUT`.
pub fn gather(options: &GatherOptions) -> Result<Outcome> {
    let (folder, planned) = Planned::read(&options.out)?;
    let work = planned.work()?;
    let _lock = folder.lock()?;
    let finished = stages::finished(&work.stages, &folder)?;
    let mut manifest: Manifest = read_json(&folder.file(MANIFEST))?;
    record_stages(&mut manifest, &work.plan, &folder, &finished)?;
    manifest.runs = run_records(&work.runs, &folder, &[]);
    let missing: Vec<&str> =
        manifest.runs.iter().filter(|run| !run.is_done()).map(|run| run.name.as_str()).collect();
    if missing.len() == work.runs.len() {
        return Err(BadInput(format!("{}: no run is finished", folder.root().display())).into());
    }
    if !missing.is_empty() {
        tracing::warn!("{} of {} runs not finished: {}", missing.len(), work.runs.len(), missing.join(", "));
    }
    finish(&work, &folder, &mut manifest)
}

/// The frontier, the manifest and the report, when every run has ended.
pub fn finish(work: &Work, folder: &Folder, manifest: &mut Manifest) -> Result<Outcome> {
    let done = manifest.runs.iter().all(RunRecord::is_done);
    manifest.status = runs_status(&manifest.runs);
    report::collect(&work.runs, folder)?;
    // The report shows the manifest, so it is written before.
    manifest.write(folder)?;
    report::draw(folder.root())?;
    interrupt::forget_record();
    tracing::info!("{}", folder.file("report.html").display());
    Ok(if done { Outcome::Done } else { Outcome::SomeRunsFailed })
}

/// Tells the manifest of the finished stages.
pub fn record_stages(
    manifest: &mut Manifest,
    plan: &Plan,
    folder: &Folder,
    finished: &[Finished],
) -> Result<()> {
    if folder.stage("reference").join("config.json").is_file() {
        manifest.flops = flops::of_methods(plan, folder, finished)?;
    } else {
        // Nothing was left to compute here, not even the reference: the evidence has told them.
        manifest.flops.retain(|name, _| plan.runs.iter().any(|run| run.method.name() == name));
    }
    manifest.stages = finished.iter().map(StageRecord::new).collect();
    Ok(())
}
