//! `experiments ppo`: a policy from scores of its own responses to a user's prompts, by PPO, RLOO or online
//! DPO.

mod settings;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use dpo::OnlineDpoTrainer;
use feedback::records::PromptExample;
use lm::{Memory, OptimizerConfig, PolicyTrainer, ScalarModel, Scorer, Stream};
use ppo::{PpoTrainer, RlooTrainer};

use super::training::data::{Split, split};
use super::training::finish::Job;
use super::training::measure::PolicyMeasure;
use super::training::memory::{self, Load};
use super::training::output::{Output, Standing};
use super::training::overrides::print;
use super::training::record::Plan;
use super::training::sections::{Outline, ScorerSettings, resolve_sampling, resolve_steps};
use super::training::source;
use super::training::start::{self, Start, refuse, require};
use crate::cli::DeviceOptions;
use crate::cli::own_data::PpoOptions;
use crate::exit::Outcome;
use settings::{Learning, Settings};

/// `experiments ppo`.
pub fn run(options: &PpoOptions) -> Result<Outcome> {
    let mut settings = Settings::read(options)?;
    if options.train.print_config {
        print(&settings)?;
        return Ok(Outcome::Done);
    }
    require([("model", &settings.model), ("prompts", &settings.prompts)])?;
    settings.scorer.required().map_or(Ok(()), |problem| Err(refuse(&problem)))?;
    let base = PathBuf::from(&settings.model);
    let mut start = Start::read(&base, settings.temperature, &options.train.device)?;
    start.adapt(&mut settings.lora, settings.seed)?;
    start.resolve(&mut settings.limits)?;
    let limits = settings.limits.clone();
    let read = |path: &Path| start.reader.prompts(path, &limits);
    let prompts =
        split(&settings.prompts, &settings.held_out, settings.seed, read, |prompt| prompt.ids.clone())?;
    settings.resolve(prompts.train.len())?;
    let learning = settings.learning()?;
    let data = vec![format!("prompts: {}", prompts.about), format!("scores: {}", scored_by(&settings))];
    let (method, citation) = learning.method();
    let lora = settings.lora.clone();
    let job = Job { command: "ppo", method, citation, base: &base, data, lora, options: &options.train };
    let longest = prompts.train.iter().map(|prompt| prompt.ids.len()).max().unwrap_or_default();
    let (memory, batch) = memory(&settings, &start, longest, &options.train.device)?;
    let rhythm = (learning.steps(), settings.evaluation.every);
    if !job.goes_on(&start, memory, rhythm, batch)? {
        return Ok(Outcome::Done);
    }
    let Some(opened) = job.begin(&settings, &inputs(&settings)?)? else { return Ok(Outcome::Done) };
    train(&settings, &start, prompts, &job, (&opened.0, opened.1))?;
    Ok(Outcome::Done)
}

/// How long the training is that the options ask for.
pub fn outline(options: &PpoOptions) -> Result<Outline> {
    let settings = Settings::read(options)?;
    let learning = settings.learning()?;
    Ok(Outline {
        steps: learning.steps(),
        epochs: settings.epochs,
        per_step: learning.prompts_per_step(),
        held_out: settings.held_out.share(),
        sequences: learning.sequences(),
        scored: true,
        activations: settings.gradient_checkpointing,
        lora: settings.lora.clone(),
        optimizers: learning.optimizers(),
    })
}

impl Settings {
    /// Puts numbers in the place of those that are left to the data and the model.
    fn resolve(&mut self, prompts: usize) -> Result<()> {
        let (epochs, limits) = (self.epochs, self.limits.clone());
        let name = self.learning()?.section();
        let section = format!("{name}.sampling");
        self.sampling_mut()
            .map_or(Ok(()), |sampling| resolve_sampling(sampling, &limits, &section))
            .map_err(|problem| refuse(&problem))?;
        let per_step = self.learning()?.prompts_per_step();
        let steps = self.steps_mut().context("an algorithm")?;
        resolve_steps(steps, epochs, prompts, per_step);
        let steps = *steps;
        self.evaluation.resolve(steps);
        Ok(())
    }
}

