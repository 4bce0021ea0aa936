//! `experiments dpo`: a policy from a user's preference pairs.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::Result;
use dpo::{DpoConfig, DpoTrainer, Loss, ReferenceLogProbs};
use feedback::records::{Limits, PairLabels};
use lm::{
    Activations, Config, LoraConfig, PolicyTrainer, PreferencePair, Problem, Sampling, Stream, by_prompt,
};
use serde::{Deserialize, Serialize};

use super::training::card::papers;
use super::training::data::{Split, split};
use super::training::finish::Job;
use super::training::measure::PolicyMeasure;
use super::training::memory::{self, Load};
use super::training::output::{Output, Standing};
use super::training::overrides::{Overrides, Places, print};
use super::training::record::Plan;
use super::training::sections::{
    Evaluation, HeldOut, Outline, ScorerSettings, accumulation_problem, batches, epochs_problem,
    limits_problems, lora_problems, or_one, resolve_sampling, resolve_steps, sampling_problems,
};
use super::training::source;
use super::training::start::{self, Start, refuse, require};
use crate::cli::own_data::{DpoOptions, LossType};
use crate::exit::Outcome;
use crate::settings::FromFile;

const SHIPPED: &str = include_str!("../../presets/own-data/dpo.toml");

const PLACES: Places = Places {
    algorithm: "dpo",
    batch_size: "batch_prompts",
    learning_rate: "optimizer.learning_rate",
    every: "evaluation.every",
};

/// The configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Folder of the policy's start, which is the reference.
    model: String,
    /// File of preference pairs.
    pairs: String,
    seed: u64,
    /// Of policy and reference.
    temperature: f64,
    /// Passes over the prompts, where `dpo.steps` is 0.
    epochs: f64,
    /// Batches of a step, one after another in memory.
    gradient_accumulation_steps: usize,
    /// Whether a step computes its activations again in place of keeping them.
    gradient_checkpointing: Activations,
    /// How sure the labels are.
    labels: PairLabels,
    lora: LoraConfig,
    limits: Limits,
    held_out: HeldOut,
    /// Scores the evaluations' responses, if there is one.
    scorer: ScorerSettings,
    evaluation: Evaluation,
    /// Of the evaluations' responses.
    sampling: Sampling,
    dpo: DpoConfig,
}

impl Settings {
    /// Examples of a step.
    fn per_step(&self) -> usize {
        self.dpo.batch_prompts.saturating_mul(self.gradient_accumulation_steps)
    }
}

impl FromFile for Settings {
    const KIND: &'static str = "configuration";
}

impl Config for Settings {
    fn problems(&self) -> Vec<Problem> {
        let dpo = DpoConfig { steps: or_one(self.dpo.steps), ..self.dpo.clone() };
        let mut problems: Vec<Problem> = epochs_problem(self.epochs).into_iter().collect();
        problems.extend(accumulation_problem(self.gradient_accumulation_steps));
        problems.extend(Problem::unless_positive("temperature", self.temperature));
        problems.extend(self.labels.problems_within("labels"));
        problems.extend(lora_problems(&self.lora));
        problems.extend(limits_problems(&self.limits));
        problems.extend(self.held_out.problems_within("held_out"));
        problems.extend(self.scorer.problems_within("scorer"));
        problems.extend(sampling_problems(&self.sampling, "sampling"));
        problems.extend(dpo.problems_within("dpo"));
        problems
    }
}

/// `experiments dpo`.
pub fn run(options: &DpoOptions) -> Result<Outcome> {
    let mut settings = settings(options)?;
    if options.train.print_config {
        print(&settings)?;
        return Ok(Outcome::Done);
    }
    require([("model", &settings.model), ("pairs", &settings.pairs)])?;
    let base = PathBuf::from(&settings.model);
    let mut start = Start::read(&base, settings.temperature, &options.train.device)?;
    start.adapt(&mut settings.lora, settings.seed)?;
    start.resolve(&mut settings.limits)?;
    resolve_sampling(&mut settings.sampling, &settings.limits, "sampling").map_err(|p| refuse(&p))?;
    let pairs = pairs(&settings, &start)?;
    let prompts = by_prompt(&pairs.train).len();
    let per_step = settings.per_step();
    resolve_steps(&mut settings.dpo.steps, settings.epochs, prompts, per_step);
    settings.evaluation.resolve(settings.dpo.steps);
    let (method, citation) = method(&settings.dpo.loss);
    let data = vec![format!("preference pairs: {}", pairs.about)];
    let lora = settings.lora.clone();
    let job = Job { command: "dpo", method, citation, base: &base, data, lora, options: &options.train };
    let (length, batch) = (settings.limits.max_length, settings.dpo.batch_prompts);
    let memory = memory::process(&start, &options.train.device, length, Some(&settings.sampling))?;
    let memory = memory::scorer(memory, &settings.scorer, length)?;
    let load = Load::of_pairs(&pairs.train, batch);
    let memory = memory.with_activations(settings.gradient_checkpointing);
    let memory = memory::learner(memory, &start, &settings.dpo.optimizer, load);
    let rhythm = (settings.dpo.steps, settings.evaluation.every);
    if !job.goes_on(&start, memory, rhythm, ("dpo.batch_prompts", batch))? {
        return Ok(Outcome::Done);
    }
    let Some(opened) = job.begin(&settings, &inputs(&settings)?)? else { return Ok(Outcome::Done) };
    train(&settings, &start, pairs, &job, (&opened.0, opened.1))?;
    Ok(Outcome::Done)
}

