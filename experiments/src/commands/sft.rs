//! `experiments sft`: a policy from a user's texts.

use std::path::{Path, PathBuf};

use anyhow::Result;
use feedback::records::Limits;
use lm::sft::{Corpus, SftConfig, SftTrainer, perplexity};
use lm::{Activations, Config, LoraConfig, PolicyTrainer, Problem, Sampling, Sequence, Stream};
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
    Evaluation, HeldOut, Outline, accumulation_problem, batches, epochs_problem, limits_problems,
    lora_problems, or_one, resolve_sampling, resolve_steps, sampling_problems,
};
use super::training::start::{self, Start, refuse, require};
use crate::cli::own_data::SftOptions;
use crate::exit::Outcome;
use crate::settings::FromFile;

const SHIPPED: &str = include_str!("../../presets/own-data/sft.toml");

const PLACES: Places = Places {
    algorithm: "sft",
    batch_size: "batch_size",
    learning_rate: "optimizer.learning_rate",
    every: "evaluation.every",
};

/// The configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Folder of the model that is fine-tuned.
    model: String,
    /// File of texts.
    data: String,
    seed: u64,
    temperature: f64,
    /// Passes over the texts, where `sft.steps` is 0.
    epochs: f64,
    /// Batches of a step, one after another in memory.
    gradient_accumulation_steps: usize,
    /// Whether a step computes its activations again in place of keeping them.
    gradient_checkpointing: Activations,
    lora: LoraConfig,
    limits: Limits,
    held_out: HeldOut,
    evaluation: Evaluation,
    /// Of the evaluations' responses.
    sampling: Sampling,
    sft: SftConfig,
}

impl Settings {
    /// Examples of a step.
    fn per_step(&self) -> usize {
        self.sft.batch_size.saturating_mul(self.gradient_accumulation_steps)
    }
}

impl FromFile for Settings {
    const KIND: &'static str = "configuration";
}

impl Config for Settings {
    fn problems(&self) -> Vec<Problem> {
        let sft = SftConfig { steps: or_one(self.sft.steps), ..self.sft.clone() };
        let mut problems: Vec<Problem> = epochs_problem(self.epochs).into_iter().collect();
        problems.extend(accumulation_problem(self.gradient_accumulation_steps));
        problems.extend(Problem::unless_positive("temperature", self.temperature));
        problems.extend(lora_problems(&self.lora));
        problems.extend(limits_problems(&self.limits));
        problems.extend(self.held_out.problems_within("held_out"));
        problems.extend(sampling_problems(&self.sampling, "sampling"));
        problems.extend(sft.problems_within("sft"));
        problems
    }
}

/// `experiments sft`.
pub fn run(options: &SftOptions) -> Result<Outcome> {
    let mut settings = settings(options)?;
    if options.train.print_config {
        print(&settings)?;
        return Ok(Outcome::Done);
    }
    require([("model", &settings.model), ("data", &settings.data)])?;
    let base = PathBuf::from(&settings.model);
    let mut start = Start::read(&base, settings.temperature, &options.train.device)?;
    start.adapt(&mut settings.lora, settings.seed)?;
    start.resolve(&mut settings.limits)?;
    resolve_sampling(&mut settings.sampling, &settings.limits, "sampling").map_err(|p| refuse(&p))?;
    let read = |path: &Path| start.reader.supervised(path, &settings.limits);
    // Texts without prompts all have the same one: what keeps them apart is all of their tokens.
    let texts = split(&settings.data, &settings.held_out, settings.seed, read, Sequence::tokens)?;
    let per_step = settings.per_step();
    resolve_steps(&mut settings.sft.steps, settings.epochs, texts.train.len(), per_step);
    settings.evaluation.resolve(settings.sft.steps);
    let (method, citation) = ("Supervised fine-tuning", papers::SFT);
    let data = vec![format!("texts: {}", texts.about)];
    let lora = settings.lora.clone();
    let job = Job { command: "sft", method, citation, base: &base, data, lora, options: &options.train };
    let (length, batch) = (settings.limits.max_length, settings.sft.batch_size);
    let memory = memory::process(&start, &options.train.device, length, Some(&settings.sampling))?;
    let load = Load::of_texts(&texts.train, batch);
    let memory = memory.with_activations(settings.gradient_checkpointing);
    let memory = memory::learner(memory, &start, &settings.sft.optimizer, load);
    let rhythm = (settings.sft.steps, settings.evaluation.every);
    if !job.goes_on(&start, memory, rhythm, ("sft.batch_size", batch))? {
        return Ok(Outcome::Done);
    }
    let inputs = start::inputs(&settings.model, ("data", &settings.data), &settings.held_out)?;
    let Some(opened) = job.begin(&settings, &inputs)? else { return Ok(Outcome::Done) };
    train(&settings, &start, texts, &job, (&opened.0, opened.1))?;
    Ok(Outcome::Done)
}

