//! `experiments imdb-frontier`: preset, plan, stages, runs, report.

use std::collections::BTreeMap;

use anyhow::Result;
use imdb::{Reviews, Source};
use lm::device::Precision;
use lm::{DeviceSpec, OpenDevice};

use crate::cli::{FrontierOptions, PlanFormat, StudyOptions};
use crate::exit::{BadInput, Interrupted, Outcome};
use crate::imdb_frontier::estimate::Machine;
use crate::imdb_frontier::evidence::{Evidence, needed};
use crate::imdb_frontier::gather::{finish, record_stages};
use crate::imdb_frontier::needs::Demand;
use crate::imdb_frontier::plan::Plan;
use crate::imdb_frontier::planned::Planned;
use crate::imdb_frontier::preset::{self, Preset, folder_of};
use crate::imdb_frontier::reference::architecture;
use crate::imdb_frontier::reviews::{self, Identity};
use crate::imdb_frontier::stages::context::Context;
use crate::imdb_frontier::work::Work;
use crate::imdb_frontier::{estimate, schedule, stages};
use crate::progress::Progress;
use crate::repository;
use crate::settings::{FromFile, Step};
use crate::study::adoption::adopt;
use crate::study::children::{self, Ending, Place};
use crate::study::folder::{Folder, Standing, read_json};
use crate::study::interrupt::Watch;
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
    let plan = Plan::new(preset, data)?;
    // The commands are often written where the device is not: on a cluster's login node.
    if options.format == PlanFormat::Commands {
        schedule::print(&plan, options)?;
        return Ok(Outcome::Done);
    }
    // The device is opened before any work, so that a missing one costs nothing.
    let open = device.open(architecture(&plan.preset.reference)?.parameters())?;
    let on_gpu = !open.spec.is_cpu();
    let largest = Demand::new(&plan.preset, on_gpu)?.largest_run().bytes;
    let jobs = jobs.map_or_else(|| open.default_jobs(largest), usize::from);
    if *only_plan {
        estimate::print(&plan, &Machine { facts: &open.facts, on_gpu, jobs })?;
        return Ok(Outcome::Done);
    }
    let folder = Folder::new(&options.out.clone().unwrap_or_else(|| folder_of(&options.preset)));
    let _lock = folder.lock()?;
    let mut manifest = new_manifest(options, &plan, &open, jobs)?;
    refuse_other_preset(&folder, &manifest)?;
    if let Ok(before) = read_json::<Manifest>(&folder.file(MANIFEST)) {
        manifest.flops = before.flops;
    }
    let (planned, reviews) = begin(plan, device.precision, &folder, siblings)?;
    let work = planned.work()?;
    planned.write(&folder)?;
    if options.stages_only && stages_recorded(&work, &folder) {
        tracing::info!("all stages finished before");
        return Ok(Outcome::Done);
    }
    adopt(&work.stages, &work.runs, &folder, siblings)?;
    if let Some(evidence) = Evidence::find(options, &folder)? {
        evidence.take_over(&work, &folder)?;
        // What is computed here takes its place.
        manifest.flops.extend(evidence.manifest.flops);
    }
    refuse_too_large(&work, &folder, &open, jobs)?;
    for name in needed(&work, &folder) {
        folder.forget_record(name)?;
    }
    manifest.embedded = planned.reviews.is_embedded();
    manifest.write(&folder)?;

    let progress = Progress::new();
    let reviews = (&planned.reviews, reviews);
    let context = Context::new(&work, &folder, reviews, &open.device, &progress);
    let devices = open.pool();
    let runs_on = (!options.stages_only).then_some((jobs, devices.as_slice()));
    let outcome = carry_out(&work, context, runs_on, &mut manifest);
    if let Err(error) = &outcome
        && !error.is::<Interrupted>()
    {
        manifest.status = format!("failed: {error:#}");
        manifest.write(&folder)?;
    }
    outcome
}

/// Refuses a study of which a stage or a run that is left does not fit into memory.
fn refuse_too_large(work: &Work, folder: &Folder, open: &OpenDevice, jobs: usize) -> Result<()> {
    let demand = Demand::new(&work.plan.preset, !open.spec.is_cpu())?;
    let left = |name: &str| needed(work, folder).iter().any(|stage| stage.starts_with(name));
    for (name, needs) in demand.stages(jobs).into_iter().filter(|(name, _)| left(name)) {
        needs.check(&format!("stage {name}"), &open.facts, "lower its batch, or take a smaller model")?;
    }
    let waits = |name: &str| work.runs.iter().any(|run| run.name == name && waits(run, folder));
    for run in work.plan.runs.iter().filter(|run| waits(&run.name)) {
        demand.check_run(run, &open.facts)?;
    }
    Ok(())
}

