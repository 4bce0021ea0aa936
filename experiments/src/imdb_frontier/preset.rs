//! Presets: what a study does, as written in TOML, without hidden defaults.

use std::path::{Path, PathBuf};

use anyhow::Result;
use imdb::sentiment::GroundTruthConfig;
use imdb::{PreferenceConfig, PromptConfig};
use lm::{Config, OptimizerConfig, Problem, Sampling};
use ppo::{KlControl, PpoConfig};
use reward_model::RewardModelConfig;
use serde::{Deserialize, Serialize};

use crate::exit::BadInput;
use crate::imdb_frontier::reference::ReferenceSource;
use crate::repository;
use crate::settings::{read_file, read_text, refuse};

/// The presets that ship, by name.
pub const SHIPPED: [(&str, &str); 4] = [
    ("smoke", include_str!("../../presets/smoke.toml")),
    ("quick", include_str!("../../presets/quick.toml")),
    ("full", include_str!("../../presets/full.toml")),
    ("gpu", include_str!("../../presets/gpu.toml")),
];

/// A study as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// One sentence for people.
    pub description: String,
    /// Seed of all that the runs share: prompts, preference pairs, reward model, evaluation.
    pub data_seed: u64,
    /// One run of every sweep point for each of these.
    pub seeds: Vec<u64>,
    /// Whether the reviews are the synthetic ones, whatever `--data` says.
    pub synthetic: bool,
    /// Sampling temperature of every policy.
    pub temperature: f64,
    /// Where pi_SFT comes from.
    pub reference: ReferenceSource,
    /// How r* and the second judge are trained.
    pub ground_truth: GroundTruthConfig,
    /// Prompts.
    pub prompts: PromptConfig,
    /// Responses, everywhere.
    pub sampling: Sampling,
    /// Preference pairs.
    pub preferences: PreferenceConfig,
    /// The learned reward.
    pub reward_model: RewardModelConfig,
    /// The evaluation.
    pub evaluation: EvaluationConfig,
    /// DPO at several beta.
    pub dpo: DpoSweep,
    /// Unlikelihood at several alpha.
    pub unlikelihood: UnlikelihoodSweep,
    /// Supervised fine-tuning on the chosen responses.
    pub preferred_ft: PreferredFtSweep,
    /// PPO at several target KLs, on the learned and on the true reward.
    pub ppo: PpoSweep,
}

/// How checkpoints are measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationConfig {
    /// Which prompts: `evaluate` for results, `tune` while hyper-parameters are chosen.
    pub on: PromptSet,
    /// Reference samples for each evaluation prompt: the ceilings come from them.
    pub reference_samples: usize,
}

/// A set of held-out prompts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptSet {
    /// Openings of test reviews.
    Evaluate,
    /// Openings of train reviews that no pair and no rollout uses.
    Tune,
}

/// DPO at several beta, with everything else the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DpoSweep {
    /// The sweep; an empty list leaves the method out.
    pub beta: Vec<f64>,
    /// Which loss.
    pub loss: dpo::Loss,
    /// Optimiser steps.
    pub steps: usize,
    /// Pairs a step.
    pub batch_size: usize,
    /// Steps between evaluations.
    pub evaluate_every: usize,
    /// The optimiser.
    pub optimizer: OptimizerConfig,
}

/// Unlikelihood at several alpha.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnlikelihoodSweep {
    /// The sweep; an empty list leaves the method out.
    pub alpha: Vec<f64>,
    /// Optimiser steps.
    pub steps: usize,
    /// Pairs a step.
    pub batch_size: usize,
    /// Steps between evaluations.
    pub evaluate_every: usize,
    /// The optimiser.
    pub optimizer: OptimizerConfig,
}

