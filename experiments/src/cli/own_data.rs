//! Commands on a user's own model and data.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::device::DeviceOptions;
use super::format::Format;

/// What every training takes. A flag is short for a key of the configuration.
#[derive(Debug, Clone, Args)]
pub struct TrainOptions {
    /// The model to start from: a folder in Hugging Face's layout.
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Output folder, a new one or that of the same training, which then goes on.
    #[arg(long, value_name = "DIR", required_unless_present_any = ["print_config", "plan"])]
    pub out: Option<PathBuf>,
    /// A whole configuration, as --print-config prints it; flags and --set come on top.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Override one value of the configuration; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Print the configuration that all this comes to, and stop.
    #[arg(long)]
    pub print_config: bool,
    /// Print what would be done and the memory that it takes, and stop.
    #[arg(long)]
    pub plan: bool,
    /// Seed of all that is random.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Peak learning rate of the policy or reward model.
    #[arg(long)]
    pub learning_rate: Option<f64>,
    /// Examples per step: pairs (those with one prompt count once in dpo), texts, or with ppo responses.
    #[arg(long)]
    pub batch_size: Option<usize>,
    /// Compute the activations of each block again in the backward pass in place of keeping
    /// them: less memory, more time.
    #[arg(long)]
    pub gradient_checkpointing: bool,
    /// Train low-rank adapters of this rank in place of all weights; 0 for all weights.
    #[arg(long, value_name = "RANK")]
    pub lora_rank: Option<usize>,
    /// The scale of the adapters is this number over the rank.
    #[arg(long, value_name = "NUMBER")]
    pub lora_alpha: Option<f64>,
    /// Names of the layers that have adapters, with commas between them, or all-linear
    /// [default: PEFT's for the family].
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub lora_targets: Option<Vec<String>>,
    /// Passes over the data.
    #[arg(long, conflicts_with = "steps")]
    pub epochs: Option<f64>,
    /// Steps in all, in place of passes.
    #[arg(long)]
    pub steps: Option<usize>,
    /// Most tokens of prompt and response; 0 for the model's context, at most 1024.
    #[arg(long)]
    pub max_length: Option<usize>,
    /// Most tokens of the prompt; 0 for half of --max-length.
    #[arg(long)]
    pub max_prompt_length: Option<usize>,
    /// What becomes of longer examples: skip (left out and counted), truncate or refuse.
    #[arg(long)]
    pub too_long: Option<String>,
    /// Share of the data that is held out for evaluations.
    #[arg(long)]
    pub eval_fraction: Option<f64>,
    /// A file for evaluations, in place of a share of the data.
    #[arg(long, value_name = "FILE")]
    pub eval_file: Option<PathBuf>,
    /// Steps between evaluations; 0 for a tenth of all steps.
    #[arg(long)]
    pub eval_steps: Option<usize>,
    /// Steps between checkpoints, from which a training goes on that was stopped; 0 for those between
    /// evaluations.
    #[arg(long)]
    pub save_steps: Option<usize>,
    #[command(flatten)]
    pub device: DeviceOptions,
}

/// How many batches make a step.
#[derive(Debug, Clone, Default, Args)]
pub struct AccumulationOptions {
    /// Batches of a step, one after another in memory: its update is that of one batch of all of them.
    #[arg(long, value_name = "BATCHES")]
    pub gradient_accumulation_steps: Option<usize>,
}

/// What scores responses.
#[derive(Debug, Clone, Default, Args)]
pub struct ScorerOptions {
    /// A reward model's folder: a sequence classifier with one label.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["scorer_command", "classifier"])]
    pub reward_model: Option<PathBuf>,
    /// A text classifier's folder: BERT, RoBERTa or DistilBERT, as train-classifier makes them.
    #[arg(long, value_name = "DIR", conflicts_with = "scorer_command")]
    pub classifier: Option<PathBuf>,
    /// The label whose probability is the score, by its name or number [default: 1].
    #[arg(long, requires = "classifier")]
    pub label: Option<String>,
    /// A program, as the shell starts it: for each line {"prompt": ..., "response": ...} that it reads it
    /// writes a line with a number or {"score": number}.
    #[arg(long, value_name = "COMMAND")]
    pub scorer_command: Option<String>,
    /// Seconds that the program may take for an answer [default: 120].
    #[arg(long, value_name = "SECONDS", requires = "scorer_command")]
    pub scorer_timeout: Option<f64>,
}

#[derive(Debug, Clone, Args)]
pub struct SftOptions {
    /// JSON Lines of texts: `text`, `prompt` with `completion`, or `messages`.
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    #[command(flatten)]
    pub accumulation: AccumulationOptions,
    #[command(flatten)]
    pub train: TrainOptions,
}

#[derive(Debug, Clone, Args)]
pub struct RewardModelOptions {
    /// JSON Lines of preference pairs: `prompt`, `chosen`, `rejected`, or the last two alone.
    #[arg(long, value_name = "FILE")]
    pub pairs: Option<PathBuf>,
    #[command(flatten)]
    pub accumulation: AccumulationOptions,
    #[command(flatten)]
    pub train: TrainOptions,
}

#[derive(Debug, Clone, Args)]
pub struct DpoOptions {
    /// JSON Lines of preference pairs: `prompt`, `chosen`, `rejected`, or the last two alone.
    #[arg(long, value_name = "FILE")]
    pub pairs: Option<PathBuf>,
    /// Strength of the pull towards the model that training starts from.
    #[arg(long)]
    pub beta: Option<f64>,
    /// What is minimised.
    #[arg(long, value_enum)]
    pub loss_type: Option<LossType>,
    /// Probability that a label is flipped (conservative DPO), for the sigmoid loss.
    #[arg(long)]
    pub label_smoothing: Option<f64>,
    #[command(flatten)]
    pub scorer: ScorerOptions,
    #[command(flatten)]
    pub accumulation: AccumulationOptions,
    #[command(flatten)]
    pub train: TrainOptions,
}