/// Does what is not finished yet: the stages, and unless they are all, the runs (so many at a time, on these
/// devices) and the report.
fn carry_out(
    work: &Work,
    context: Context<'_>,
    runs_on: Option<(usize, &[DeviceSpec])>,
    manifest: &mut Manifest,
) -> Result<Outcome> {
    let (folder, progress) = (context.folder, context.progress);
    record_stages(manifest, &work.plan, folder, &stages::all(&context)?)?;
    manifest.write(folder)?;
    // The reviews are not needed any more.
    drop(context);
    let Some((jobs, devices)) = runs_on else { return Ok(Outcome::Done) };
    let runs = &work.runs;
    let waiting: Vec<&RunWork> = runs.iter().filter(|run| waits(run, folder)).collect();
    tracing::info!("{} runs, {} of them finished before", runs.len(), runs.len() - waiting.len());
    let watch = Watch::begin();
    let place = Place { jobs, devices, keep_policies: false };
    let endings = children::run_all(&waiting, folder, place, progress, &watch);
    let interrupted = watch.end();
    let endings = endings?;
    let ended: Vec<(String, Ending)> = waiting.iter().map(|run| run.name.clone()).zip(endings).collect();
    manifest.runs = run_records(runs, folder, &ended);
    if interrupted {
        INTERRUPTED.clone_into(&mut manifest.status);
        manifest.write(folder)?;
        return Err(Interrupted.into());
    }
    finish(work, folder, manifest)
}

/// Finds out what the reviews are, and makes the plan of the study from that. The reviews come
/// with it if they were read.
fn begin(
    plan: Plan,
    precision: Precision,
    folder: &Folder,
    siblings: &[Folder],
) -> Result<(Planned, Option<Reviews>)> {
    let planned = std::iter::once(folder).chain(siblings).filter_map(Planned::find);
    let known: Vec<Identity> = planned.map(|planned| planned.reviews).collect();
    let (identity, reviews) = reviews::identify(&plan.source, plan.preset.data_seed, &known)?;
    refuse_other_reviews(folder, &identity)?;
    Ok((Planned::new(plan.preset, identity, precision)?, reviews))
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

/// Whether all stages are finished and the manifest says so: then a manifest that tells of runs is not begun
/// anew.
fn stages_recorded(work: &Work, folder: &Folder) -> bool {
    let recorded = |manifest: Manifest| !manifest.stages.is_empty();
    finished(&work.stages, folder).is_ok() && read_json(&folder.file(MANIFEST)).is_ok_and(recorded)
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
        adapter: open.facts.name.clone(),
        driver: open.facts.driver.clone(),
        precision: open.spec.precision.to_string(),
        jobs,
        environment: Environment::here(),
        flops: BTreeMap::new(),
        cold_build: repository::path("results/cold_build.json").and_then(|path| read_json(&path)).ok(),
        stages: Vec::new(),
        runs: Vec::new(),
    })
}

/// An output folder belongs to one configuration.
fn refuse_other_preset(folder: &Folder, manifest: &Manifest) -> Result<()> {
    let path = folder.file(MANIFEST);
    if !path.exists() {
        return Ok(());
    }
    let before: Manifest = read_json(&path)
        .map_err(|error| BadInput(format!("{error:#}; give another --out, or remove the folder")))?;
    let spelled = |place: &[Step]| Preset::spelled(&manifest.preset, place);
    let mut keys = differences(&before.preset, &manifest.preset, spelled);
    let [there, here] = [&before.precision, &manifest.precision];
    if there != here {
        keys.push(format!("--precision (there {there}, here {here})"));
    }
    if keys.is_empty() { Ok(()) } else { Err(other_configuration(folder, &keys)) }
}

/// An output folder belongs to one set of reviews, wherever they lie.
fn refuse_other_reviews(folder: &Folder, here: &Identity) -> Result<()> {
    let Some(there) = reviews_of(folder) else { return Ok(()) };
    if there.origin.content_sha256 == here.origin.content_sha256 {
        return Ok(());
    }
    // `auto` promises reviews as soon as there are some.
    if there.is_embedded() && [&there, here].iter().all(|identity| identity.source == Source::Auto) {
        tracing::warn!(
            "IMDb REVIEWS ARE THERE NOW ({}): the study begins anew with them; what was done without is given up",
            here.origin.location
        );
        return Ok(());
    }
    let key = format!("data (there {}, here {})", there.describe(), here.describe());
    Err(other_configuration(folder, &[key]))
}

/// The reviews of the study in a folder: as it was planned here, or as its manifest tells if
/// it comes from elsewhere.
fn reviews_of(folder: &Folder) -> Option<Identity> {
    let recorded = || {
        let manifest: Manifest = read_json(&folder.file(MANIFEST)).ok()?;
        let origin = manifest.stages.iter().find_map(|stage| stage.notes.pointer("/data/origin"))?;
        let origin = serde_json::from_value(origin.clone()).ok()?;
        Some(Identity { source: manifest.data.parse().ok()?, origin, signature: None })
    };
    Planned::find(folder).map(|planned| planned.reviews).or_else(recorded)
}

fn other_configuration(folder: &Folder, keys: &[String]) -> anyhow::Error {
    let (root, keys) = (folder.root().display(), keys.join("\n  "));
    let cure = "give another --out, or remove it";
    BadInput(format!("{root} holds results of another configuration; {cure}. Keys that differ:\n  {keys}"))
        .into()
}
