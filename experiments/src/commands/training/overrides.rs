//! Flags as keys of a configuration, and the configuration that comes of all of them.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::cli::own_data::{AccumulationOptions, ScorerOptions, TrainOptions};
use crate::settings::{self, FromFile};

/// Where the flags of every training stand in one training's configuration.
pub struct Places {
    /// The section of the algorithm.
    pub algorithm: &'static str,
    /// Its keys of batch size and learning rate.
    pub batch_size: &'static str,
    pub learning_rate: &'static str,
    /// The key of the distance between evaluations, its section before it.
    pub every: &'static str,
}

/// `KEY=VALUE` overrides, later ones on top.
#[derive(Debug, Default)]
pub struct Overrides(Vec<String>);

impl Overrides {
    /// A number or a word that needs no quotes.
    pub fn number(&mut self, key: impl std::fmt::Display, value: Option<impl std::fmt::Display>) {
        self.0.extend(value.map(|value| format!("{key}={value}")));
    }

    /// A text.
    pub fn text(&mut self, key: &str, value: Option<&str>) {
        // TOML's basic strings are JSON's.
        self.0.extend(value.map(|value| format!("{key}={}", serde_json::Value::from(value))));
    }

    /// A path.
    pub fn path(&mut self, key: &str, value: Option<&Path>) {
        self.text(key, value.map(|path| path.to_string_lossy()).as_deref());
    }

    /// The flags of every training.
    pub fn train(&mut self, options: &TrainOptions, places: &Places) {
        let Places { algorithm, batch_size, learning_rate, every } = places;
        self.path("model", options.model.as_deref());
        self.number("seed", options.seed);
        self.number("gradient_checkpointing", options.gradient_checkpointing.then_some(true));
        self.number("lora.rank", options.lora_rank);
        self.number("lora.alpha", options.lora_alpha);
        self.number("lora.targets", options.lora_targets.as_ref().map(|names| serde_json::json!(names)));
        self.number(format!("{algorithm}.{learning_rate}"), options.learning_rate);
        self.number(format!("{algorithm}.{batch_size}"), options.batch_size);
        self.number("epochs", options.epochs);
        // Passes that are asked for count, whatever number of steps a file has.
        self.number(format!("{algorithm}.steps"), options.steps.or(options.epochs.map(|_| 0)));
        self.number("limits.max_length", options.max_length);
        self.number("limits.max_prompt_length", options.max_prompt_length);
        self.text("limits.too_long", options.too_long.as_deref());
        self.number("held_out.fraction", options.eval_fraction);
        self.path("held_out.file", options.eval_file.as_deref());
        self.number(every, options.eval_steps);
        self.number("evaluation.save_every", options.save_steps);
    }

    /// The flag of steps that are made of several batches.
    pub fn accumulation(&mut self, options: &AccumulationOptions) {
        self.number("gradient_accumulation_steps", options.gradient_accumulation_steps);
    }

    /// The flags of scorers; one given here takes the place of the others in a file.
    pub fn scorer(&mut self, options: &ScorerOptions) {
        let (model, command) = (options.reward_model.as_deref(), options.scorer_command.as_deref());
        let classifier = options.classifier.as_deref();
        if model.is_some() || classifier.is_some() || command.is_some() {
            self.path("scorer.reward_model", Some(model.unwrap_or(Path::new(""))));
            self.path("scorer.classifier.folder", Some(classifier.unwrap_or(Path::new(""))));
            self.text("scorer.command", Some(command.unwrap_or_default()));
        }
        self.text("scorer.classifier.label", options.label.as_deref());
        self.number("scorer.program.timeout", options.scorer_timeout);
    }

    /// The configuration of a training: the file that ships, or `--config`, with these on top and `--set`
    /// above them.
    pub fn read<T: FromFile>(self, options: &TrainOptions, name: &str, shipped: &str) -> Result<T> {
        let overrides = [self.0, options.overrides.clone()].concat();
        match &options.config {
            Some(path) => settings::read_file(path, shipped, &overrides),
            None => settings::read_text(name, shipped, shipped, &overrides),
        }
    }
}

/// A configuration as TOML that can be read again.
pub fn as_toml(settings: &impl Serialize) -> Result<String> {
    toml::to_string(settings).context("a configuration as TOML")
}

/// What `--print-config` does.
pub fn print(settings: &impl Serialize) -> Result<()> {
    let text = as_toml(settings)?;
    std::io::stdout().lock().write_all(text.as_bytes()).context("standard output")
}
