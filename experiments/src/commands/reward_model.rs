//! `experiments reward-model`: a reward model from a user's preference pairs.

use std::path::{Path, PathBuf};

use ::reward_model::{RewardModelConfig, RewardModelTrainer, Validation};
use anyhow::Result;
use feedback::records::{Limits, PairLabels};
use lm::files::Precision;
use lm::{Activations, Config, LoraConfig, PreferencePair, Problem, Sequence, Trainer, by_prompt};
use serde::{Deserialize, Serialize};

use super::training::card::papers;
use super::training::data::{Split, split};
use super::training::finish::{Job, end};
use super::training::memory::{self, Load};
use super::training::output::{Output, Standing};
use super::training::overrides::{Overrides, Places, print};
use super::training::record::{Measured, Plan, evaluations, train as record};
use super::training::sections::{
    HeldOut, Outline, accumulation_problem, batches, epochs_problem, limits_problems, lora_problems, or_one,
    resolve_every, resolve_steps, tenth,
};
use super::training::start::{self, Start, require};
use crate::cli::own_data::RewardModelOptions;
use crate::exit::Outcome;
use crate::progress::Progress;
use crate::settings::FromFile;
use crate::study::folder::{write_files, write_text};

const SHIPPED: &str = include_str!("../../presets/own-data/reward-model.toml");

const PLACES: Places = Places {
    algorithm: "reward_model",
    batch_size: "batch_prompts",
    learning_rate: "optimizer.learning_rate",
    every: "reward_model.evaluate_every",
};

/// The configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Folder of the policy whose body it starts from.
    model: String,
    /// File of preference pairs.
    pairs: String,
    seed: u64,
    /// Passes over the pairs, where `reward_model.steps` is 0.
    epochs: f64,
    /// Batches of a step, one after another in memory.
    gradient_accumulation_steps: usize,
    /// Whether a step computes its activations again in place of keeping them.
    gradient_checkpointing: Activations,
    /// How sure the labels are.
    labels: PairLabels,
    /// Responses of the training pairs on which its scores have mean 0 and standard deviation 1.
    normalize_on: usize,
    /// Of its body; the head is trained whole beside them.
    lora: LoraConfig,
    limits: Limits,
    held_out: HeldOut,
    evaluation: Checkpoints,
    reward_model: RewardModelConfig,
}

/// The distance of evaluations stands in the algorithm's table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checkpoints {
    save_every: usize,
}

impl Settings {
    /// Examples of a step.
    fn per_step(&self) -> usize {
        self.reward_model.batch_prompts.saturating_mul(self.gradient_accumulation_steps)
    }
}

impl FromFile for Settings {
    const KIND: &'static str = "configuration";
}

impl Config for Settings {
    fn problems(&self) -> Vec<Problem> {
        let config = &self.reward_model;
        let (steps, evaluate_every) = (or_one(config.steps), or_one(config.evaluate_every));
        let config = RewardModelConfig { steps, evaluate_every, ..config.clone() };
        let mut problems: Vec<Problem> = epochs_problem(self.epochs).into_iter().collect();
        problems.extend(accumulation_problem(self.gradient_accumulation_steps));
        let on = self.normalize_on;
        problems.extend(Problem::unless(on >= 2, "normalize_on", on, "at least 2"));
        problems.extend(self.labels.problems_within("labels"));
        problems.extend(lora_problems(&self.lora));
        problems.extend(limits_problems(&self.limits));
        problems.extend(self.held_out.problems_within("held_out"));
        problems.extend(config.problems_within("reward_model"));
        problems
    }
}

/// `experiments reward-model`.
pub fn run(options: &RewardModelOptions) -> Result<Outcome> {
    let mut settings = settings(options)?;
    if options.train.print_config {
        print(&settings)?;
        return Ok(Outcome::Done);
    }
    require([("model", &settings.model), ("pairs", &settings.pairs)])?;
    let base = PathBuf::from(&settings.model);
    let mut start = Start::read(&base, 1.0, &options.train.device)?;
    start.adapt(&mut settings.lora, settings.seed)?;
    start.resolve(&mut settings.limits)?;
    let read = |path: &Path| start.reader.preferences(path, &settings.limits, &settings.labels);
    let pairs = split(&settings.pairs, &settings.held_out, settings.seed, read, |pair| pair.prompt.clone())?;
    let per_step = settings.per_step();
    let config = &mut settings.reward_model;
    let prompts = by_prompt(&pairs.train).len();
    resolve_steps(&mut config.steps, settings.epochs, prompts, per_step);
    resolve_every(&mut config.evaluate_every, tenth(config.steps));
    resolve_every(&mut settings.evaluation.save_every, config.evaluate_every);
    let (method, citation) = ("Reward model", papers::REWARD_MODEL);
    let data = vec![format!("preference pairs: {}", pairs.about)];
    let lora = settings.lora.clone();
    let job =
        Job { command: "reward-model", method, citation, base: &base, data, lora, options: &options.train };
    let RewardModelConfig { steps, evaluate_every, batch_prompts: batch, optimizer, .. } =
        &settings.reward_model;
    let memory = memory::process(&start, &options.train.device, settings.limits.max_length, None)?;
    // The best model so far is kept beside the one that trains.
    let memory = memory.holding(4 * memory::trained(&start));
    let memory = memory.with_activations(settings.gradient_checkpointing);
    let memory = memory::learner(memory, &start, optimizer, Load::of_pairs(&pairs.train, *batch));
    if !job.goes_on(&start, memory, (*steps, *evaluate_every), ("reward_model.batch_prompts", *batch))? {
        return Ok(Outcome::Done);
    }
    let inputs = start::inputs(&settings.model, ("pairs", &settings.pairs), &settings.held_out)?;
    let Some(opened) = job.begin(&settings, &inputs)? else { return Ok(Outcome::Done) };
    train(&settings, &start, pairs, &job, (&opened.0, opened.1))?;
    Ok(Outcome::Done)
}

