//! `experiments imdb-frontier`: preset, plan, stages, runs, report.

use anyhow::Result;
use lm::OpenDevice;
use lm::device::Precision;

use crate::cli::{FrontierOptions, PlanFormat, StudyOptions};
use crate::exit::{BadInput, Interrupted, Outcome};
use crate::imdb_frontier::gather::{finish, record_stages};
use crate::imdb_frontier::needs::Needs;
use crate::imdb_frontier::plan::Plan;
use crate::imdb_frontier::preset::{self, folder_of};
use crate::imdb_frontier::run::{PRESET_FILE, SOURCE_FILE};
use crate::imdb_frontier::stages::context::Context;
use crate::imdb_frontier::{estimate, schedule, stages};
use crate::study::interrupt::Watch;
use crate::progress::Progress;
use crate::repository;
use crate::study::adoption::adopt;
use crate::study::children::{self, Ending};
use crate::study::folder::{Folder, Standing, read_json, write_json};
use crate::study::manifest::{Environment, INTERRUPTED, MANIFEST, Manifest, differences, run_records};
use crate::study::stages::finished;
use crate::study::work::RunWork;

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
    adopt(&plan.stage_work(), &plan.run_work(), &folder, siblings)?;
    write_json(&folder.cache().join(PRESET_FILE), &plan.preset)?;
    write_json(&folder.cache().join(SOURCE_FILE), &plan.source)?;
    manifest.write(&folder)?;

    let progress = Progress::new();
    let stages = stages::all(&Context::new(&plan, &folder, &open.device, &progress))?;
    record_stages(&mut manifest, &plan, &folder, &stages)?;
    manifest.write(&folder)?;
    if options.stages_only {
        return Ok(Outcome::Done);
    }

    let runs = plan.run_work();
    let waiting: Vec<&RunWork> = runs.iter().filter(|run| waits(run, &folder)).collect();
    tracing::info!("{} runs, {} of them finished before", runs.len(), runs.len() - waiting.len());
    let watch = Watch::begin();
    let endings = children::run_all(&waiting, jobs, &folder, &open.pool(), &progress, &watch);
    let interrupted = watch.end();
    let endings = endings?;
    let ended: Vec<(String, Ending)> = waiting.iter().map(|run| run.name.clone()).zip(endings).collect();
    manifest.runs = run_records(&runs, &folder, &ended);
    if interrupted {
        INTERRUPTED.clone_into(&mut manifest.status);
        manifest.write(&folder)?;
        return Err(Interrupted.into());
    }
    finish(&plan, &folder, &mut manifest)
}

/// Whether a run has yet to be done.
fn waits(run: &RunWork, folder: &Folder) -> bool {
    match folder.run_standing(&run.name, &run.key) {
        Standing::Finished(_) => return false,
        Standing::Damaged(how) => tracing::warn!("{} is done again; {how}", run.name),
        Standing::Open => {}
    }
    true
}

/// Whether all stages are finished and the manifest says so: then a manifest that tells of runs is not begun anew.
fn stages_recorded(plan: &Plan, folder: &Folder) -> bool {
    let recorded = |manifest: Manifest| !manifest.stages.is_empty();
    finished(&plan.stage_work(), folder).is_ok() && read_json(&folder.file(MANIFEST)).is_ok_and(recorded)
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
        cold_build: read_json(&repository::path("results/cold_build.json")).ok(),
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
