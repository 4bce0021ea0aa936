//! The configuration of `experiments ppo`, and the flags that stand for its keys.

use anyhow::Result;
use dpo::OnlineDpoConfig;
use feedback::records::Limits;
use lm::{Activations, Config, LoraConfig, OptimizerConfig, Problem, Sampling};
use ppo::{KlControl, PpoConfig, RlooConfig};
use serde::{Deserialize, Serialize};

use crate::cli::own_data::{AlgorithmName, PpoOptions};
use crate::commands::training::card::papers;
use crate::commands::training::overrides::{Overrides, Places};
use crate::commands::training::sections::{
    Evaluation, HeldOut, ScorerSettings, epochs_problem, limits_problems, lora_problems, or_one,
};
use crate::exit::BadInput;
use crate::settings::FromFile;

/// What ships for an algorithm, and where flags stand in it.
fn shipped(algorithm: AlgorithmName) -> (&'static str, Places) {
    let every = "evaluation.every";
    match algorithm {
        AlgorithmName::Ppo => (
            include_str!("../../../presets/own-data/ppo.toml"),
            Places {
                algorithm: "ppo",
                batch_size: "rollouts",
                learning_rate: "policy_optimizer.learning_rate",
                every,
            },
        ),
        AlgorithmName::Rloo => (
            include_str!("../../../presets/own-data/rloo.toml"),
            Places {
                algorithm: "rloo",
                batch_size: "rollouts",
                learning_rate: "optimizer.learning_rate",
                every,
            },
        ),
        AlgorithmName::OnlineDpo => (
            include_str!("../../../presets/own-data/online-dpo.toml"),
            Places {
                algorithm: "online_dpo",
                batch_size: "batch_prompts",
                learning_rate: "optimizer.learning_rate",
                every,
            },
        ),
    }
}

/// The configuration: one of the last three tables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// Folder of the policy's start, which is the reference.
    pub(super) model: String,
    /// File of prompts.
    pub(super) prompts: String,
    pub(super) seed: u64,
    /// Of policy and reference.
    pub(super) temperature: f64,
    /// Passes over the prompts, where the algorithm's `steps` is 0.
    pub(super) epochs: f64,
    /// Whether a step computes its activations again in place of keeping them.
    pub(super) gradient_checkpointing: Activations,
    /// Responses of the reference whose scores give the unit of the reward; 0 leaves the scorer's own.
    pub(super) standardize_on: usize,
    /// Of the policy, and of the value model.
    pub(super) lora: LoraConfig,
    pub(super) limits: Limits,
    pub(super) held_out: HeldOut,
    pub(super) scorer: ScorerSettings,
    pub(super) evaluation: Evaluation,
    #[serde(skip_serializing_if = "Option::is_none")]
    ppo: Option<PpoConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rloo: Option<RlooConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    online_dpo: Option<OnlineDpoConfig>,
}

/// The algorithm of a configuration.
#[derive(Clone, Copy)]
pub(super) enum Learning<'a> {
    Ppo(&'a PpoConfig),
    Rloo(&'a RlooConfig),
    OnlineDpo(&'a OnlineDpoConfig),
}

impl Learning<'_> {
    /// Its table's name.
    pub(super) fn section(self) -> &'static str {
        match self {
            Self::Ppo(_) => "ppo",
            Self::Rloo(_) => "rloo",
            Self::OnlineDpo(_) => "online_dpo",
        }
    }

    /// As people call it, and its papers.
    pub(super) fn method(self) -> (&'static str, &'static str) {
        match self {
            Self::Ppo(_) => ("PPO", papers::PPO),
            Self::Rloo(_) => ("RLOO", papers::RLOO),
            Self::OnlineDpo(_) => ("Online DPO", papers::ONLINE_DPO),
        }
    }

    pub(super) fn steps(self) -> usize {
        match self {
            Self::Ppo(config) => config.steps,
            Self::Rloo(config) => config.steps,
            Self::OnlineDpo(config) => config.steps,
        }
    }

    pub(super) fn sampling(&self) -> &Sampling {
        match self {
            Self::Ppo(config) => &config.sampling,
            Self::Rloo(config) => &config.sampling,
            Self::OnlineDpo(config) => &config.sampling,
        }
    }

    /// Responses that pass forward and backward together.
    pub(super) fn sequences(self) -> usize {
        match self {
            Self::Ppo(config) => config.minibatch_size,
            Self::Rloo(config) => config.rollouts,
            Self::OnlineDpo(config) => config.batch_prompts.saturating_mul(config.responses_per_prompt),
        }
    }

    /// Those of the policy and, if there is one, the value model.
    pub(super) fn optimizers(self) -> Vec<OptimizerConfig> {
        match self {
            Self::Ppo(config) => vec![config.policy_optimizer.clone(), config.value_optimizer.clone()],
            Self::Rloo(config) => vec![config.optimizer.clone()],
            Self::OnlineDpo(config) => vec![config.optimizer.clone()],
        }
    }

    /// Prompts that a step answers.
    pub(super) fn prompts_per_step(self) -> usize {
        match self {
            Self::Ppo(config) => config.rollouts / config.samples_per_prompt.max(1),
            Self::Rloo(config) => config.rollouts / config.samples_per_prompt.max(1),
            Self::OnlineDpo(config) => config.batch_prompts,
        }
    }
}