/// Preferred-FT at several learning rates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreferredFtSweep {
    /// The sweep; an empty list leaves the method out.
    pub learning_rate: Vec<f64>,
    /// Optimiser steps.
    pub steps: usize,
    /// Responses a step.
    pub batch_size: usize,
    /// Steps between evaluations.
    pub evaluate_every: usize,
    /// The optimiser; the sweep replaces its learning rate.
    pub optimizer: OptimizerConfig,
}

/// PPO at several target KLs; the learned and the true reward share every other setting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PpoSweep {
    /// Target KLs in nats for the learned reward; an empty list leaves the method out.
    pub target_kl: Vec<f64>,
    /// Target KLs in nats for the true reward (PPO-GT).
    pub true_reward_target_kl: Vec<f64>,
    /// Coefficients that stay fixed, for the learned reward: 0 shows what happens without a penalty.
    pub fixed_kl_coef: Vec<f64>,
    /// kl_coef of the first iteration at a target of 1 nat; at a target of T it starts at `initial_kl_coef / sqrt(T)`.
    /// For a reward of unit variance the optimum at a small KL of T has kl_coef = 1 / sqrt(2 T).
    pub initial_kl_coef: f64,
    /// Rollouts over which the controller adapts.
    pub kl_horizon: f64,
    /// Iterations.
    pub steps: usize,
    /// Iterations between evaluations.
    pub evaluate_every: usize,
    /// Responses an iteration.
    pub rollouts: usize,
    /// Responses to each prompt of an iteration.
    pub samples_per_prompt: usize,
    /// Passes over the rollouts of an iteration.
    pub ppo_epochs: usize,
    /// Responses an optimiser step.
    pub minibatch_size: usize,
    /// Discount.
    pub gamma: f64,
    /// Lambda of GAE.
    pub gae_lambda: f64,
    /// Clip range of the ratio.
    pub clip_range: f64,
    /// Clip range of the values.
    pub value_clip_range: f64,
    /// Whether rewards are scaled to unit variance, their mean kept.
    pub scale_rewards: bool,
    /// Taken from the score of a response that did not end.
    pub missing_end_penalty: f64,
    /// Minibatches whose mean ratio is beyond this are skipped.
    pub ratio_guard: f64,
    /// The policy's optimiser.
    pub policy_optimizer: OptimizerConfig,
    /// The value model's optimiser.
    pub value_optimizer: OptimizerConfig,
}

impl PpoSweep {
    /// The controller that steers to a target KL.
    pub fn towards(&self, target: f64) -> KlControl {
        let initial = self.initial_kl_coef / target.sqrt();
        KlControl::Adaptive { initial, target, horizon: self.kl_horizon }
    }

    /// The configuration of one point of the sweep.
    pub fn config(&self, kl: KlControl, sampling: &Sampling) -> PpoConfig {
        PpoConfig {
            steps: self.steps,
            rollouts: self.rollouts,
            samples_per_prompt: self.samples_per_prompt,
            ppo_epochs: self.ppo_epochs,
            minibatch_size: self.minibatch_size,
            sampling: sampling.clone(),
            kl,
            gamma: self.gamma,
            gae_lambda: self.gae_lambda,
            clip_range: self.clip_range,
            value_clip_range: self.value_clip_range,
            scale_rewards: self.scale_rewards,
            missing_end_penalty: self.missing_end_penalty,
            ratio_guard: self.ratio_guard,
            policy_optimizer: self.policy_optimizer.clone(),
            value_optimizer: self.value_optimizer.clone(),
        }
    }
}

/// Reads a preset by name or path, applies overrides, and checks it.
pub fn load(name: &str, overrides: &[String]) -> Result<Preset> {
    let template = include_str!("../../presets/quick.toml");
    let preset: Preset = match SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
        Some((_, text)) => read_text(name, text, template, overrides)?,
        None if name.contains(std::path::is_separator) || Path::new(name).extension().is_some() => {
            read_file(Path::new(name), template, overrides)?
        }
        None => {
            let names: Vec<&str> = SHIPPED.iter().map(|(shipped, _)| *shipped).collect();
            let expected = names.join(", ");
            return Err(
                BadInput(format!("preset {name}: expected {expected}, or the path of a .toml file")).into()
            );
        }
    };
    refuse(name, &preset.problems())?;
    Ok(preset)
}