fn settings(options: &RewardModelOptions) -> Result<Settings> {
    let mut overrides = Overrides::default();
    overrides.path("pairs", options.pairs.as_deref());
    overrides.accumulation(&options.accumulation);
    overrides.train(&options.train, &PLACES);
    overrides.read(&options.train, "reward-model", SHIPPED)
}

/// How long the training is that the options ask for.
pub fn outline(options: &RewardModelOptions) -> Result<Outline> {
    let settings = settings(options)?;
    Ok(Outline {
        steps: settings.reward_model.steps,
        epochs: settings.epochs,
        per_step: settings.per_step(),
        held_out: settings.held_out.share(),
        sequences: 2 * settings.reward_model.batch_prompts,
        scored: false,
        activations: settings.gradient_checkpointing,
        lora: settings.lora,
        optimizers: vec![settings.reward_model.optimizer],
    })
}

fn train(
    settings: &Settings,
    start: &Start,
    pairs: Split<PreferencePair>,
    job: &Job<'_>,
    (output, standing): (&Output, Standing),
) -> Result<()> {
    let Split { train, held_out, .. } = pairs;
    let both = train.iter().flat_map(|pair| [pair.chosen_sequence(), pair.rejected_sequence()]);
    let scored: Vec<Sequence> = both.take(settings.normalize_on).collect();
    let config = settings.reward_model.clone();
    let plan = Plan {
        name: "reward model",
        steps: config.steps,
        every: config.evaluate_every,
        save_every: settings.evaluation.save_every,
        shown: &["eval_loss", "eval_accuracy"],
    };
    let policy = start.reference.start();
    let mut trainer = RewardModelTrainer::new(&policy, train, &held_out, config, settings.seed)?
        .accumulating(batches(settings.gradient_accumulation_steps))
        .with_activations(settings.gradient_checkpointing);
    let mut measure = |_step: usize, trainer: &RewardModelTrainer| {
        Ok(Measured { numbers: numbers(&trainer.latest()), samples: Vec::new() })
    };
    record(&mut trainer, &plan, (output, standing), &Progress::new(), &mut measure)?;
    let mut evaluations = evaluations(output.root())?;
    let tokens = trainer.tokens();
    let best = trainer.finish();
    evaluations.last = numbers(&best.validation).into_iter().collect();
    match best.validation.step {
        0 => tracing::warn!(
            "held-out pairs say that training made it worse: what is kept is the untrained model"
        ),
        step => tracing::info!("kept: the model after step {step}, the best one on held-out pairs"),
    }
    let card = job.card("AutoModelForSequenceClassification", (plan.steps, tokens), &evaluations, output)?;
    let normalized = best.normalize(&scored)?;
    write_files(output.root(), |dir| {
        let tokenizer = start.reader.tokenizer();
        match settings.lora.rank {
            0 => normalized.save(dir, tokenizer, Precision::F32)?,
            _ => normalized.save_adapter(dir, &settings.model, tokenizer)?,
        }
        write_text(&dir.join("README.md"), &card)
    })?;
    end(output, &evaluations)
}

/// A validation's numbers by their names.
fn numbers(validation: &Validation) -> Vec<(String, f64)> {
    let Validation { loss, accuracy, margin, .. } = *validation;
    let numbers = [("eval_loss", loss), ("eval_accuracy", accuracy), ("eval_margin", margin)];
    numbers.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::training::overrides::as_toml;
    use crate::settings;

    #[test]
    fn the_shipped_configuration_is_whole_and_prints_as_itself() {
        let shipped: Settings = settings::read_text("reward-model", SHIPPED, SHIPPED, &[]).unwrap();
        let again: Settings =
            settings::read_text("reward-model", &as_toml(&shipped).unwrap(), SHIPPED, &[]).unwrap();
        assert_eq!(again, shipped);
    }
}