/// Losses on preference pairs by TRL's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LossType {
    /// DPO.
    Sigmoid,
    /// IPO.
    Ipo,
    /// SLiC's loss on DPO's margin.
    Hinge,
    /// Likelihood of chosen up, of rejected down; the weight of the latter is
    /// `dpo.loss.alpha`, 0.5 unless it is set.
    Unlikelihood,
}

#[derive(Debug, Clone, Args)]
pub struct PpoOptions {
    /// How the policy learns from scores.
    #[arg(long, value_enum, default_value_t)]
    pub algorithm: AlgorithmName,
    /// JSON Lines of prompts: `prompt`.
    #[arg(long, value_name = "FILE")]
    pub prompts: Option<PathBuf>,
    #[command(flatten)]
    pub scorer: ScorerOptions,
    /// The KL coefficient: fixed, or with --target-kl the one that the controller starts from.
    #[arg(long)]
    pub kl_coef: Option<f64>,
    /// The KL of whole responses to steer to, in nats.
    #[arg(long)]
    pub target_kl: Option<f64>,
    /// Longest response in tokens; 0 for what --max-length leaves, at most 128.
    #[arg(long)]
    pub max_new_tokens: Option<usize>,
    #[command(flatten)]
    pub train: TrainOptions,
}

/// Algorithms that learn from scores of the policy's own responses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum AlgorithmName {
    /// Proximal policy optimisation with a value model.
    #[default]
    Ppo,
    /// REINFORCE with a leave-one-out baseline.
    Rloo,
    /// DPO on pairs of fresh responses.
    OnlineDpo,
}

/// What an adapter's folder is merged with.
#[derive(Debug, Clone, Args)]
pub struct MergeOptions {
    /// The folder of a trained adapter, ours or PEFT's.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// The folder of the model that it was trained on [default: the one that it names].
    #[arg(long, value_name = "DIR")]
    pub base_model: Option<PathBuf>,
    /// Output folder, a new or empty one.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub struct GenerateOptions {
    /// The model's folder, or that of an adapter.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// The folder of the model that the adapter was trained on [default: the one that it names].
    #[arg(long, value_name = "DIR")]
    pub base_model: Option<PathBuf>,
    /// JSON Lines of prompts: `prompt`.
    #[arg(long, value_name = "FILE")]
    pub prompts: PathBuf,
    /// Where responses go, as JSON Lines; - for standard output.
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub out: PathBuf,
    /// Sampling temperature; 0 for the most probable token everywhere.
    #[arg(long, default_value_t = 1.0)]
    pub temperature: f64,
    /// Draw from so many most probable tokens only.
    #[arg(long)]
    pub top_k: Option<usize>,
    /// Draw from as few most probable tokens as have this probability together.
    #[arg(long)]
    pub top_p: Option<f64>,
    /// Responses to each prompt.
    #[arg(long, default_value_t = 1)]
    pub num_return_sequences: usize,
    #[command(flatten)]
    pub sampling: SamplingOptions,
    #[command(flatten)]
    pub device: DeviceOptions,
}

/// How responses are drawn.
#[derive(Debug, Clone, Args)]
pub struct SamplingOptions {
    /// Longest response in tokens.
    #[arg(long, default_value_t = 64)]
    pub max_new_tokens: usize,
    /// Most tokens of a prompt [default: what the response leaves of the model's context].
    #[arg(long)]
    pub max_prompt_length: Option<usize>,
    /// What becomes of longer prompts: skip (left out and counted), truncate or refuse.
    #[arg(long, default_value = "refuse")]
    pub too_long: String,
    /// Responses that are written together.
    #[arg(long, default_value_t = 64)]
    pub batch_size: usize,
    /// Seed of the responses.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

#[derive(Debug, Clone, Args)]
pub struct ScoreOptions {
    /// JSON Lines with `prompt` and `response`, as generate writes them.
    #[arg(long, value_name = "FILE")]
    pub responses: PathBuf,
    /// Where they go with their scores, as JSON Lines; - for standard output.
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub out: PathBuf,
    #[command(flatten)]
    pub scorer: ScorerOptions,
    /// The folder of the model that a reward model's adapter was trained on [default: the one that it names].
    #[arg(long, value_name = "DIR", requires = "reward_model")]
    pub base_model: Option<PathBuf>,
    #[command(flatten)]
    pub device: DeviceOptions,
}

#[derive(Debug, Clone, Args)]
pub struct EvaluateOptions {
    /// The model's folder, or that of an adapter.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// The folder of the model that the adapter was trained on [default: the one that it names].
    #[arg(long, value_name = "DIR")]
    pub base_model: Option<PathBuf>,
    /// The folder of the model that it is compared with and that KL is measured from.
    #[arg(long, value_name = "DIR")]
    pub reference: PathBuf,
    /// JSON Lines of prompts: `prompt`.
    #[arg(long, value_name = "FILE")]
    pub prompts: PathBuf,
    #[command(flatten)]
    pub scorer: ScorerOptions,
    /// Sampling temperature of both.
    #[arg(long, default_value_t = 1.0)]
    pub temperature: f64,
    #[command(flatten)]
    pub sampling: SamplingOptions,
    /// text, or json.
    #[arg(long, default_value = "text")]
    pub format: Format,
    #[command(flatten)]
    pub device: DeviceOptions,
}
