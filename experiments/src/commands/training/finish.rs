//! How a training begins and ends, whatever it trains.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;
use lm::{LoraConfig, Memory, Policy, PolicyTrainer, Tokenizer};
use serde::Serialize;
use serde_json::json;

use super::card::{Card, command_line};
use super::memory::trained;
use super::output::{Identity, Output, Standing};
use super::overrides::as_toml;
use super::record::{Evaluations, evaluations};
use super::start::Start;
use super::{export, record};
use crate::cli::own_data::TrainOptions;
use crate::exit::BadInput;
use crate::needs::{Needs, gib};
use crate::progress::Progress;
use crate::study::folder::write_text;

/// What a training is called, depends on and cites.
pub struct Job<'a> {
    /// The command, as the folder remembers it.
    pub command: &'static str,
    /// As a person calls the method.
    pub method: &'a str,
    pub citation: &'a str,
    /// The model that it starts from.
    pub base: &'a Path,
    /// Sentences on the data.
    pub data: Vec<String>,
    /// The adapters that it trains; at rank 0 it trains all weights.
    pub lora: LoraConfig,
    pub options: &'a TrainOptions,
}

impl Job<'_> {
    /// Whether the training goes on: it is refused where it would not fit, and not begun where only its plan
    /// is asked for, which is printed. `batch` is what to lower, and its value.
    pub fn goes_on(
        &self,
        start: &Start,
        memory: Memory,
        (steps, every): (usize, usize),
        (key, batch): (&str, usize),
    ) -> Result<bool> {
        let whole = start.policy.model().config().parameters();
        let (needs, facts) = (Needs::new(whole, memory), self.options.device.open(whole)?.facts);
        if self.options.plan {
            let mut out = std::io::stdout().lock();
            writeln!(out, "{}: {steps} steps, an evaluation every {every}", self.method)?;
            for sentence in &self.data {
                writeln!(out, "{sentence}")?;
            }
            let (trained, whole) = (trained(start) as f64 / 1e6, whole as f64 / 1e6);
            writeln!(out, "model: {whole:.2} M parameters, {trained:.2} M of them train; {key} {batch}")?;
            let there = facts.memory.map_or_else(|| "an unknown amount".to_owned(), gib);
            writeln!(out, "memory: up to {} of {there} on {}", gib(needs.bytes), facts.name)?;
        }
        let cure = format!(
            "lower {key}, now {batch}, or --max-length, or give --gradient-checkpointing or --lora-rank"
        );
        needs.check(self.command, &facts, &cure)?;
        Ok(!self.options.plan)
    }

    /// Opens the output folder and writes the configuration; `None` if the training was finished before.
    pub fn begin(
        &self,
        settings: &impl Serialize,
        inputs: &[(&str, Vec<PathBuf>)],
    ) -> Result<Option<(Output, Standing)>> {
        let Some(out) = &self.options.out else {
            return Err(BadInput("--out: found nothing, expected a folder".to_owned()).into());
        };
        let identity = Identity::new(self.command, settings, inputs, self.options.device.precision.name())?;
        let (output, standing) = Output::open(out, &identity)?;
        write_text(&output.file("config.toml"), &as_toml(settings)?)?;
        if standing == Standing::Finished {
            tracing::info!("{}: finished before", out.display());
            summarise(&evaluations(out)?)?;
            return Ok(None);
        }
        Ok(Some((output, standing)))
    }

    /// Trains a policy and writes its folder.
    pub fn train_policy(
        &self,
        trainer: &mut (dyn PolicyTrainer + 'static),
        plan: &record::Plan,
        (output, standing): (&Output, Standing),
        measure: &mut record::Measure<'_, dyn PolicyTrainer + 'static>,
        (tokenizer, max_new_tokens): (&Tokenizer, usize),
    ) -> Result<()> {
        record::train(trainer, plan, (output, standing), &Progress::new(), measure)?;
        let policy: Policy = trainer.policy();
        let evaluations = evaluations(output.root())?;
        let card = self.card("AutoModelForCausalLM", (plan.steps, trainer.tokens()), &evaluations, output)?;
        export::policy(output.root(), (&policy, tokenizer, self.base), max_new_tokens, &card)?;
        end(output, &evaluations)
    }

    /// The card of what was trained.
    pub fn card(
        &self,
        class: &str,
        (steps, tokens): (usize, u64),
        evaluations: &Evaluations,
        output: &Output,
    ) -> Result<String> {
        let card = Card {
            method: self.method,
            citation: self.citation,
            class,
            base: self.base,
            data: self.data.clone(),
            lora: &self.lora,
            steps,
            tokens,
            command: &command_line(),
            evaluations,
            out: output.root(),
        };
        card.text()
    }
}

/// Marks a training as finished and says what came of it.
pub fn end(output: &Output, evaluations: &Evaluations) -> Result<()> {
    output.finish(&json!({ "before": evaluations.first, "after": evaluations.last }))?;
    summarise(evaluations)
}

/// What changed between the first and the last evaluation, with 95% intervals where there are standard
/// errors.
fn summarise(evaluations: &Evaluations) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<28}{:<28}after", "on held-out data", "before")?;
    let Evaluations { first, last, columns } = evaluations;
    for column in columns.iter().filter(|name| name.starts_with("eval_") && !name.ends_with("_se")) {
        let shown = |row: &std::collections::BTreeMap<String, f64>| {
            let Some(mean) = row.get(column) else { return "-".to_owned() };
            match row.get(&format!("{column}_se")) {
                Some(se) => format!("{mean:.3} [{:.3}, {:.3}]", mean - 1.96 * se, mean + 1.96 * se),
                None => format!("{mean:.3}"),
            }
        };
        writeln!(out, "{:<28}{:<28}{}", &column["eval_".len()..], shown(first), shown(last))?;
    }
    Ok(())
}
