//! The reference language model: where it comes from, and tokenizer and pi_SFT trained on reviews.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use burn::tensor::Device;
use imdb::Reviews;
use lm::files::{Precision, files_of, load_policy, save_policy};
use lm::sft::{Corpus, SftConfig, SftTrainer, openings, perplexity};
use lm::{
    Activations, Config, Decoder, DecoderConfig, Policy, PolicyTrainer, Problem, Sequence, Stream, Tokenizer,
    Trainer,
};
use serde::{Deserialize, Serialize};
use training::{Loop, Observer};

use crate::exit::BadInput;
use crate::imdb_frontier::reviews::spread;
use crate::progress::{Progress, Task};
use crate::repository;
use crate::settings::FromFile;
use crate::study::folder::{hash_files, write_files};

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

impl Config for ReferenceConfig {
    fn problems(&self) -> Vec<Problem> {
        let share = (0.0..=1.0).contains(&self.opening_share);
        let own = [
            Problem::unless(self.vocab_size >= 258, "vocab_size", self.vocab_size, "at least 258"),
            Problem::unless(share, "opening_share", self.opening_share, "0 to 1"),
            Problem::unless(self.n_positions >= 8, "n_positions", self.n_positions, "at least 8"),
        ];
        let shape = self.architecture(self.vocab_size).problems();
        own.into_iter().flatten().chain(shape).chain(self.sft.problems_within("sft")).collect()
    }
}

impl FromFile for ReferenceConfig {}

impl ReferenceConfig {
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

/// How a model of others is fine-tuned on the reviews to be the reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FineTuneConfig {
    /// Its Hugging Face folder. Without one the weights are drawn and the tokenizer is trained on the
    /// reviews: the same study in small.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// What its `config.json` says, so that a study can be planned before the folder is there.
    pub model: DecoderConfig,
    /// Seed of drawn weights, the order of texts and the windows.
    pub seed: u64,
    /// Longest window of a review in tokens.
    pub window: usize,
    /// Share of training windows that open a review.
    pub opening_share: f64,
    /// Whether the reviews without a label are used too.
    pub unsup: bool,
    /// The training itself.
    pub sft: SftConfig,
}

impl Config for FineTuneConfig {
    fn problems(&self) -> Vec<Problem> {
        let share = (0.0..=1.0).contains(&self.opening_share);
        let context = self.model.shape().context;
        let own = [
            Problem::unless(share, "opening_share", self.opening_share, "0 to 1"),
            Problem::unless(
                (8..=context).contains(&self.window),
                "window",
                self.window,
                format!("8 to the model's context of {context}"),
            ),
        ];
        let model = self.model.problems_within("model");
        own.into_iter().flatten().chain(model).chain(self.sft.problems_within("sft")).collect()
    }
}

/// Where the reference model comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ReferenceSource {
    /// The model in `data/reference-lm`.
    Shipped,
    /// A Hugging Face folder.
    Folder(PathBuf),
    /// Trained first.
    Train(Box<ReferenceConfig>),
    /// A model of others, fine-tuned first.
    FineTune(Box<FineTuneConfig>),
}

/// The model that ships.
pub const SHIPPED: &str = "data/reference-lm";

/// The folder that a reference is read from, as it is or to be fine-tuned.
pub fn folder(source: &ReferenceSource) -> Result<Option<PathBuf>> {
    Ok(match source {
        ReferenceSource::Shipped => Some(repository::path(SHIPPED)?),
        ReferenceSource::Folder(path) => Some(repository::here_or_there(path)),
        ReferenceSource::Train(_) => None,
        ReferenceSource::FineTune(config) => config.folder.as_deref().map(repository::here_or_there),
    })
}

/// Hash of the files that a reference is read from.
pub fn fingerprint(source: &ReferenceSource) -> Result<String> {
    let Some(dir) = folder(source)? else { return Ok(String::new()) };
    let files = files_of(&dir).map_err(|error| BadInput(format!("reference model: {error}")))?;
    hash_files(&files).context("reference model")
}

