//! The policies: last ones of runs of an `imdb-frontier` study, which are trained here if they were not kept.

use std::path::{Path, PathBuf};

use anyhow::Result;
use frontier::Method;
use imdb::Source;
use lm::OpenDevice;

use crate::cli::{FrontierOptions, PlanFormat, StudyOptions, WinRateOptions};
use crate::exit::{BadInput, Interrupted};
use crate::imdb_frontier::command;
use crate::imdb_frontier::needs::Needs;
use crate::imdb_frontier::plan::Plan;
use crate::imdb_frontier::planned::Planned;
use crate::imdb_frontier::preset::{self, Preset, folder_of};
use crate::imdb_frontier::run::policy_of;
use crate::imdb_frontier::work::Work;
use crate::progress::Progress;
use crate::study::children::{self, Ending, Place};
use crate::study::folder::Folder;
use crate::study::interrupt::Watch;
use crate::study::work::RunWork;
use crate::tldr::settings::Settings;

/// The study's folder in the output folder.
const STUDY: &str = "study";

/// Where a policy comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The reference itself.
    Reference,
    /// The best of several samples of the reference.
    BestOf(usize),
    /// The last policy of a run.
    Run(String),
}

/// A policy with a seed: that of its training, or that of its draws if it is not trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contestant {
    pub method: Method,
    pub seed: u64,
    pub origin: Origin,
}

impl Contestant {
    /// The name of its stage.
    pub fn stage(&self) -> String {
        format!("samples-{}-s{}", self.method, self.seed)
    }
}

/// The policies that the settings name, method by method.
pub fn contestants(settings: &Settings, preset: &Preset) -> Result<Vec<Contestant>> {
    let mut all = Vec::new();
    let mut add = |method, origin: &dyn Fn(u64) -> Origin| {
        all.extend(preset.seeds.iter().map(|&seed| Contestant { method, seed, origin: origin(seed) }));
    };
    add(Method::REFERENCE, &|_| Origin::Reference);
    if settings.best_of_n > 1 {
        add(Method::BEST_OF_N, &|_| Origin::BestOf(settings.best_of_n));
    }
    let plan = Plan::new(preset.clone(), &Source::Synthetic)?;
    for name in &settings.runs {
        let of_seed = |seed: u64| format!("{name}-s{seed}");
        let found = preset.seeds.first().and_then(|seed| plan.run(&of_seed(*seed)));
        let Some(run) = found else {
            let mut known: Vec<&str> =
                plan.runs.iter().filter_map(|run| Some(run.name.rsplit_once("-s")?.0)).collect();
            known.dedup();
            let expected = format!("a run of {}: {}", settings.study, known.join(", "));
            return Err(BadInput(format!("runs: found {name}, expected {expected}")).into());
        };
        add(run.method, &|seed| Origin::Run(of_seed(seed)));
    }
    let first = preset.seeds.first();
    let methods: Vec<Method> =
        all.iter().filter(|one| Some(&one.seed) == first).map(|one| one.method).collect();
    if let Some(twice) = methods.iter().enumerate().find(|(i, method)| methods[..*i].contains(method)) {
        let found = format!("two runs of {}", twice.1);
        return Err(BadInput(format!("runs: found {found}, expected one for each method")).into());
    }
    Ok(all)
}

/// The preset of the study that the settings name.
pub fn preset_of(settings: &Settings) -> Result<Preset> {
    preset::load(&settings.study, &settings.set)
}

/// The folder of the study whose policies are sampled.
pub fn study_folder(out: &Path) -> PathBuf {
    out.join(STUDY)
}

/// Does the stages of the study. Those that a finished study of the same preset has in its usual place are taken over from
/// there.
pub fn stages(options: &WinRateOptions, settings: &Settings) -> Result<(Folder, Planned)> {
    let out = study_folder(&options.out);
    let study = StudyOptions { overrides: settings.set.clone(), plan: false, ..options.study.clone() };
    let frontier = FrontierOptions {
        preset: settings.study.clone(),
        out: Some(out.clone()),
        evidence: Some("none".into()),
        stages_only: true,
        format: PlanFormat::Table,
        study,
    };
    command::study(&frontier, &[Folder::new(&folder_of(&settings.study))])?;
    Planned::read(&out)
}

/// Trains the runs of the study whose policies are sampled and not there yet.
pub fn train(
    options: &WinRateOptions,
    (folder, work): (&Folder, &Work),
    contestants: &[Contestant],
    open: &OpenDevice,
) -> Result<()> {
    let wanted = contestants.iter().filter_map(|one| match &one.origin {
        Origin::Run(name) => work.runs.iter().find(|run| run.name == *name),
        Origin::Reference | Origin::BestOf(_) => None,
    });
    let is_kept = |run: &&RunWork| {
        folder.finished_run(&run.name, &run.key).is_some() && policy_of(folder, &run.name).is_dir()
    };
    let waiting: Vec<&RunWork> = wanted.filter(|run| !is_kept(run)).collect();
    if waiting.is_empty() {
        return Ok(());
    }
    let needs = Needs::of(&work.plan.preset)?;
    let jobs = options.study.jobs.map_or_else(|| open.default_jobs(needs.bytes), usize::from);
    let devices = open.pool();
    let place = Place { jobs, devices: &devices, keep_policies: true };
    let watch = Watch::begin();
    let endings = children::run_all(&waiting, folder, place, &Progress::new(), &watch);
    if watch.end() {
        return Err(Interrupted.into());
    }
    for (run, ending) in waiting.iter().zip(endings?) {
        match ending {
            Ending::Done => {}
            Ending::Interrupted => return Err(Interrupted.into()),
            Ending::Failed(why) => anyhow::bail!("{} failed: {why}", run.name),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(runs: &[&str]) -> Settings {
        Settings {
            description: String::new(),
            study: "quick".to_owned(),
            set: vec!["seeds=[1, 2]".to_owned()],
            runs: runs.iter().map(|run| (*run).to_owned()).collect(),
            temperatures: vec![0.0, 1.0],
            prompts: 8,
            best_of_n: 4,
            orders: feedback::contest::Orders::Random,
        }
    }

    #[test]
    fn every_policy_has_every_seed_and_unknown_runs_are_named() {
        let found = |runs: &[&str]| {
            let settings = settings(runs);
            contestants(&settings, &preset_of(&settings).unwrap())
        };
        let all = found(&["dpo-beta0.76", "ppo-target-kl0.9"]).unwrap();
        let names: Vec<String> = all.iter().map(Contestant::stage).collect();
        let expected = ["reference", "best-of-n", "dpo", "ppo"];
        let expected: Vec<String> =
            expected.iter().flat_map(|name| [1, 2].map(|seed| format!("samples-{name}-s{seed}"))).collect();
        assert_eq!(names, expected);
        assert_eq!(all[5].origin, Origin::Run("dpo-beta0.76-s2".to_owned()));
        let message = found(&["dpo-beta7"]).unwrap_err().to_string();
        assert!(
            message.starts_with("runs: found dpo-beta7, expected a run of quick: dpo-beta1.9, "),
            "{message}"
        );
        let message = found(&["dpo-beta0.76", "dpo-beta1.9"]).unwrap_err().to_string();
        assert_eq!(message, "runs: found two runs of dpo, expected one for each method");
    }
}