fn settings(options: &SftOptions) -> Result<Settings> {
    let mut overrides = Overrides::default();
    overrides.path("data", options.data.as_deref());
    overrides.accumulation(&options.accumulation);
    overrides.train(&options.train, &PLACES);
    overrides.read(&options.train, "sft", SHIPPED)
}

/// How long the training is that the options ask for.
pub fn outline(options: &SftOptions) -> Result<Outline> {
    let settings = settings(options)?;
    Ok(Outline {
        steps: settings.sft.steps,
        epochs: settings.epochs,
        per_step: settings.per_step(),
        held_out: settings.held_out.share(),
        sequences: settings.sft.batch_size,
        scored: false,
        activations: settings.gradient_checkpointing,
        lora: settings.lora,
        optimizers: vec![settings.sft.optimizer],
    })
}

fn train(
    settings: &Settings,
    start: &Start,
    texts: Split<Sequence>,
    job: &Job<'_>,
    opened: (&Output, Standing),
) -> Result<()> {
    let Split { train, held_out, .. } = texts;
    let tokenizer = start.reader.tokenizer();
    let prompts = held_out.iter().take(settings.evaluation.prompts);
    let responses = PolicyMeasure {
        prompts: prompts.map(|text| text.prompt.clone()).collect(),
        reference: start.reference.clone(),
        scorer: None,
        sampling: settings.sampling.clone(),
        stream: Stream::new(settings.seed, "evaluation"),
        tokenizer: tokenizer.clone(),
        samples: settings.evaluation.samples,
    };
    let policy = start.reference.start();
    let mut trainer = SftTrainer::new(&policy, Corpus::Responses(train), &settings.sft, settings.seed)?
        .accumulating(batches(settings.gradient_accumulation_steps))
        .with_activations(settings.gradient_checkpointing);
    let plan = Plan {
        name: "sft",
        steps: settings.sft.steps,
        every: settings.evaluation.every,
        save_every: settings.evaluation.save_every,
        shown: &["eval_loss", "eval_perplexity"],
    };
    let mut measure = |_step: usize, trainer: &(dyn PolicyTrainer + 'static)| {
        let policy = trainer.policy();
        let perplexity = perplexity(&policy, &held_out)?;
        let numbers = [("eval_loss", perplexity.ln()), ("eval_perplexity", perplexity)];
        Ok(responses.measure(&policy)?.after(numbers))
    };
    let exported = (tokenizer, settings.sampling.max_new_tokens);
    job.train_policy(&mut trainer, &plan, opened, &mut measure, exported)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::training::overrides::as_toml;
    use crate::settings;

    #[test]
    fn the_shipped_configuration_is_whole_and_prints_as_itself() {
        let shipped: Settings = settings::read_text("sft", SHIPPED, SHIPPED, &[]).unwrap();
        let again: Settings = settings::read_text("sft", &as_toml(&shipped).unwrap(), SHIPPED, &[]).unwrap();
        assert_eq!(again, shipped);
    }
}