/// What it takes, and the size of the batches that it trains on with its key. `longest` is the longest
/// prompt.
fn memory(
    settings: &Settings,
    start: &Start,
    longest: usize,
    device: &DeviceOptions,
) -> Result<(Memory, (&'static str, usize))> {
    let learning = settings.learning()?;
    let (sampling, length) = (learning.sampling(), longest + learning.sampling().max_new_tokens);
    let process = memory::process(start, device, length, Some(sampling))?;
    let process =
        memory::scorer(process, &settings.scorer, length)?.with_activations(settings.gradient_checkpointing);
    let load = Load::of_responses(learning.sequences(), longest, sampling.max_new_tokens);
    let learner = |process, optimizer: &OptimizerConfig| memory::learner(process, start, optimizer, load);
    let memory = learning.optimizers().iter().fold(process, learner);
    let batch = match learning {
        Learning::Ppo(config) => ("ppo.minibatch_size", config.minibatch_size),
        Learning::Rloo(config) => ("rloo.rollouts", config.rollouts),
        Learning::OnlineDpo(config) => ("online_dpo.batch_prompts", config.batch_prompts),
    };
    Ok((memory, batch))
}

/// The scorer in words.
fn scored_by(settings: &Settings) -> String {
    let ScorerSettings { reward_model, classifier, command, .. } = &settings.scorer;
    if !command.is_empty() {
        format!("`{command}`")
    } else if !classifier.folder.is_empty() {
        format!("label `{}` of the classifier `{}`", classifier.label, classifier.folder)
    } else {
        format!("the reward model `{reward_model}`")
    }
}

fn inputs(settings: &Settings) -> Result<Vec<(&'static str, Vec<PathBuf>)>> {
    let mut inputs = start::inputs(&settings.model, ("prompts", &settings.prompts), &settings.held_out)?;
    inputs.push(("scorer", source::files(&settings.scorer)?));
    Ok(inputs)
}

fn train(
    settings: &Settings,
    start: &Start,
    prompts: Split<PromptExample>,
    job: &Job<'_>,
    (output, standing): (&Output, Standing),
) -> Result<()> {
    let learning = settings.learning()?;
    let tokenizer = start.reader.tokenizer();
    let scorer = source::scorer(&settings.scorer, tokenizer, &start.device)?.context("a scorer")?;
    let ids = |examples: Vec<PromptExample>| examples.into_iter().map(|e| e.ids).collect::<Vec<_>>();
    let (train, mut held_out) = (ids(prompts.train), ids(prompts.held_out));
    held_out.truncate(settings.evaluation.prompts);
    let sampling = learning.sampling();
    let responses = PolicyMeasure {
        prompts: held_out,
        reference: start.reference.clone(),
        scorer: Some(scorer.clone()),
        sampling: sampling.clone(),
        stream: Stream::new(settings.seed, "evaluation"),
        tokenizer: tokenizer.clone(),
        samples: settings.evaluation.samples,
    };
    let paying = source::standardized(
        scorer,
        settings.standardize_on,
        (&start.policy, &train, sampling),
        Stream::new(settings.seed, "score-unit"),
        &output.score_unit(),
    )?;
    let mut trainer = trainer(settings, start, train, paying)?;
    let plan = Plan {
        name: learning.section(),
        steps: learning.steps(),
        every: settings.evaluation.every,
        save_every: settings.evaluation.save_every,
        shown: &["eval_objective/scores", "eval_objective/scores_se", "eval_objective/kl"],
    };
    let mut measure =
        |_step: usize, trainer: &(dyn PolicyTrainer + 'static)| responses.measure(&trainer.policy());
    let exported = (tokenizer, sampling.max_new_tokens);
    job.train_policy(trainer.as_mut(), &plan, (output, standing), &mut measure, exported)
}

fn trainer(
    settings: &Settings,
    start: &Start,
    prompts: Vec<Vec<u32>>,
    scorer: Arc<dyn Scorer>,
) -> Result<Box<dyn PolicyTrainer>> {
    let (reference, seed, activations) = (&start.reference, settings.seed, settings.gradient_checkpointing);
    match settings.learning()? {
        Learning::Ppo(config) => {
            let value_model = ScalarModel::with_zero_head(reference.start().model().clone());
            let trainer = PpoTrainer::new(reference, &value_model, prompts, scorer, config.clone(), seed)?;
            Ok(Box::new(trainer.with_activations(activations)))
        }
        Learning::Rloo(config) => {
            let trainer = RlooTrainer::new(reference, prompts, scorer, config.clone(), seed)?;
            Ok(Box::new(trainer.with_activations(activations)))
        }
        Learning::OnlineDpo(config) => {
            let trainer = OnlineDpoTrainer::new(reference, prompts, scorer, config.clone(), seed)?;
            Ok(Box::new(trainer.with_activations(activations)))
        }
    }
}