/// Shape of a reference model before it is trained or read.
pub fn architecture(source: &ReferenceSource) -> Result<DecoderConfig> {
    match (source, folder(source)?) {
        (ReferenceSource::Train(config), _) => Ok(config.architecture(config.vocab_size)),
        (ReferenceSource::FineTune(config), _) => Ok(config.model.clone()),
        (ReferenceSource::Shipped | ReferenceSource::Folder(_), dir) => {
            Ok(lm::files::read_config(&dir.unwrap_or_default().join("config.json"))?)
        }
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

/// Held-out openings that a report on the way takes; the last one takes all.
const REPORT_ON: usize = 200;

/// Where a training happens, and who hears of it.
pub struct TrainingContext<'a> {
    pub device: &'a Device,
    pub progress: &'a Progress,
    /// The file that gets the training's curve.
    pub metrics: &'a Path,
    /// The folder that gets the model so far at every report, so that an interrupted training of hours
    /// leaves something behind.
    pub snapshots: Option<&'a Path>,
    pub activations: Activations,
}

/// How reviews become training windows.
struct Windows<'a> {
    /// Longest window in tokens, what is predicted last not counted.
    context: usize,
    opening_share: f64,
    unsup: bool,
    seed: u64,
    sft: &'a SftConfig,
}

/// Trains a tokenizer and a language model on the train (and unsup) reviews.
pub fn train(
    config: &ReferenceConfig,
    reviews: &Reviews,
    temperature: f64,
    context: &TrainingContext<'_>,
) -> Result<Trained> {
    let tokenizer = Tokenizer::train(&train_texts(reviews), config.vocab_size)?;
    let architecture = config.architecture(tokenizer.vocab_size());
    let model = Decoder::random(&architecture, Stream::new(config.seed, "weights"), context.device)?;
    let policy = Policy::new(model, temperature, tokenizer.end())?;
    let ReferenceConfig { n_positions, opening_share, unsup, seed, ref sft, .. } = *config;
    fit(
        (policy, tokenizer),
        reviews,
        &Windows { context: n_positions, opening_share, unsup, seed, sft },
        context,
    )
}

/// Fine-tunes a model of others on the train (and unsup) reviews, or a model of random weights in its place.
pub fn fine_tune(
    source: &ReferenceSource,
    config: &FineTuneConfig,
    reviews: &Reviews,
    temperature: f64,
    context: &TrainingContext<'_>,
) -> Result<Trained> {
    let start = if let Some(dir) = folder(source)? {
        let path = dir.join("config.json");
        let found = lm::files::read_config(&path)?;
        if found != config.model {
            let expected = format!("expected what reference.fine_tune.model says, {:?}", config.model);
            return Err(BadInput(format!("{}: found {found:?}, {expected}", path.display())).into());
        }
        load_policy(&dir, temperature, context.device)?
    } else {
        let tokenizer = Tokenizer::train(&train_texts(reviews), config.model.shape().vocabulary)?;
        let model = config.model.clone().with_vocabulary(tokenizer.vocab_size());
        let model = Decoder::random(&model, Stream::new(config.seed, "weights"), context.device)?;
        (Policy::new(model, temperature, tokenizer.end())?, tokenizer)
    };
    let FineTuneConfig { window, opening_share, unsup, seed, ref sft, .. } = *config;
    fit(start, reviews, &Windows { context: window, opening_share, unsup, seed, sft }, context)
}

fn train_texts(reviews: &Reviews) -> Vec<&str> {
    reviews.train.iter().map(|review| review.text.as_str()).collect()
}

