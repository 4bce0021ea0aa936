//! What `closed-form` computes, as written in `experiments/presets/closed-form.toml`.

use anyhow::Result;
use dpo::{DpoConfig, Loss};
use lm::{Config, DecoderConfig, Problem};
use ppo::{KlControl, PpoConfig};
use serde::{Deserialize, Serialize};

use super::responses::{PROMPT, responses};
use crate::cli::ClosedFormOptions;
use crate::settings::{self, FromFile};

/// More responses than this make more pairs than anyone wants to wait for.
const MOST_RESPONSES: usize = 400;

/// The walk as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Seed of weights, rewards, samples and training.
    pub seed: u64,
    /// Temperature of policy and reference.
    pub temperature: f64,
    /// The largest k of the rewards ln k.
    pub largest_odds: u32,
    /// The model of the policy and of PPO's value model.
    pub model: DecoderConfig,
    /// Z by Monte Carlo.
    pub partition: PartitionConfig,
    /// DPO; its beta is the beta of all equations.
    pub dpo: DpoConfig,
    /// PPO, whose fixed `kl_coef` is that beta.
    pub ppo: PpoConfig,
}

/// How Z is estimated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionConfig {
    /// The betas.
    pub betas: Vec<f64>,
    /// Numbers of samples, ascending.
    pub samples: Vec<usize>,
    /// Independent estimates of each size.
    pub repetitions: usize,
}

impl FromFile for Settings {}

impl Config for Settings {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut refuse = |possible: bool, key: &str, found: String, expected: &str| {
            if !possible {
                problems.push(Problem::new(key, found, expected));
            }
        };
        refuse(self.largest_odds > 1, "largest_odds", self.largest_odds.to_string(), "at least 2");
        let partition = &self.partition;
        let positive = |beta: &f64| *beta > 0.0 && beta.is_finite();
        let betas = !partition.betas.is_empty() && partition.betas.iter().all(positive);
        refuse(betas, "partition.betas", format!("{:?}", partition.betas), "positive numbers");
        let ascending = partition.samples.first().is_some_and(|first| *first > 0)
            && partition.samples.windows(2).all(|pair| pair[0] < pair[1]);
        refuse(ascending, "partition.samples", format!("{:?}", partition.samples), "ascending whole numbers");
        refuse(partition.repetitions > 0, "partition.repetitions", "0".to_owned(), "at least 1");
        let plain = Loss::Sigmoid { label_smoothing: 0.0 };
        let found = format!("{:?}", self.dpo.loss);
        refuse(self.dpo.loss == plain, "dpo.loss", found, "the sigmoid loss without label smoothing");
        let fixed = KlControl::Fixed { kl_coef: self.beta() };
        let expected = format!("fixed, with kl_coef = dpo.beta = {}", self.beta());
        refuse(self.ppo.kl == fixed, "ppo.kl", format!("{:?}", self.ppo.kl), &expected);
        problems.extend(self.dpo.problems_within("dpo"));
        problems.extend(self.ppo.problems_within("ppo"));
        problems.extend(self.model_problems());
        problems
    }
}

impl Settings {
    /// Reads the preset, applies overrides and checks all values.
    pub fn load(options: &ClosedFormOptions) -> Result<Self> {
        let shipped = include_str!("../../../presets/closed-form.toml");
        match &options.preset {
            None => settings::read_text("closed-form", shipped, shipped, &options.overrides),
            Some(path) => settings::read_file(path, shipped, &options.overrides),
        }
    }

    /// Strength of the pull towards the reference, in units of reward a nat.
    pub fn beta(&self) -> f64 {
        self.dpo.beta
    }

    fn model_problems(&self) -> Vec<Problem> {
        let (model, longest) = (self.model.shape(), self.ppo.sampling.max_new_tokens);
        let mut problems = self.model.problems_within("model");
        if !problems.is_empty() {
            return problems;
        }
        if model.vocabulary < 2 || count(model.vocabulary, longest) > MOST_RESPONSES {
            let expected =
                format!("at least 2, and at most {MOST_RESPONSES} responses of up to {longest} tokens");
            problems.push(Problem::new("model.vocab_size", model.vocabulary, &expected));
        }
        let least = PROMPT.len() + longest;
        if model.context < least {
            let expected = format!("at least {least}: prompt and response");
            problems.push(Problem::new("model.n_positions", model.context, &expected));
        }
        problems
    }
}

/// The number of responses, without listing more than are allowed.
fn count(vocabulary: usize, longest: usize) -> usize {
    if longest == 0 || vocabulary.saturating_pow(longest as u32) > 2 * MOST_RESPONSES {
        return usize::MAX;
    }
    responses(vocabulary as u32, longest).len()
}
