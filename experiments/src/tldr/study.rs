//! The policies of an `imdb-frontier` study, which are trained here if they were not kept: positive
//! continuations of reviews stand in for good summaries.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use feedback::PromptSet;
use feedback::judge::{Judge, ScorerJudge};
use imdb::Source;
use lm::OpenDevice;
use lm::files::load_policy;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cli::{FrontierOptions, PlanFormat, StudyOptions};
use crate::exit::{BadInput, Interrupted};
use crate::imdb_frontier::command;
use crate::imdb_frontier::needs::Needs;
use crate::imdb_frontier::plan::Plan;
use crate::imdb_frontier::planned::Planned;
use crate::imdb_frontier::preset::{self, Preset, folder_of};
use crate::imdb_frontier::run::policy_of;
use crate::imdb_frontier::stages::{classifier, prompts};
use crate::imdb_frontier::work::Work;
use crate::progress::Progress;
use crate::study::children::{self, Ending, Place};
use crate::study::folder::{Folder, key, write_json};
use crate::study::interrupt::Watch;
use crate::study::stages::stage;
use crate::study::work::{RunWork, StageWork};
use crate::tldr::ground::{Benchmark, Ground, Scorers};
use crate::tldr::human::{self, HUMAN, Human};
use crate::tldr::policies::{Contestant, Origin};

/// The study's folder in the output folder.
const STUDY: &str = "study";

/// The stage of what people wrote.
const OF_PEOPLE: &str = "human";

/// Which study, and which of its policies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Study {
    /// The preset of `imdb-frontier`.
    pub preset: String,
    /// Overrides of that preset, as its `--set` takes them.
    pub set: Vec<String>,
    /// Names of its runs without `-sSEED`.
    pub runs: Vec<String>,
}

/// A study with all that is needed to do it.
pub struct StudyBenchmark<'a> {
    study: &'a Study,
    options: &'a StudyOptions,
    /// The output folder.
    out: &'a Path,
    preset: Preset,
    /// Held-out prompts that are sampled.
    prompts: usize,
    trained: Vec<Contestant>,
}

impl<'a> StudyBenchmark<'a> {
    /// Reads the study's preset, and refuses runs that it does not have and more prompts than it evaluates
    /// on.
    pub fn new(
        study: &'a Study,
        prompts: usize,
        (options, out): (&'a StudyOptions, &'a Path),
    ) -> Result<Self> {
        let preset = preset::load(&study.preset, &study.set)?;
        let most = match preset.evaluation.on {
            PromptSet::Evaluate => preset.prompts.evaluate,
            PromptSet::Tune => preset.prompts.tune,
        };
        if prompts > most {
            let expected = format!("at most {most}, as many as {} evaluates on", study.preset);
            return Err(BadInput(format!("prompts: found {prompts}, expected {expected}")).into());
        }
        let trained = trained(study, &preset, &Folder::new(&study_folder(out)))?;
        Ok(Self { study, options, out, preset, prompts, trained })
    }

    /// Does the stages of the study. Those that a finished study of the same preset has in its usual place
    /// are taken over from there.
    fn stages(&self) -> Result<(Folder, Planned)> {
        let out = study_folder(self.out);
        let study = StudyOptions { overrides: self.study.set.clone(), plan: false, ..self.options.clone() };
        let frontier = FrontierOptions {
            preset: self.study.preset.clone(),
            out: Some(out.clone()),
            evidence: Some("none".into()),
            stages_only: true,
            format: PlanFormat::Table,
            study,
        };
        command::study(&frontier, &[Folder::new(&folder_of(&self.study.preset))])?;
        Planned::read(&out)
    }

    /// What people wrote, read from the reviews once.
    fn people(
        &self,
        (study, planned): (&Folder, &Planned),
        folder: &Folder,
        open: &OpenDevice,
    ) -> Result<Vec<Human>> {
        let key = key(OF_PEOPLE, &(self.prompts, &planned.preset.sampling), &[&planned.keys.prompts])?;
        let work = StageWork::new(OF_PEOPLE, key);
        stage(folder, &Progress::new(), &work, |dir| {
            let reference = study.stage("reference");
            let (_, tokenizer) = load_policy(&reference, planned.preset.temperature, &open.device)?;
            let prompts = prompts::read(&study.stage("prompts"))?;
            let prompts = prompts.held_out(planned.preset.evaluation.on);
            let source = &planned.reviews.source;
            let texts = human::continuations(planned, source, (prompts, &tokenizer), self.prompts)?;
            write_json(&dir.join(HUMAN), &texts)?;
            Ok((0, json!({ "texts": texts.len() })))
        })?;
        human::read(&folder.stage(OF_PEOPLE))
    }

    /// Trains the runs whose policies are sampled and not there yet.
    fn train(&self, (folder, work): (&Folder, &Work), open: &OpenDevice) -> Result<()> {
        let named = |run: &&RunWork| {
            let policy = policy_of(folder, &run.name);
            self.trained
                .iter()
                .any(|one| matches!(&one.origin, Origin::Folder { folder, .. } if *folder == policy))
        };
        let is_kept = |run: &&RunWork| {
            folder.finished_run(&run.name, &run.key).is_some() && policy_of(folder, &run.name).is_dir()
        };
        let waiting: Vec<&RunWork> = work.runs.iter().filter(named).filter(|run| !is_kept(run)).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let needs = Needs::of(&work.plan.preset)?;
        let jobs = self.options.jobs.map_or_else(|| open.default_jobs(needs.bytes), usize::from);
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
}

impl Benchmark for StudyBenchmark<'_> {
    fn seeds(&self) -> &[u64] {
        &self.preset.seeds
    }