/// Where a preset's results go unless the command line says otherwise.
pub fn folder_of(preset: &str) -> PathBuf {
    Path::new("results/imdb-frontier").join(Path::new(preset).file_stem().unwrap_or_default())
}

impl Preset {
    /// Every impossible value, with its key.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut refuse = |possible: bool, key: &str, found: String, expected: &str| {
            if !possible {
                problems.push(Problem::new(key, found, expected));
            }
        };
        refuse(!self.seeds.is_empty(), "seeds", "[]".to_owned(), "at least one seed");
        let warm = self.temperature > 0.0 && self.temperature.is_finite();
        refuse(warm, "temperature", self.temperature.to_string(), "a positive number");
        for (key, value) in [
            ("sampling.max_new_tokens", self.sampling.max_new_tokens),
            ("sampling.batch_size", self.sampling.batch_size),
            ("dpo.evaluate_every", self.dpo.evaluate_every),
            ("unlikelihood.evaluate_every", self.unlikelihood.evaluate_every),
            ("preferred_ft.evaluate_every", self.preferred_ft.evaluate_every),
            ("preferred_ft.steps", self.preferred_ft.steps),
            ("preferred_ft.batch_size", self.preferred_ft.batch_size),
            ("ppo.evaluate_every", self.ppo.evaluate_every),
        ] {
            refuse(value > 0, key, value.to_string(), "at least 1");
        }
        // The ceilings compare samples of one prompt with each other.
        let samples = self.evaluation.reference_samples;
        refuse(samples >= 2, "evaluation.reference_samples", samples.to_string(), "at least 2");
        let share = self.ground_truth.judge_share;
        refuse((0.05..=0.95).contains(&share), "ground_truth.judge_share", share.to_string(), "0.05 to 0.95");
        let held_out = self.preferences.held_out(self.prompts.train);
        refuse(
            (1..self.prompts.train).contains(&held_out),
            "preferences.validation_share",
            format!("{}, {held_out} of {} prompts", self.preferences.validation_share, self.prompts.train),
            "a share that leaves prompts to train on and to validate with",
        );
        if let Some(value) = duplicate(&self.seeds) {
            refuse(false, "seeds", value.to_string(), "every seed once");
        }
        for (key, values) in [
            ("dpo.beta", &self.dpo.beta),
            ("unlikelihood.alpha", &self.unlikelihood.alpha),
            ("preferred_ft.learning_rate", &self.preferred_ft.learning_rate),
            ("ppo.target_kl", &self.ppo.target_kl),
            ("ppo.true_reward_target_kl", &self.ppo.true_reward_target_kl),
            ("ppo.fixed_kl_coef", &self.ppo.fixed_kl_coef),
        ] {
            if let Some(value) = duplicate(values) {
                refuse(false, key, format!("{value} twice"), "every value once");
            }
        }
        problems.extend(self.section_problems());
        problems.extend(self.context_problem());
        problems
    }

    /// Whether the longest prompt, its begin token and the longest response fit the reference's context. A folder that
    /// cannot be read is an error of its own, later.
    fn context_problem(&self) -> Option<Problem> {
        let context = match &self.reference {
            ReferenceSource::Train(config) => Some(config.n_positions),
            ReferenceSource::Shipped => {
                repository::path("data/reference-lm").ok().and_then(|folder| positions(&folder))
            }
            ReferenceSource::Folder(folder) => positions(folder),
        }?;
        let longest = 1 + self.prompts.max_tokens + self.sampling.max_new_tokens;
        (longest > context).then(|| {
            let prompt = self.prompts.max_tokens;
            let found = format!(
                "{}, {longest} tokens after a prompt of {prompt} and its begin token",
                self.sampling.max_new_tokens
            );
            let expected = format!("what fits the reference model's context of {context} tokens");
            Problem::new("sampling.max_new_tokens", found, &expected)
        })
    }

    fn section_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let sections = [("prompts", self.prompts.problems()), ("preferences", self.preferences.problems())];
        for (section, found) in sections {
            for (key, found, expected) in found {
                problems.push(Problem::new(format!("{section}.{key}"), found, expected));
            }
        }
        if let ReferenceSource::Train(config) = &self.reference {
            problems.extend(config.problems("reference.train."));
        }
        for (section, config) in
            [("sentiment", &self.ground_truth.sentiment), ("judge", &self.ground_truth.judge)]
        {
            if let Err(error) = config.validate() {
                problems.push(Problem::new(format!("ground_truth.{section}"), error, "a possible value"));
            }
        }
        problems.extend(self.reward_model.problems_within("reward_model"));
        for &beta in &self.dpo.beta {
            problems.extend(self.dpo_config(beta).problems_within("dpo"));
        }
        for &alpha in &self.unlikelihood.alpha {
            // The loss of `unlikelihood` has its alpha as a key of the section.
            let key =
                |problem: Problem| Problem { key: problem.key.replace("loss.alpha", "alpha"), ..problem };
            let found = self.unlikelihood_config(alpha).problems_within("unlikelihood");
            problems.extend(found.into_iter().map(key));
        }
        for &rate in &self.preferred_ft.learning_rate {
            let optimizer = OptimizerConfig { learning_rate: rate, ..self.preferred_ft.optimizer.clone() };
            problems.extend(optimizer.problems_within("preferred_ft.optimizer"));
        }
        let targets = self.ppo.target_kl.iter().chain(&self.ppo.true_reward_target_kl);
        let fixed = self.ppo.fixed_kl_coef.iter().map(|&kl_coef| KlControl::Fixed { kl_coef });
        for kl in targets.map(|&target| self.ppo.towards(target)).chain(fixed) {
            problems.extend(self.ppo.config(kl, &self.sampling).problems_within("ppo"));
        }
        problems.dedup();
        problems
    }

    /// Tokens of a prompt with its begin token and its response: the mean, if responses go on to their limit.
    pub fn mean_length(&self) -> f64 {
        let prompt = 1.0 + (self.prompts.min_tokens + self.prompts.max_tokens) as f64 / 2.0;
        prompt + self.sampling.max_new_tokens as f64
    }

    /// DPO at one beta.
    pub fn dpo_config(&self, beta: f64) -> dpo::DpoConfig {
        dpo::DpoConfig {
            loss: self.dpo.loss.clone(),
            beta,
            batch_size: self.dpo.batch_size,
            steps: self.dpo.steps,
            optimizer: self.dpo.optimizer.clone(),
        }
    }

    /// Unlikelihood at one alpha; its loss has no beta, and 1 leaves the reported implicit rewards in nats.
    pub fn unlikelihood_config(&self, alpha: f64) -> dpo::DpoConfig {
        dpo::DpoConfig {
            loss: dpo::Loss::Unlikelihood { alpha },
            beta: 1.0,
            batch_size: self.unlikelihood.batch_size,
            steps: self.unlikelihood.steps,
            optimizer: self.unlikelihood.optimizer.clone(),
        }
    }
}

/// The longest sequence of a model in a Hugging Face folder, if its configuration says so.
fn positions(folder: &Path) -> Option<usize> {
    let config: serde_json::Value = crate::study::folder::read_json(&folder.join("config.json")).ok()?;
    config["n_positions"].as_u64().map(|positions| positions as usize)
}

/// A value that stands there more than once.
fn duplicate<T: Copy + PartialEq>(values: &[T]) -> Option<T> {
    values.iter().enumerate().find(|(i, value)| values[..*i].contains(value)).map(|(_, value)| *value)
}
