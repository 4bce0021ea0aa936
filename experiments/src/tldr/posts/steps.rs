//! The trainings, one after the other: each is a command on own data, as a user would call it.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Parser, Subcommand};
use frontier::Method;

use crate::cli::own_data::{DpoOptions, PpoOptions, RewardModelOptions, SftOptions};
use crate::commands::training::sections::Outline;
use crate::commands::{dpo, ppo, reward_model, sft};
use crate::exit::Outcome;
use crate::tldr::data::{OTHER_PREFERENCES, PREFERENCES, PREFERRED, PROMPTS, SFT};
use crate::tldr::posts::{Posts, Training};

/// The name of the reference's training.
pub const REFERENCE: &str = "sft";
/// The name of the second opinion's.
pub const SECOND_OPINION: &str = "second-opinion";

/// A training.
pub struct Step {
    /// Its folder's name.
    pub name: String,
    /// The command line, without the program.
    pub arguments: Vec<String>,
    /// Lines of its data.
    pub lines: usize,
}

/// Where trainings read and write.
pub struct Places<'a> {
    pub data: &'a Path,
    pub models: &'a Path,
    /// The model that is fine-tuned.
    pub base: &'a Path,
    /// `--device` and `--precision`.
    pub device: [String; 2],
}

/// The folder's name of a method's policy, or of a reward model.
pub fn named(what: impl std::fmt::Display, seed: u64) -> String {
    format!("{what}-s{seed}")
}

/// The reward model of a seed.
pub fn reward_model_of(seed: u64) -> String {
    named("reward-model", seed)
}

/// All trainings, in an order in which each finds what it needs.
pub fn steps(posts: &Posts, places: &Places<'_>) -> Vec<Step> {
    let (lines, first) = (posts.data.lines(), posts.seeds.first().copied().unwrap_or_default());
    let reference = places.models.join(REFERENCE);
    let of =
        |name: String, (from, seed): (&Path, u64), command: &[&str], data: (&str, usize), set: &[String]| {
            let (file, lines) = data;
            let mut arguments: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
            arguments.push(places.data.join(file).display().to_string());
            let folder = places.models.join(&name);
            arguments.extend(common(posts, places, (from, &folder, seed)));
            arguments.extend(set.iter().flat_map(|entry| ["--set".to_owned(), entry.clone()]));
            Step { name, arguments, lines }
        };
    let mut steps = vec![of(
        REFERENCE.to_owned(),
        (places.base, first),
        &["sft", "--data"],
        (SFT, lines.posts),
        &posts.sft,
    )];
    steps[0].arguments.extend(batches("sampling", posts.batch_size));
    let reward = |name: String, seed: u64, data: (&str, usize)| {
        of(name, (&reference, seed), &["reward-model", "--pairs"], data, &posts.reward_model)
    };
    let (comparisons, prompts) = ((PREFERENCES, lines.comparisons), (PROMPTS, lines.posts));
    steps.extend(posts.seeds.iter().map(|&seed| reward(reward_model_of(seed), seed, comparisons)));
    steps.push(reward(SECOND_OPINION.to_owned(), first, (OTHER_PREFERENCES, lines.other_comparisons)));
    for (method, training) in &posts.methods {
        for &seed in &posts.seeds {
            let (command, data, sampling): (&[&str], _, _) = match training {
                Training::Sft(_) => (&["sft", "--data"], (PREFERRED, lines.comparisons), "sampling"),
                Training::Dpo(_) => (&["dpo", "--pairs"], comparisons, "sampling"),
                Training::Ppo(_) => (&["ppo", "--algorithm", "ppo", "--prompts"], prompts, "ppo.sampling"),
                Training::Rloo(_) => (&["ppo", "--algorithm", "rloo", "--prompts"], prompts, "rloo.sampling"),
                Training::OnlineDpo(_) => {
                    (&["ppo", "--algorithm", "online-dpo", "--prompts"], prompts, "online_dpo.sampling")
                }
            };
            let mut step = of(named(method, seed), (&reference, seed), command, data, training.set());
            step.arguments.extend(batches(sampling, posts.batch_size));
            if command[0] == "ppo" {
                let reward_model = places.models.join(reward_model_of(seed)).display().to_string();
                step.arguments.extend(["--reward-model".to_owned(), reward_model]);
                step.arguments.extend(["--max-new-tokens".to_owned(), posts.max_new_tokens.to_string()]);
            }
            steps.push(step);
        }
    }
    steps
}

/// The responses that are written together.
fn batches(sampling: &str, count: usize) -> [String; 2] {
    ["--set".to_owned(), format!("{sampling}.batch_size={count}")]
}

/// What every training is told.
fn common(posts: &Posts, places: &Places<'_>, (from, to, seed): (&Path, &Path, u64)) -> Vec<String> {
    let length = posts.max_prompt_length + posts.max_new_tokens;
    let [device, precision] = places.device.clone();
    [
        ("--model", from.display().to_string()),
        ("--out", to.display().to_string()),
        ("--seed", seed.to_string()),
        ("--max-length", length.to_string()),
        ("--max-prompt-length", posts.max_prompt_length.to_string()),
        ("--device", device),
        ("--precision", precision),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect()
}

/// The policies that come of it, those of a method together.
pub fn policies(posts: &Posts, models: &Path) -> Vec<(Method, u64, String, PathBuf)> {
    let of_method = |method: &Method| -> Vec<_> {
        let policy = |&seed: &u64| {
            let name = named(method, seed);
            let folder = models.join(&name);
            (*method, seed, name, folder)
        };
        posts.seeds.iter().map(policy).collect()
    };
    posts.methods.keys().flat_map(of_method).collect()
}

/// The command line of a training.
#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// The commands that train, as the program's own.
#[derive(Subcommand)]
enum Command {
    Sft(SftOptions),
    RewardModel(RewardModelOptions),
    Dpo(DpoOptions),
    Ppo(PpoOptions),
}

impl Step {
    fn command(&self) -> Result<Command> {
        let words = std::iter::once("experiments").chain(self.arguments.iter().map(String::as_str));
        Ok(Line::try_parse_from(words)?.command)
    }

    /// How long the training is, from its configuration alone, which is checked on the way.
    pub fn outline(&self) -> Result<Outline> {
        match self.command()? {
            Command::Sft(options) => sft::outline(&options),
            Command::RewardModel(options) => reward_model::outline(&options),
            Command::Dpo(options) => dpo::outline(&options),
            Command::Ppo(options) => ppo::outline(&options),
        }
    }

    /// Trains, or goes on, or sees that it is finished.
    pub fn run(&self) -> Result<()> {
        tracing::info!("{}: experiments {}", self.name, self.arguments.join(" "));
        let outcome = match self.command()? {
            Command::Sft(options) => sft::run(&options),
            Command::RewardModel(options) => reward_model::run(&options),
            Command::Dpo(options) => dpo::run(&options),
            Command::Ppo(options) => ppo::run(&options),
        }?;
        anyhow::ensure!(outcome == Outcome::Done, "{} is not finished", self.name);
        Ok(())
    }
}
