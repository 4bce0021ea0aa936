//! The reference language model: tokenizer and pi_SFT trained on reviews, with a card.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use burn::tensor::Device;
use imdb::Reviews;
use lm::files::{Precision, save_policy};
use lm::sft::{Corpus, SftConfig, SftTrainer, openings, perplexity};
use lm::{Decoder, DecoderConfig, DeviceSpec, Policy, Sampling, Stream, Tokenizer, Trainer};
use serde::{Deserialize, Serialize};

use crate::cli::ReferenceOptions;
use crate::exit::Outcome;
use crate::preset::{self, Problem};
use crate::progress::Progress;
use crate::stages::data::spread;

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
            problems.push(Problem::new(&format!("{section}{key}"), found, expected));
        };
        if self.vocab_size < 258 {
            refuse("vocab_size", self.vocab_size.to_string(), "at least 258");
        }
        if !(0.0..=1.0).contains(&self.opening_share) {
            refuse("opening_share", self.opening_share.to_string(), "0 to 1");
        }
        if let Err(lm::LmError::Config { key, found, expected }) = self.architecture(self.vocab_size).check()
        {
            refuse(key, found, &expected);
        }
        if self.n_positions < 8 {
            refuse("n_positions", self.n_positions.to_string(), "at least 8");
        }
        for (key, value) in [("sft.steps", self.sft.steps), ("sft.batch_size", self.sft.batch_size)] {
            if value == 0 {
                refuse(key, "0".to_owned(), "at least 1");
            }
        }
        if let Err(lm::LmError::Config { key, found, expected }) = self.sft.optimizer.check() {
            refuse(&format!("sft.optimizer.{key}"), found, &expected);
        }
        problems
    }

    /// The model's shape with a tokenizer of so many entries.
    pub fn architecture(&self, vocabulary: usize) -> DecoderConfig {
        DecoderConfig::gpt2(lm::Shape {
            vocabulary,
            context: self.n_positions,
            width: self.n_embd,
            layers: self.n_layer,
            heads: self.n_head,
        })
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
    let model = Decoder::random(&architecture, Stream::new(config.seed, "weights"), device)?;
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

/// `experiments train-reference`.
pub fn run(options: &ReferenceOptions) -> Result<Outcome> {
    let shipped = include_str!("../presets/reference.toml");
    let config: ReferenceConfig = match &options.preset {
        Some(path) => preset::read_file(path, shipped, &options.overrides)?,
        None => preset::read_text("reference", shipped, shipped, &options.overrides)?,
    };
    preset::refuse("reference", &config.problems(""))?;
    let open = options.device.open(config.architecture(config.vocab_size).parameters())?;
    let reviews = crate::stages::data::load(&options.data, config.seed)?;
    let trained = train(&config, &reviews, 1.0, &open.device, &Progress::new(), Some(&options.out))?;
    save_policy(&options.out, &trained.policy, &trained.tokenizer, Precision::F16)?;
    write_card(&options.out, &config, &reviews, &trained, open.spec)?;
    Ok(Outcome::Done)
}

/// The card: data, tokens, perplexity, command, seed, and samples as they come.
fn write_card(
    dir: &Path,
    config: &ReferenceConfig,
    reviews: &Reviews,
    trained: &Trained,
    device: DeviceSpec,
) -> Result<()> {
    let sampling = Sampling { max_new_tokens: 40.min(config.n_positions - 1), batch_size: 8 };
    let prompts = vec![vec![trained.tokenizer.end()]; 8];
    let mut samples = String::new();
    for generation in trained.policy.generate(&prompts, &sampling, Stream::new(config.seed, "card"))? {
        writeln!(samples, "- {}", trained.tokenizer.decode(&generation.response)?.trim())?;
    }
    let architecture = config.architecture(trained.tokenizer.vocab_size());
    let card = format!(
        "# Reference language model\n\n\
         A GPT-2 of {:.2} M parameters ({} layers, width {}, {} heads, context {}, {} byte-level BPE tokens), the \
         supervised model that every method of this repository starts from and that KL is measured from.\n\n\
         | | |\n|-|-|\n\
         | data | IMDb reviews (Maas et al. 2011), {} train and {} unsup; content sha256 `{}` |\n\
         | tokens trained on | {:.1} M |\n\
         | held-out perplexity | {:.1} a token on the first {} tokens of about {HELD_OUT} test reviews |\n\
         | command | `cargo run -p experiments -- train-reference` |\n\
         | seed | {} |\n\
         | time | {:.0} minutes on `{device}` |\n\n\
         The folder is read by `transformers`: `AutoModelForCausalLM.from_pretrained(\"data/reference-lm\")`.\n\n\
         Samples from the begin token alone, not chosen:\n\n{samples}",
        architecture.parameters() as f64 / 1e6,
        config.n_layer,
        config.n_embd,
        config.n_head,
        config.n_positions,
        trained.tokenizer.vocab_size(),
        reviews.train.len(),
        if config.unsup { reviews.unsup.len() } else { 0 },
        reviews.origin.content_sha256,
        trained.tokens as f64 / 1e6,
        trained.perplexity,
        config.n_positions,
        config.seed,
        trained.seconds / 60.0,
    );
    let path = dir.join("README.md");
    std::fs::write(&path, card).with_context(|| path.display().to_string())
}
