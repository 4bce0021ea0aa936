//! The reference language model: where it comes from, and tokenizer and pi_SFT trained on reviews.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use burn::tensor::Device;
use imdb::Reviews;
use lm::checkpoint::{Precision, save_policy};
use lm::sft::{Corpus, SftConfig, SftTrainer, openings, perplexity};
use lm::{Config, Gpt2, Gpt2Config, Policy, Problem, Stream, Tokenizer, Trainer};
use serde::{Deserialize, Serialize};

use crate::imdb_frontier::reviews::spread;
use crate::progress::Progress;
use crate::repository;
use crate::study::folder::hash_files;

/// How a reference model is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReferenceConfig {
    /// Seed of the weights, the order of texts and the windows.
    pub seed: u64,
    /// Entries of the tokenizer, special tokens included.
    pub vocab_size: usize,
    /// Longest sequence in tokens.
    pub n_positions: usize,
    /// Width.
    pub n_embd: usize,
    /// Blocks.
    pub n_layer: usize,
    /// Attention heads.
    pub n_head: usize,
    /// Share of training windows that open a review.
    pub opening_share: f64,
    /// Whether the reviews without a label are used too.
    pub unsup: bool,
    /// The training itself.
    pub sft: SftConfig,
}

impl ReferenceConfig {
    /// Names every impossible value.
    pub fn problems(&self, section: &str) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut refuse = |key: &str, found: String, expected: &str| {
            problems.push(Problem::new(format!("{section}{key}"), found, expected));
        };
        if self.vocab_size < 258 {
            refuse("vocab_size", self.vocab_size.to_string(), "at least 258");
        }
        if !(0.0..=1.0).contains(&self.opening_share) {
            refuse("opening_share", self.opening_share.to_string(), "0 to 1");
        }
        if self.n_positions < 8 {
            refuse("n_positions", self.n_positions.to_string(), "at least 8");
        }
        let inner = self.architecture(self.vocab_size).problems();
        let inner = inner.into_iter().chain(self.sft.problems_within("sft"));
        problems.extend(inner.map(|problem| Problem { key: format!("{section}{}", problem.key), ..problem }));
        problems
    }

    /// The model's shape with a tokenizer of so many entries.
    pub fn architecture(&self, vocab_size: usize) -> Gpt2Config {
        Gpt2Config {
            vocab_size,
            n_positions: self.n_positions,
            n_embd: self.n_embd,
            n_layer: self.n_layer,
            n_head: self.n_head,
            layer_norm_epsilon: 1e-5,
        }
    }
}

/// Where the reference model comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ReferenceSource {
    /// The model in `data/reference-lm`.
    Shipped,
    /// A Hugging Face folder of a GPT-2.
    Folder(PathBuf),
    /// Trained first.
    Train(Box<ReferenceConfig>),
}

/// The model that ships.
pub const SHIPPED: &str = "data/reference-lm";

/// Where a reference that is not trained here comes from.
pub fn folder(source: &ReferenceSource) -> Result<Option<PathBuf>> {
    Ok(match source {
        ReferenceSource::Shipped => Some(repository::path(SHIPPED)?),
        ReferenceSource::Folder(path) => Some(path.clone()),
        ReferenceSource::Train(_) => None,
    })
}

/// Hash of the files of a reference that is not trained here.
pub fn fingerprint(source: &ReferenceSource) -> Result<String> {
    let Some(dir) = folder(source)? else { return Ok(String::new()) };
    hash_files(&dir, &["config.json", "tokenizer.json", "model.safetensors"]).context("reference model")
}

/// Shape of a reference model before it is trained or read.
pub fn architecture(source: &ReferenceSource) -> Result<Gpt2Config> {
    match (source, folder(source)?) {
        (ReferenceSource::Train(config), _) => Ok(config.architecture(config.vocab_size)),
        (_, dir) => Ok(lm::checkpoint::read_config(&dir.unwrap_or_default().join("config.json"))?),
    }
}

/// What training a reference gave.
pub struct Trained {
    pub policy: Policy,
    pub tokenizer: Tokenizer,
    /// Held-out perplexity per token on openings of test reviews.
    pub perplexity: f64,
    pub tokens: u64,
    pub seconds: f64,
}

/// Test reviews whose openings the perplexity is measured on; `spread` may take a few less.
pub const HELD_OUT: usize = 1000;

/// Steps between reports of the held-out perplexity.
const REPORT_EVERY: usize = 1000;

/// Trains a tokenizer and a language model on the train (and unsup) reviews. At every report the model so far is
/// written to `snapshots`, so that an interrupted training of hours leaves something behind.
pub fn train(
    config: &ReferenceConfig,
    reviews: &Reviews,
    temperature: f64,
    device: &Device,
    progress: &Progress,
    snapshots: Option<&Path>,
) -> Result<Trained> {
    let started = Instant::now();
    let train: Vec<&str> = reviews.train.iter().map(|review| review.text.as_str()).collect();
    let tokenizer = Tokenizer::train(&train, config.vocab_size)?;
    let unsup = reviews.unsup.iter().map(|review| review.text.as_str()).filter(|_| config.unsup);
    let texts: Vec<&str> = train.iter().copied().chain(unsup).collect();
    let documents = tokenizer.encode_batch(&texts)?;
    let held_out = spread(&reviews.test, HELD_OUT);
    let held_out = openings(&tokenizer.encode_batch(&held_out)?, config.n_positions, tokenizer.end());
    tracing::info!(
        "tokenizer of {} entries; {} texts, {:.1} M tokens; {} held-out openings ({:.0} s)",
        tokenizer.vocab_size(),
        documents.len(),
        documents.iter().map(Vec::len).sum::<usize>() as f64 / 1e6,
        held_out.len(),
        started.elapsed().as_secs_f64(),
    );
    let architecture = config.architecture(tokenizer.vocab_size());
    let model = Gpt2::init(&architecture, Stream::new(config.seed, "weights"), device)?;
    let policy = Policy::new(model, temperature, tokenizer.end())?;
    let corpus = Corpus::Documents {
        documents,
        context: config.n_positions + 1,
        opening_share: config.opening_share,
        end: tokenizer.end(),
    };
    let mut trainer = SftTrainer::new(&policy, corpus, &config.sft, config.seed)?;
    let mut task = progress.task("reference model", config.sft.steps as u64);
    let mut smooth = f64::NAN;
    for step in 1..=config.sft.steps {
        let metrics = trainer.step().map_err(|error| anyhow::anyhow!(error))?;
        let loss = metrics.iter().find(|(name, _)| *name == "loss").map_or(f64::NAN, |metric| metric.1);
        smooth = if smooth.is_nan() { loss } else { 0.98 * smooth + 0.02 * loss };
        let rate = trainer.tokens() as f64 / started.elapsed().as_secs_f64();
        task.at(step as u64, config.sft.steps as u64, &format!("loss {smooth:.3}, {rate:.0} tokens/s"));
        if step.is_multiple_of(REPORT_EVERY) {
            let part = &held_out[..held_out.len().min(200)];
            let policy = trainer.policy();
            tracing::info!("step {step}: held-out perplexity {:.1}", perplexity(&policy, part)?);
            if let Some(dir) = snapshots {
                save_policy(dir, &policy, &tokenizer, Precision::F16)?;
            }
        }
    }
    let policy = trainer.policy();
    let perplexity = perplexity(&policy, &held_out)?;
    task.done(&format!("held-out perplexity {perplexity:.1}"));
    Ok(Trained {
        policy,
        tokenizer,
        perplexity,
        tokens: trainer.tokens(),
        seconds: started.elapsed().as_secs_f64(),
    })
}