    fn trained(&self) -> &[Contestant] {
        &self.trained
    }

    fn data(&self) -> String {
        self.options.data.to_string()
    }

    fn parameters(&self) -> Result<usize> {
        Ok(Needs::of(&self.preset)?.parameters)
    }

    fn print_plan(&self, out: &mut dyn Write) -> Result<()> {
        writeln!(out, "study {} in {}", self.study.preset, study_folder(self.out).display())?;
        Ok(())
    }

    fn lengths(&self) -> (usize, usize) {
        (self.preset.prompts.max_tokens, self.preset.sampling.max_new_tokens)
    }

    fn prepare(&self, folder: &Folder, open: &OpenDevice) -> Result<Ground<'_>> {
        let (study, planned) = self.stages()?;
        // Before the policies: without reviews there is nothing to compare them with.
        let texts = self.people((&study, &planned), folder, open)?;
        let work = planned.work()?;
        self.train((&study, &work), open)?;
        let key_of =
            |name: &str| work.stages.iter().find(|stage| stage.name == name).map(|stage| stage.key.as_str());
        // What scores is in the key of the reference's samples too, whichever it is.
        let upstream =
            [key_of("reference-samples"), key_of("ground-truth")].into_iter().collect::<Option<Vec<_>>>();
        let upstream = upstream.context("the keys of the study's stages")?;
        let [reward, second_opinion] = classifier::read(&study, &self.preset, &open.device)?;
        let judges: Vec<Box<dyn Judge>> = vec![
            Box::new(ScorerJudge::new("r*", reward)),
            Box::new(ScorerJudge::new("the second opinion", second_opinion)),
        ];
        let device = open.device.clone();
        Ok(Ground {
            reference: study.stage("reference"),
            temperature: self.preset.temperature,
            sampling: self.preset.sampling.clone(),
            key: key("ground", &self.prompts, &upstream)?,
            scorers: Box::new(move |_, tokenizer| {
                let (reward, second_opinion) = classifier::scorers(&study, &self.preset, tokenizer, &device)?;
                Ok(Scorers { reward, second_opinion })
            }),
            texts,
            judges,
        })
    }
}

/// The folder of the study whose policies are sampled.
fn study_folder(out: &Path) -> PathBuf {
    out.join(STUDY)
}

/// The runs that are named, each with every seed.
fn trained(study: &Study, preset: &Preset, folder: &Folder) -> Result<Vec<Contestant>> {
    let plan = Plan::new(preset.clone(), &Source::Synthetic)?;
    let mut all = Vec::new();
    for name in &study.runs {
        let of_seed = |seed: u64| format!("{name}-s{seed}");
        let found = preset.seeds.first().and_then(|seed| plan.run(&of_seed(*seed)));
        let Some(run) = found else {
            let mut known: Vec<&str> =
                plan.runs.iter().filter_map(|run| Some(run.name.rsplit_once("-s")?.0)).collect();
            known.dedup();
            let expected = format!("a run of {}: {}", study.preset, known.join(", "));
            return Err(BadInput(format!("policies.study.runs: found {name}, expected {expected}")).into());
        };
        all.extend(preset.seeds.iter().map(|&seed| {
            let (made_by, policy) = (format!("run {}", of_seed(seed)), policy_of(folder, &of_seed(seed)));
            Contestant { method: run.method, seed, origin: Origin::Folder { made_by, folder: policy } }
        }));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use frontier::Method;

    #[test]
    fn runs_have_every_seed_and_unknown_ones_are_named() {
        let found = |runs: &[&str]| {
            let runs = runs.iter().map(|run| (*run).to_owned()).collect();
            let study = Study { preset: "quick".to_owned(), set: vec!["seeds=[1, 2]".to_owned()], runs };
            let preset = preset::load(&study.preset, &study.set).unwrap();
            trained(&study, &preset, &Folder::new(Path::new("out")))
        };
        let all = found(&["dpo-beta0.76", "ppo-target-kl0.9"]).unwrap();
        let names: Vec<(Method, u64)> = all.iter().map(|one| (one.method, one.seed)).collect();
        assert_eq!(names, [(Method::DPO, 1), (Method::DPO, 2), (Method::PPO, 1), (Method::PPO, 2)]);
        let folder = PathBuf::from("out/runs/ppo-target-kl0.9-s2/policy");
        assert_eq!(all[3].origin, Origin::Folder { made_by: "run ppo-target-kl0.9-s2".to_owned(), folder });
        let message = found(&["dpo-beta7"]).unwrap_err().to_string();
        assert!(
            message
                .starts_with("policies.study.runs: found dpo-beta7, expected a run of quick: dpo-beta1.9, "),
            "{message}"
        );
    }
}