/// Trains a policy on windows of the reviews.
fn fit(
    (policy, tokenizer): (Policy, Tokenizer),
    reviews: &Reviews,
    windows: &Windows<'_>,
    context: &TrainingContext<'_>,
) -> Result<Trained> {
    let started = Instant::now();
    let unsup = reviews.unsup.iter().map(|review| review.text.as_str()).filter(|_| windows.unsup);
    let texts: Vec<&str> = train_texts(reviews).into_iter().chain(unsup).collect();
    let documents = tokenizer.encode_batch(&texts)?;
    let held_out = spread(&reviews.test, HELD_OUT);
    let held_out = openings(&tokenizer.encode_batch(&held_out)?, windows.context, tokenizer.ends());
    tracing::info!(
        "tokenizer of {} entries; {} texts, {:.1} M tokens; {} held-out openings ({:.0} s)",
        tokenizer.vocab_size(),
        documents.len(),
        documents.iter().map(Vec::len).sum::<usize>() as f64 / 1e6,
        held_out.len(),
        started.elapsed().as_secs_f64(),
    );
    let corpus = Corpus::Documents {
        documents,
        // The last token of a window is only predicted.
        context: windows.context + 1,
        opening_share: windows.opening_share,
        ends: tokenizer.ends(),
    };
    let trainer = SftTrainer::new(&policy, corpus, windows.sft, windows.seed)?;
    let mut trainer = trainer.with_activations(context.activations);
    let steps = windows.sft.steps;
    let plan = Loop { first: 0, steps, evaluate_every: REPORT_EVERY, metrics: Some(context.metrics) };
    let mut reports = Reports {
        task: context.progress.task("reference model", steps as u64),
        snapshots: context.snapshots,
        tokenizer: &tokenizer,
        held_out: &held_out,
        steps,
        started,
        smooth_loss: f64::NAN,
        perplexity: f64::NAN,
    };
    training::run(&mut trainer, &plan, &mut reports)?;
    let perplexity = reports.perplexity;
    reports.task.done(&format!("held-out perplexity {perplexity:.1}"));
    Ok(Trained {
        policy: trainer.policy(),
        tokens: trainer.tokens(),
        seconds: started.elapsed().as_secs_f64(),
        tokenizer,
        perplexity,
    })
}

/// Writes a model as it ships. A training of hours that is cut short here leaves the one before.
pub fn save(dir: &Path, policy: &Policy, tokenizer: &Tokenizer) -> Result<()> {
    write_files(dir, |dir| Ok(save_policy(dir, policy, tokenizer, Precision::F16)?))
}

/// Reports of a training on its way.
struct Reports<'a> {
    task: Task,
    snapshots: Option<&'a Path>,
    tokenizer: &'a Tokenizer,
    held_out: &'a [Sequence],
    steps: usize,
    started: Instant,
    smooth_loss: f64,
    perplexity: f64,
}

impl Observer<SftTrainer> for Reports<'_> {
    type Error = anyhow::Error;

    fn evaluate(&mut self, step: usize, trainer: &SftTrainer) -> Result<()> {
        if step == 0 {
            // Before training every token is as likely as another.
            return Ok(());
        }
        let policy = trainer.policy();
        if step == self.steps {
            self.perplexity = perplexity(&policy, self.held_out)?;
            return Ok(());
        }
        let some = &self.held_out[..self.held_out.len().min(REPORT_ON)];
        tracing::info!("step {step}: held-out perplexity {:.1}", perplexity(&policy, some)?);
        if let Some(dir) = self.snapshots {
            save(dir, &policy, self.tokenizer)?;
        }
        Ok(())
    }

    fn progress(&mut self, progress: &training::Progress<'_>, trainer: &SftTrainer) -> Result<()> {
        let loss = progress.metric("loss");
        self.smooth_loss =
            if self.smooth_loss.is_nan() { loss } else { 0.98 * self.smooth_loss + 0.02 * loss };
        let rate = trainer.tokens() as f64 / self.started.elapsed().as_secs_f64();
        let message = format!("loss {:.3}, {rate:.0} tokens/s", self.smooth_loss);
        self.task.at(progress.step as u64, self.steps as u64, &message);
        Ok(())
    }
}