impl Settings {
    /// What ships, or the configuration file, with flags on top.
    pub(super) fn read(options: &PpoOptions) -> Result<Self> {
        let (shipped, places) = shipped(options.algorithm);
        let mut overrides = Overrides::default();
        let section = places.algorithm;
        overrides.path("prompts", options.prompts.as_deref());
        overrides.scorer(&options.scorer);
        overrides.number(format!("{section}.sampling.max_new_tokens"), options.max_new_tokens);
        match (options.algorithm, options.target_kl) {
            (AlgorithmName::OnlineDpo, Some(_)) => {
                let cure = "online DPO has no controller; give --kl-coef, which is its beta";
                return Err(BadInput(format!("--target-kl: {cure}")).into());
            }
            (AlgorithmName::OnlineDpo, None) => {
                overrides.number(format!("{section}.beta"), options.kl_coef);
            }
            (AlgorithmName::Ppo | AlgorithmName::Rloo, target_kl) => {
                overrides.number(format!("{section}.kl"), kl(options.kl_coef, target_kl));
            }
        }
        overrides.train(&options.train, &places);
        let settings: Self = overrides.read(&options.train, section, shipped)?;
        let found = settings.learning()?.section();
        if found != section {
            let expected = format!("[{section}], as --algorithm says");
            return Err(BadInput(format!("configuration: found [{found}], expected {expected}")).into());
        }
        Ok(settings)
    }

    /// The algorithm; a configuration that was read has one.
    pub(super) fn learning(&self) -> Result<Learning<'_>> {
        match (&self.ppo, &self.rloo, &self.online_dpo) {
            (Some(config), None, None) => Ok(Learning::Ppo(config)),
            (None, Some(config), None) => Ok(Learning::Rloo(config)),
            (None, None, Some(config)) => Ok(Learning::OnlineDpo(config)),
            (None | Some(_), None | Some(_), None | Some(_)) => {
                Err(BadInput("configuration: expected one table of ppo, rloo and online_dpo".to_owned())
                    .into())
            }
        }
    }

    pub(super) fn sampling_mut(&mut self) -> Option<&mut Sampling> {
        let ppo = self.ppo.as_mut().map(|config| &mut config.sampling);
        let rloo = self.rloo.as_mut().map(|config| &mut config.sampling);
        ppo.or(rloo).or(self.online_dpo.as_mut().map(|config| &mut config.sampling))
    }

    pub(super) fn steps_mut(&mut self) -> Option<&mut usize> {
        let ppo = self.ppo.as_mut().map(|config| &mut config.steps);
        let rloo = self.rloo.as_mut().map(|config| &mut config.steps);
        ppo.or(rloo).or(self.online_dpo.as_mut().map(|config| &mut config.steps))
    }

    /// The problems of the algorithm, of which the steps and the longest response may be left
    /// to the data and the model.
    fn learning_problems(&self) -> Vec<Problem> {
        let mut filled = self.clone();
        if let Some(steps) = filled.steps_mut() {
            // Enough for every warm-up: it is checked again by the trainer.
            *steps = if *steps == 0 { usize::MAX } else { *steps };
        }
        if let Some(sampling) = filled.sampling_mut() {
            sampling.max_new_tokens = or_one(sampling.max_new_tokens);
        }
        match filled.learning() {
            Ok(Learning::Ppo(config)) => {
                let kl = optimum_problem(&config.kl, "ppo.kl");
                config.problems_within("ppo").into_iter().chain(kl).collect()
            }
            Ok(Learning::Rloo(config)) => {
                let kl = optimum_problem(&config.kl, "rloo.kl");
                config.problems_within("rloo").into_iter().chain(kl).collect()
            }
            Ok(Learning::OnlineDpo(config)) => config.problems_within("online_dpo"),
            Err(error) => vec![Problem::new("ppo, rloo, online_dpo", error, "one table")],
        }
    }
}

