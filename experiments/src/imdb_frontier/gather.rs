//! `experiments gather`: the end of a study, from its finished stages and runs.

use anyhow::Result;
use imdb::Route;
use lm::device::Precision;
use serde_json::Value;

use crate::cli::GatherOptions;
use crate::exit::{BadInput, Outcome};
use crate::imdb_frontier::plan::Plan;
use crate::imdb_frontier::run::planned;
use crate::imdb_frontier::{flops, report};
use crate::study::interrupt;
use crate::study::folder::{Folder, read_json};
use crate::study::manifest::{MANIFEST, Manifest, StageRecord, run_records};
use crate::study::stages::{self, Finished};

/// `experiments gather OUT`.
pub fn gather(options: &GatherOptions) -> Result<Outcome> {
    let manifest = read_json::<Manifest>(&options.out.join(MANIFEST));
    // What is finished in one precision is not in the other.
    let precision = manifest.as_ref().ok().and_then(|manifest| manifest.precision.as_deref()?.parse().ok());
    let (folder, plan) = planned(&options.out, precision.unwrap_or(Precision::F32))?;
    let _lock = folder.lock()?;
    let finished = stages::finished(&plan.stage_work(), &folder)?;
    let mut manifest = manifest?;
    record_stages(&mut manifest, &plan, &folder, &finished)?;
    manifest.runs = run_records(&plan.run_work(), &folder, &[]);
    let missing: Vec<&str> =
        manifest.runs.iter().filter(|run| run.status != "done").map(|run| run.name.as_str()).collect();
    if missing.len() == plan.runs.len() {
        return Err(BadInput(format!("{}: no run is finished", folder.root().display())).into());
    }
    if !missing.is_empty() {
        tracing::warn!("{} of {} runs not finished: {}", missing.len(), plan.runs.len(), missing.join(", "));
    }
    finish(&plan, &folder, &mut manifest)
}

/// The frontier, the manifest and the report, when every run has ended.
pub fn finish(plan: &Plan, folder: &Folder, manifest: &mut Manifest) -> Result<Outcome> {
    let failed = manifest.runs.iter().any(|run| run.status != "done");
    if failed { "some runs failed" } else { "done" }.clone_into(&mut manifest.status);
    report::collect(plan, folder)?;
    // The report shows the manifest, so it is written before.
    manifest.write(folder)?;
    report::draw(folder.root())?;
    interrupt::forget_record();
    tracing::info!("{}", folder.file("report.html").display());
    Ok(if failed { Outcome::SomeRunsFailed } else { Outcome::Done })
}

/// Tells the manifest of the finished stages.
pub fn record_stages(
    manifest: &mut Manifest,
    plan: &Plan,
    folder: &Folder,
    finished: &[Finished],
) -> Result<()> {
    manifest.embedded = embedded(finished);
    let methods = plan.runs.iter().map(|run| run.method);
    manifest.flops = Some(flops::of_methods(methods, &plan.preset, folder, finished)?);
    manifest.stages = finished.iter().map(StageRecord::new).collect();
    Ok(())
}

fn embedded(finished: &[Finished]) -> bool {
    let route = |stage: &Finished| stage.marker.notes.pointer("/data/origin/route").cloned();
    let embedded = serde_json::to_value(Route::Embedded).unwrap_or(Value::Null);
    finished.iter().filter_map(route).any(|route| route == embedded)
}
