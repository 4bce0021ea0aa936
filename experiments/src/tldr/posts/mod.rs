//! Policies trained on TL;DR: supervised fine-tuning on posts, and from there every method on people's
//! comparisons.

mod benchmark;
mod model;
mod steps;

use std::collections::BTreeMap;
use std::path::PathBuf;

use frontier::Method;
use lm::{Config, Problem};
use serde::{Deserialize, Serialize};

use crate::tldr::data::Files;

pub use benchmark::PostsBenchmark;
pub use model::Base;

/// What is trained, on what. Lists are overrides of a command's configuration, as its `--set` takes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Posts {
    /// Seeds of the reward models and of every method; the reference has the first.
    pub seeds: Vec<u64>,
    /// What is fine-tuned.
    pub model: Base,
    pub data: PostData,
    /// Most tokens of a post; longer ones are left out.
    pub max_prompt_length: usize,
    /// Longest summary in tokens.
    pub max_new_tokens: usize,
    /// Responses that are written together.
    pub batch_size: usize,
    /// `experiments sft`, which makes the reference.
    pub sft: Vec<String>,
    /// `experiments reward-model`.
    pub reward_model: Vec<String>,
    pub methods: BTreeMap<Method, Training>,
}

/// Posts and comparisons in OpenAI's schema.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PostData {
    /// From files.
    Files {
        posts: Vec<PathBuf>,
        /// Those whose summaries policies are compared with.
        held_out_posts: Vec<PathBuf>,
        comparisons: Vec<PathBuf>,
        /// Lines of the published files, for a plan without them.
        lines: Lines,
    },
    /// Made up.
    Synthetic { posts: u32, seed: u64 },
}

/// How much there is of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lines {
    pub posts: usize,
    /// Comparisons that are trained on.
    pub comparisons: usize,
    /// Comparisons of the second opinion.
    pub other_comparisons: usize,
}

/// The command that trains a method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Training {
    /// On what was preferred.
    Sft(Vec<String>),
    /// On the comparisons.
    Dpo(Vec<String>),
    /// On the posts, paid by the reward model.
    Ppo(Vec<String>),
    /// Likewise.
    Rloo(Vec<String>),
    /// Likewise.
    OnlineDpo(Vec<String>),
}

impl Config for Posts {
    fn problems(&self) -> Vec<Problem> {
        let mut seeds = self.seeds.clone();
        seeds.sort_unstable();
        seeds.dedup();
        let distinct = !seeds.is_empty() && seeds.len() == self.seeds.len();
        let found = format!("{:?}", self.seeds);
        let mut problems: Vec<Problem> =
            Problem::unless(distinct, "seeds", found, "one or more, none twice").into_iter().collect();
        for (key, count) in [
            ("max_prompt_length", self.max_prompt_length),
            ("max_new_tokens", self.max_new_tokens),
            ("batch_size", self.batch_size),
        ] {
            problems.extend(Problem::unless_counted(key, count));
        }
        problems.extend(Problem::unless(!self.methods.is_empty(), "methods", "none", "one or more"));
        for untrained in self.methods.keys().filter(|method| !method.is_trained()) {
            let key = format!("methods.{untrained}");
            problems.push(Problem::new(key, "a method without training", "one that is trained"));
        }
        problems.extend(self.model.problems_within("model"));
        problems.extend(self.data.problems_within("data"));
        problems
    }
}

impl Config for PostData {
    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Files { posts, held_out_posts, comparisons, lines: _ } => {
                let all = [
                    ("files.posts", posts),
                    ("files.held_out_posts", held_out_posts),
                    ("files.comparisons", comparisons),
                ];
                let some = |(key, paths): (&str, &Vec<PathBuf>)| {
                    Problem::unless(!paths.is_empty(), key, "none", "one or more paths")
                };
                all.into_iter().filter_map(some).collect()
            }
            Self::Synthetic { posts, seed: _ } => {
                Problem::unless(*posts >= 20, "synthetic.posts", posts, "at least 20").into_iter().collect()
            }
        }
    }
}

impl PostData {
    /// How much there is to train on.
    fn lines(&self) -> Lines {
        match self {
            Self::Files { lines, .. } => *lines,
            // Of ten posts eight are for training and one for the second opinion, each compared twice.
            Self::Synthetic { posts, seed: _ } => {
                let tenths = *posts as usize / 10;
                Lines { posts: 8 * tenths, comparisons: 16 * tenths, other_comparisons: 2 * tenths }
            }
        }
    }

    /// The files, where they are not made up.
    fn files(&self) -> Option<Files> {
        match self {
            Self::Files { posts, held_out_posts, comparisons, lines: _ } => Some(Files {
                posts: posts.clone(),
                held_out_posts: held_out_posts.clone(),
                comparisons: comparisons.clone(),
            }),
            Self::Synthetic { .. } => None,
        }
    }

    /// In words.
    fn about(&self) -> String {
        match self {
            Self::Files { .. } => {
                let names: Vec<String> =
                    self.files().iter().flat_map(Files::all).map(|path| path.display().to_string()).collect();
                names.join(", ")
            }
            Self::Synthetic { posts, seed } => format!("{posts} posts that a program made up, seed {seed}"),
        }
    }
}

impl Training {
    /// Overrides of the command's configuration.
    fn set(&self) -> &[String] {
        match self {
            Self::Sft(set) | Self::Dpo(set) | Self::Ppo(set) | Self::Rloo(set) | Self::OnlineDpo(set) => set,
        }
    }
}