/// The coefficient of the optimum takes many samples of the reference, which only a study draws.
fn optimum_problem(kl: &KlControl, key: &str) -> Option<Problem> {
    match kl {
        KlControl::Optimum { .. } => {
            Some(Problem::new(format!("{key}.name"), "optimum", "fixed or adaptive"))
        }
        KlControl::Fixed { .. } | KlControl::Adaptive { .. } => None,
    }
}

/// The KL coefficient of the flags, as TOML. The controller's horizon is that of Ziegler et al. 2019; it
/// starts at their coefficient unless it is given.
fn kl(kl_coef: Option<f64>, target_kl: Option<f64>) -> Option<String> {
    match (kl_coef, target_kl) {
        (None, None) => None,
        (Some(kl_coef), None) => Some(format!("{{ name = \"fixed\", kl_coef = {kl_coef} }}")),
        (kl_coef, Some(target)) => {
            let start = kl_coef.unwrap_or(0.2);
            let steered = format!("name = \"adaptive\", target_kl = {target}, kl_coef = {start}");
            Some(format!("{{ {steered}, horizon = 10000.0 }}"))
        }
    }
}

impl FromFile for Settings {
    const KIND: &'static str = "configuration";
}

impl Config for Settings {
    fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = epochs_problem(self.epochs).into_iter().collect();
        problems.extend(Problem::unless_positive("temperature", self.temperature));
        let unit = self.standardize_on != 1;
        problems.extend(Problem::unless(unit, "standardize_on", 1, "0, or at least 2"));
        problems.extend(lora_problems(&self.lora));
        problems.extend(limits_problems(&self.limits));
        problems.extend(self.held_out.problems_within("held_out"));
        problems.extend(self.scorer.problems_within("scorer"));
        problems.extend(self.learning_problems());
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::training::overrides::as_toml;
    use crate::settings;

    #[test]
    fn the_shipped_configurations_are_whole_and_print_as_themselves() {
        for algorithm in [AlgorithmName::Ppo, AlgorithmName::Rloo, AlgorithmName::OnlineDpo] {
            let (text, places) = shipped(algorithm);
            let shipped: Settings = settings::read_text("ppo", text, text, &[]).unwrap();
            assert_eq!(shipped.learning().unwrap().section(), places.algorithm);
            let again: Settings = settings::read_text("ppo", &as_toml(&shipped).unwrap(), text, &[]).unwrap();
            assert_eq!(again, shipped);
        }
    }

    #[test]
    fn flags_of_the_coefficient_by_hand() {
        let read = |kl_coef, target_kl| {
            let (text, _) = shipped(AlgorithmName::Ppo);
            let overrides: Vec<String> =
                kl(kl_coef, target_kl).map(|kl| format!("ppo.kl={kl}")).into_iter().collect();
            settings::read_text::<Settings>("ppo", text, text, &overrides).unwrap().ppo.unwrap().kl
        };
        assert_eq!(read(Some(0.5), None), KlControl::Fixed { kl_coef: 0.5 });
        let adaptive = |kl_coef| KlControl::Adaptive { target_kl: 3.0, kl_coef, horizon: 10000.0 };
        assert_eq!(read(None, Some(3.0)), adaptive(0.2));
        assert_eq!(read(Some(1.0), Some(3.0)), adaptive(1.0));
        let refused = "ppo.kl={ name = \"optimum\", target_kl = 1.0 }".to_owned();
        let (text, _) = shipped(AlgorithmName::Ppo);
        let error = settings::read_text::<Settings>("ppo", text, text, &[refused]).unwrap_err().to_string();
        assert!(error.contains("ppo.kl.name: found optimum, expected fixed or adaptive"), "{error}");
    }
}
