//! `experiments imdb-frontier`: preset, plan, stages, runs, report; and `gather`, which is its end alone.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, Result};
use imdb::Route;
use lm::OpenDevice;
use lm::device::Precision;
use serde_json::Value;

use crate::children::{self, Ending};
use crate::cli::{FrontierOptions, GatherOptions, PlanFormat, StudyOptions};
use crate::devices::Needs;
use crate::exit::{BadInput, Interrupted, Outcome};
use crate::folder::{Folder, read_json, write_json};
use crate::manifest::{Environment, Manifest, StageRecord, differences, run_records};
use crate::plan::{Plan, RunSpec};
use crate::progress::Progress;
use crate::run::{PRESET_FILE, SOURCE_FILE, planned};
use crate::stages::{self, Context, Finished};
use crate::{adopt, estimate, flops, preset, report, schedule};

/// `experiments imdb-frontier`.
pub fn run(options: &FrontierOptions) -> Result<Outcome> {
    study(options, &[])
}

/// One study, with what finished studies in `siblings` have done of it already.
pub fn study(options: &FrontierOptions, siblings: &[Folder]) -> Result<Outcome> {
    let StudyOptions { data, device, jobs, overrides, plan: only_plan } = &options.study;
    let preset = preset::load(&options.preset, overrides)?;
    let plan = Plan::new(preset, data, device.precision)?;
    // The commands are often written where the device is not: on a cluster's login node.
    if options.format == PlanFormat::Commands {
        schedule::print(&plan, options)?;
        return Ok(Outcome::Done);
    }
    // The device is opened before any work, so that a missing one costs nothing.
    let needs = Needs::of(&plan.preset)?;
    let open = device.open(needs.parameters)?;
    let jobs = jobs.map_or_else(|| open.default_jobs(needs.bytes), usize::from);
    if *only_plan {
        estimate::print(&plan, jobs)?;
        return Ok(Outcome::Done);
    }
    let folder = Folder::new(&options.out.clone().unwrap_or_else(|| folder_of(&options.preset)));
    let mut manifest = new_manifest(options, &plan, &open, jobs)?;
    let _lock = folder.lock()?;
    refuse_other_preset(&folder, &manifest)?;
    if options.stages_only && stages_recorded(&plan, &folder) {
        tracing::info!("all stages finished before");
        return Ok(Outcome::Done);
    }
    adopt::adopt(&plan, &folder, siblings)?;
    let interrupted = on_interrupt()?;
    write_json(&folder.cache().join(PRESET_FILE), &plan.preset)?;
    write_json(&folder.cache().join(SOURCE_FILE), &plan.source)?;
    write_json(&folder.file(MANIFEST), &manifest)?;

    let progress = Progress::new();
    let finished = stages::all(&Context::new(&plan, &folder, &open.device, &progress));
    if interrupted.load(Ordering::SeqCst) {
        return stop(&folder, &mut manifest);
    }
    record_stages(&mut manifest, &plan, &folder, &finished?)?;
    write_json(&folder.file(MANIFEST), &manifest)?;
    if options.stages_only {
        return Ok(Outcome::Done);
    }

    let waiting: Vec<&RunSpec> =
        plan.runs.iter().filter(|spec| folder.finished_run(&spec.name, &spec.key).is_none()).collect();
    tracing::info!("{} runs, {} of them finished before", plan.runs.len(), plan.runs.len() - waiting.len());
    let endings = children::run_all(&waiting, jobs, &folder, &open.pool(), &progress, &interrupted)?;
    let ended: Vec<(String, Ending)> = waiting.iter().map(|spec| spec.name.clone()).zip(endings).collect();
    manifest.runs = run_records(&plan, &folder, &ended);
    if interrupted.load(Ordering::SeqCst) {
        return stop(&folder, &mut manifest);
    }
    finish(&plan, &folder, &mut manifest)
}