fn settings(options: &DpoOptions) -> Result<Settings> {
    let mut overrides = Overrides::default();
    if let Some(loss) = options.loss_type {
        overrides.number("dpo.loss", Some(table(loss)));
    }
    overrides.path("pairs", options.pairs.as_deref());
    overrides.number("dpo.beta", options.beta);
    overrides.number("dpo.loss.label_smoothing", options.label_smoothing);
    overrides.scorer(&options.scorer);
    overrides.accumulation(&options.accumulation);
    overrides.train(&options.train, &PLACES);
    overrides.read(&options.train, "dpo", SHIPPED)
}

/// How long the training is that the options ask for.
pub fn outline(options: &DpoOptions) -> Result<Outline> {
    let settings = settings(options)?;
    Ok(Outline {
        steps: settings.dpo.steps,
        epochs: settings.epochs,
        per_step: settings.per_step(),
        held_out: settings.held_out.share(),
        sequences: 2 * settings.dpo.batch_prompts,
        scored: false,
        activations: settings.gradient_checkpointing,
        lora: settings.lora,
        optimizers: vec![settings.dpo.optimizer],
    })
}

/// A loss as TOML.
fn table(loss: LossType) -> &'static str {
    match loss {
        LossType::Sigmoid => "{ name = \"sigmoid\", label_smoothing = 0.0 }",
        LossType::Ipo => "{ name = \"ipo\" }",
        LossType::Hinge => "{ name = \"hinge\" }",
        LossType::Unlikelihood => "{ name = \"unlikelihood\", alpha = 0.5 }",
    }
}

/// A loss as people call it, and its paper.
fn method(loss: &Loss) -> (&'static str, &'static str) {
    match loss {
        Loss::Sigmoid { label_smoothing } if *label_smoothing > 0.0 => ("Conservative DPO", papers::CDPO),
        Loss::Sigmoid { .. } => ("DPO", papers::DPO),
        Loss::Ipo {} => ("IPO", papers::IPO),
        Loss::Hinge {} => ("DPO with the hinge loss", papers::HINGE),
        Loss::Unlikelihood { .. } => ("Unlikelihood", papers::DPO),
    }
}

fn pairs(settings: &Settings, start: &Start) -> Result<Split<PreferencePair>> {
    let read = |path: &Path| start.reader.preferences(path, &settings.limits, &settings.labels);
    split(&settings.pairs, &settings.held_out, settings.seed, read, |pair| pair.prompt.clone())
}

fn inputs(settings: &Settings) -> Result<Vec<(&'static str, Vec<PathBuf>)>> {
    let mut inputs = start::inputs(&settings.model, ("pairs", &settings.pairs), &settings.held_out)?;
    inputs.push(("scorer", source::files(&settings.scorer)?));
    Ok(inputs)
}

fn train(
    settings: &Settings,
    start: &Start,
    pairs: Split<PreferencePair>,
    job: &Job<'_>,
    opened: (&Output, Standing),
) -> Result<()> {
    let reference = &start.reference;
    let Split { train, held_out, .. } = pairs;
    let mut seen = HashSet::new();
    let distinct = held_out.iter().map(|pair| &pair.prompt).filter(|prompt| seen.insert(*prompt));
    let prompts: Vec<Vec<u32>> = distinct.take(settings.evaluation.prompts).cloned().collect();
    let tokenizer = start.reader.tokenizer();
    let responses = PolicyMeasure {
        prompts,
        reference: reference.clone(),
        scorer: source::scorer(&settings.scorer, tokenizer, &start.device)?,
        sampling: settings.sampling.clone(),
        stream: Stream::new(settings.seed, "evaluation"),
        tokenizer: tokenizer.clone(),
        samples: settings.evaluation.samples,
    };
    let known = ReferenceLogProbs::compute(reference, &held_out)?;
    let mut trainer = DpoTrainer::new(reference, train, settings.dpo.clone(), settings.seed)?
        .accumulating(batches(settings.gradient_accumulation_steps))
        .with_activations(settings.gradient_checkpointing);
    let plan = Plan {
        name: "dpo",
        steps: settings.dpo.steps,
        every: settings.evaluation.every,
        save_every: settings.evaluation.save_every,
        shown: &["eval_loss", "eval_rewards/accuracies", "eval_objective/kl", "eval_objective/scores"],
    };
    let (beta, loss) = (settings.dpo.beta, &settings.dpo.loss);
    let mut measure = |_step: usize, trainer: &(dyn PolicyTrainer + 'static)| {
        let policy = trainer.policy();
        let of_pairs = dpo::evaluate(&policy, &held_out, &known, beta, loss)?;
        Ok(responses.measure(&policy)?.after([
            ("eval_loss", of_pairs.loss),
            ("eval_rewards/accuracies", of_pairs.accuracy),
            ("eval_rewards/margins", of_pairs.margin),
        ]))
    };
    let exported = (tokenizer, settings.sampling.max_new_tokens);
    job.train_policy(&mut trainer, &plan, opened, &mut measure, exported)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings;

    #[test]
    fn the_shipped_configuration_is_whole_and_prints_as_itself() {
        let shipped: Settings = settings::read_text("dpo", SHIPPED, SHIPPED, &[]).unwrap();
        let printed = crate::commands::training::overrides::as_toml(&shipped).unwrap();
        let again: Settings = settings::read_text("dpo", &printed, SHIPPED, &[]).unwrap();
        assert_eq!(again, shipped);
    }

    #[test]
    fn every_loss_has_its_table() {
        for loss in [LossType::Sigmoid, LossType::Ipo, LossType::Hinge, LossType::Unlikelihood] {
            let entry = [format!("dpo.loss={}", table(loss))];
            let read: Settings = settings::read_text("dpo", SHIPPED, SHIPPED, &entry).unwrap();
            let name = serde_json::to_value(&read.dpo.loss).unwrap()["name"].as_str().unwrap().to_owned();
            assert_eq!(name, format!("{loss:?}").to_lowercase());
        }
    }
}