/// `experiments gather OUT`.
pub fn gather(options: &GatherOptions) -> Result<Outcome> {
    let manifest = read_json::<Manifest>(&options.out.join(MANIFEST));
    // What is finished in one precision is not in the other.
    let precision = manifest.as_ref().ok().and_then(|manifest| manifest.precision.as_deref()?.parse().ok());
    let (folder, plan) = planned(&options.out, precision.unwrap_or_default())?;
    let _lock = folder.lock()?;
    let finished = stages::finished(&plan, &folder)?;
    let mut manifest = manifest?;
    record_stages(&mut manifest, &plan, &folder, &finished)?;
    manifest.runs = run_records(&plan, &folder, &[]);
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
fn finish(plan: &Plan, folder: &Folder, manifest: &mut Manifest) -> Result<Outcome> {
    let failed = manifest.runs.iter().any(|run| run.status != "done");
    if failed { "some runs failed" } else { "done" }.clone_into(&mut manifest.status);
    report::collect(plan, folder)?;
    // The report shows the manifest, so it is written before.
    write_json(&folder.file(MANIFEST), manifest)?;
    report::draw(folder.root())?;
    tracing::info!("{}", folder.file("report.html").display());
    Ok(if failed { Outcome::SomeRunsFailed } else { Outcome::Done })
}

fn record_stages(manifest: &mut Manifest, plan: &Plan, folder: &Folder, finished: &[Finished]) -> Result<()> {
    manifest.embedded = embedded(finished);
    manifest.flops =
        Some(flops::of_methods(plan.runs.iter().map(|run| run.method), &plan.preset, folder, finished)?);
    manifest.stages = finished.iter().map(StageRecord::new).collect();
    Ok(())
}

/// Whether all stages are finished and the manifest says so: then a manifest that tells of runs is not begun anew.
fn stages_recorded(plan: &Plan, folder: &Folder) -> bool {
    let recorded = |manifest: Manifest| !manifest.stages.is_empty();
    stages::finished(plan, folder).is_ok() && read_json(&folder.file(MANIFEST)).is_ok_and(recorded)
}

/// The manifest's name in an output folder.
pub const MANIFEST: &str = "manifest.json";

/// Where a preset's results go unless the command line says otherwise.
pub fn folder_of(preset: &str) -> PathBuf {
    Path::new("results/imdb-frontier").join(Path::new(preset).file_stem().unwrap_or_default())
}

fn new_manifest(options: &FrontierOptions, plan: &Plan, open: &OpenDevice, jobs: usize) -> Result<Manifest> {
    Ok(Manifest {
        status: "running".to_owned(),
        preset_name: options.preset.clone(),
        overrides: options.study.overrides.clone(),
        preset: serde_json::to_value(&plan.preset)?,
        data: plan.source.to_string(),
        embedded: false,
        device: open.spec.to_string(),
        adapter: Some(open.facts.name.clone()),
        driver: Some(open.facts.driver.clone()),
        precision: Some(open.spec.precision.to_string()),
        jobs,
        environment: Environment::here(),
        flops: None,
        cold_build: read_json(&stages::shipped("../results/cold_build.json")).ok(),
        stages: Vec::new(),
        runs: Vec::new(),
    })
}

/// An output folder belongs to one configuration.
fn refuse_other_preset(folder: &Folder, manifest: &Manifest) -> Result<()> {
    let Ok(before) = read_json::<Manifest>(&folder.file(MANIFEST)) else { return Ok(()) };
    let mut keys = differences(&before.preset, &manifest.preset);
    // What an earlier version wrote without a word on it was f32.
    let precision = |of: &Manifest| of.precision.clone().unwrap_or_else(|| Precision::F32.to_string());
    let [there, here] = [&before, manifest].map(precision);
    if there != here {
        keys.push(format!("--precision (there {there}, here {here})"));
    }
    if keys.is_empty() {
        return Ok(());
    }
    Err(BadInput(format!(
        "{} holds results of another configuration; give another --out, or remove it. Keys that differ:\n  {}",
        folder.root().display(),
        keys.join("\n  ")
    ))
    .into())
}

fn embedded(finished: &[Finished]) -> bool {
    let route = |stage: &Finished| stage.marker.notes.pointer("/data/origin/route").cloned();
    let embedded = serde_json::to_value(Route::Embedded).unwrap_or(Value::Null);
    finished.iter().filter_map(route).any(|route| route == embedded)
}

/// A flag that Ctrl-C or a request to terminate sets, the same for all studies of a process; a second one ends the
/// process at once.
fn on_interrupt() -> Result<Arc<AtomicBool>> {
    static FLAG: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    if let Some(flag) = FLAG.get() {
        return Ok(Arc::clone(flag));
    }
    let flag = Arc::clone(FLAG.get_or_init(Arc::default));
    let seen = Arc::clone(&flag);
    ctrlc::set_handler(move || {
        if seen.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        tracing::warn!("interrupted: stopping after the current piece of work; once more stops at once");
    })
    .context("a handler for Ctrl-C")?;
    Ok(flag)
}

fn stop(folder: &Folder, manifest: &mut Manifest) -> Result<Outcome> {
    "interrupted".clone_into(&mut manifest.status);
    write_json(&folder.file(MANIFEST), manifest)?;
    Err(Interrupted.into())
}
