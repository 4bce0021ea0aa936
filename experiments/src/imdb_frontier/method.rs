//! Methods as a preset writes them: an algorithm with all its settings, and a sweep of one of them.
//!
//! ```toml
//! [[method]]
//! name = "dpo"                       # in records, figures and tables
//! evaluate_every = 40
//! policy = "last"                    # what is evaluated, or an average: lm::Iterate
//! sweep = { beta = [0.05, 1.0] }     # a run for each value, which replaces the table's
//!
//! [method.dpo]                       # dpo, online_dpo, ppo, rloo or sft: the algorithm, whole
//! beta = 0.1
//! ...
//! ```
//!
//! A sweep is a list of overrides of one key, as `--set` is an override of one key; `--set` reaches a method
//! by its name: `dpo.steps=100`, `dpo.sweep.beta=[0.1]`, and `dpo.sweep.beta=[]` leaves it out.

use std::collections::BTreeMap;

use dpo::{DpoConfig, Loss, OnlineDpoConfig};
use lm::sft::SftConfig;
use lm::{Config, Iterate, Problem, Sampling};
use ppo::{KlControl, PpoConfig, RlooConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::settings;

/// One curve of the figure, as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodTable {
    /// The name in records: a known one, such as `dpo`, or any other. Tables of one name are one curve.
    pub name: String,
    /// Steps between evaluations.
    pub evaluate_every: usize,
    /// The policy of a run that is evaluated and kept. Studies of before there was a choice have the last.
    #[serde(default, skip_serializing_if = "Iterate::is_last")]
    pub policy: Iterate,
    /// What pays for the responses of methods that draw their own: online DPO, PPO and RLOO have this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scorer: Option<RewardSource>,
    /// One key of the algorithm's table, dots between its levels, and the numbers that replace what stands
    /// there.
    pub sweep: BTreeMap<String, Vec<Value>>,
    /// Training on preference pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dpo: Option<DpoConfig>,
    /// Training on pairs of the policy's own responses. Without `sampling` of its own it takes the
    /// preset's, as the next two do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub online_dpo: Option<OnlineDpoConfig>,
    /// Training on rollouts, with a value model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ppo: Option<PpoConfig>,
    /// Training on rollouts that are each other's baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rloo: Option<RlooConfig>,
    /// Supervised fine-tuning on the chosen responses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sft: Option<SftConfig>,
}

/// What a rollout is scored by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RewardSource {
    /// The learned reward r_phi.
    RewardModel,
    /// The ground truth r* itself.
    Truth,
    /// The lower of r_phi and the second opinion, each in standard deviations over the reference's responses.
    WorstCase,
}

impl RewardSource {
    /// Its name in a preset.
    fn name(self) -> &'static str {
        match self {
            Self::RewardModel => "reward_model",
            Self::Truth => "truth",
            Self::WorstCase => "worst_case",
        }
    }

    /// Whether r_phi scores each rollout, and has to be trained for it.
    pub fn uses_reward_model(self) -> bool {
        match self {
            Self::RewardModel | Self::WorstCase => true,
            Self::Truth => false,
        }
    }
}

/// What a run trains with, all of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    Dpo(DpoConfig),
    OnlineDpo { config: OnlineDpoConfig, scorer: RewardSource },
    Ppo { config: Box<PpoConfig>, scorer: RewardSource },
    Rloo { config: RlooConfig, scorer: RewardSource },
    Sft(SftConfig),
}

/// The keys of a method's table that hold an algorithm.
pub const ALGORITHMS: [&str; 5] = ["dpo", "online_dpo", "ppo", "rloo", "sft"];

/// Those that draw responses, and take the preset's `sampling` where they have none of their own.
pub const SAMPLERS: [&str; 3] = ["online_dpo", "ppo", "rloo"];

/// The names that the literature has given, and the algorithm that each means. Any other name is its user's.
const KNOWN: [(&str, &str); 11] = [
    ("dpo", "dpo"),
    ("cdpo", "dpo"),
    ("ipo", "dpo"),
    ("unlikelihood", "dpo"),
    ("online-dpo", "online_dpo"),
    ("online-dpo-gt", "online_dpo"),
    ("ppo", "ppo"),
    ("ppo-gt", "ppo"),
    ("rloo", "rloo"),
    ("rloo-gt", "rloo"),
    ("preferred-ft", "sft"),
];

/// One value of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub value: f64,
    pub algorithm: Algorithm,
}

impl Algorithm {
    /// Steps of a run; of PPO its iterations.
    pub fn steps(&self) -> usize {
        match self {
            Self::Dpo(config) => config.steps,
            Self::OnlineDpo { config, .. } => config.steps,
            Self::Ppo { config, .. } => config.steps,
            Self::Rloo { config, .. } => config.steps,
            Self::Sft(config) => config.steps,
        }
    }

    /// What scores its responses, if it draws its own.
    pub fn scorer(&self) -> Option<RewardSource> {
        match self {
            Self::OnlineDpo { scorer, .. } | Self::Ppo { scorer, .. } | Self::Rloo { scorer, .. } => {
                Some(*scorer)
            }
            Self::Dpo(_) | Self::Sft(_) => None,
        }
    }

    /// Responses that a run draws by itself, in all.
    pub fn rollouts(&self) -> usize {
        match self {
            Self::OnlineDpo { config, .. } => {
                config.steps * config.batch_prompts * config.responses_per_prompt
            }
            Self::Ppo { config, .. } => config.steps * config.rollouts,
            Self::Rloo { config, .. } => config.steps * config.rollouts,
            Self::Dpo(_) | Self::Sft(_) => 0,
        }
    }

    /// Its KL coefficient, if that is set by a target that the optimum tells the coefficient of.
    pub fn kl_control(&mut self) -> Option<&mut KlControl> {
        match self {
            Self::Ppo { config, .. } => Some(&mut config.kl),
            Self::Rloo { config, .. } => Some(&mut config.kl),
            Self::Dpo(_) | Self::OnlineDpo { .. } | Self::Sft(_) => None,
        }
    }

    /// The key of its table.
    fn key(&self) -> &'static str {
        match self {
            Self::Dpo(_) => "dpo",
            Self::OnlineDpo { .. } => "online_dpo",
            Self::Ppo { .. } => "ppo",
            Self::Rloo { .. } => "rloo",
            Self::Sft(_) => "sft",
        }
    }

    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Dpo(config) => config.problems(),
            Self::OnlineDpo { config, .. } => config.problems(),
            Self::Ppo { config, .. } => config.problems(),
            Self::Rloo { config, .. } => config.problems(),
            Self::Sft(config) => config.problems(),
        }
    }

    /// The configuration as its table has it.
    fn written(&self) -> Value {
        let written = match self {
            Self::Dpo(config) => serde_json::to_value(config),
            Self::OnlineDpo { config, .. } => serde_json::to_value(config),
            Self::Ppo { config, .. } => serde_json::to_value(config),
            Self::Rloo { config, .. } => serde_json::to_value(config),
            Self::Sft(config) => serde_json::to_value(config),
        };
        written.unwrap_or_default()
    }

    /// The same with another value at one key of the configuration.
    fn with(&self, key: &str, value: &Value) -> Result<Self, Problem> {
        Ok(match self {
            Self::Dpo(config) => Self::Dpo(settings::with(config, key, value)?),
            Self::OnlineDpo { config, scorer } => {
                Self::OnlineDpo { config: settings::with(config, key, value)?, scorer: *scorer }
            }
            Self::Rloo { config, scorer } => {
                Self::Rloo { config: settings::with(config, key, value)?, scorer: *scorer }
            }
            Self::Ppo { config, scorer } => {
                Self::Ppo { config: Box::new(settings::with(config.as_ref(), key, value)?), scorer: *scorer }
            }
            Self::Sft(config) => Self::Sft(settings::with(config, key, value)?),
        })
    }
}

impl MethodTable {
    /// The hyperparameter that the sweep varies, as records name it: the last word of its key.
    pub fn knob(&self) -> &str {
        let key = self.sweep.keys().next().map_or("", String::as_str);
        key.rsplit('.').next().unwrap_or(key)
    }

    /// How the method draws its responses, if it does.
    pub fn sampling(&self) -> Option<&Sampling> {
        let online = self.online_dpo.as_ref().map(|config| &config.sampling);
        let ppo = self.ppo.as_ref().map(|config| &config.sampling);
        online.or(ppo).or_else(|| self.rloo.as_ref().map(|config| &config.sampling))
    }

    /// The algorithm at each value of the sweep; keys of a problem are those of this table.
    pub fn points(&self) -> Result<Vec<Point>, Problem> {
        let (key, values) = self.swept()?;
        let algorithm = self.algorithm()?;
        values.iter().enumerate().map(|(index, value)| point(&algorithm, key, index, value)).collect()
    }

    /// The algorithm as the table has it.
    fn algorithm(&self) -> Result<Algorithm, Problem> {
        let tables = [
            self.dpo.clone().map(Algorithm::Dpo).map(|algorithm| self.unpaid(algorithm)),
            self.online_dpo.clone().map(|config| Ok(Algorithm::OnlineDpo { config, scorer: self.paid()? })),
            self.ppo
                .clone()
                .map(|config| Ok(Algorithm::Ppo { config: Box::new(config), scorer: self.paid()? })),
            self.rloo.clone().map(|config| Ok(Algorithm::Rloo { config, scorer: self.paid()? })),
            self.sft.clone().map(Algorithm::Sft).map(|algorithm| self.unpaid(algorithm)),
        ];
        let mut written = ALGORITHMS.iter().zip(tables).filter_map(|(key, table)| Some((key, table?)));
        match (written.next(), written.next()) {
            (Some((_, algorithm)), None) => algorithm,
            (None, _) => {
                let expected = format!("a table {}", ALGORITHMS.join(", "));
                Err(Problem::new("dpo", "nothing", expected))
            }
            (Some(_), Some((key, _))) => Err(Problem::new(*key, "a second algorithm", "one in each method")),
        }
    }

    /// What pays for the responses of a method that draws its own.
    fn paid(&self) -> Result<RewardSource, Problem> {
        self.scorer.ok_or_else(|| Problem::new("scorer", "nothing", "reward_model, truth or worst_case"))
    }

    /// A method that draws no responses, which nothing pays for.
    fn unpaid(&self, algorithm: Algorithm) -> Result<Algorithm, Problem> {
        if self.scorer.is_none() {
            return Ok(algorithm);
        }
        let expected = format!("none: only {} have one", SAMPLERS.join(", "));
        Err(Problem::new("scorer", "a value", expected))
    }

    /// The one key that is swept, and its values.
    fn swept(&self) -> Result<(&String, &Vec<Value>), Problem> {
        let mut entries = self.sweep.iter();
        match (entries.next(), entries.next()) {
            (Some(entry), None) => Ok(entry),
            _ => Err(Problem::new("sweep", format!("{} keys", self.sweep.len()), "one key with its values")),
        }
    }

    /// What is wrong with an algorithm under this name.
    fn problems_of(&self, algorithm: &Algorithm) -> Vec<Problem> {
        algorithm.problems().into_iter().chain(misnamed(&self.name, algorithm)).collect()
    }

    /// What is wrong at the values of the sweep, or where it has none with the table as it stands.
    fn sweep_problems(&self, algorithm: &Algorithm) -> Result<Vec<Problem>, Problem> {
        let (key, values) = self.swept()?;
        settings::place(&algorithm.written(), key, key).map_err(|problem| problem.within("sweep"))?;
        if values.is_empty() {
            return Ok(self.problems_of(algorithm));
        }
        let mut problems = Vec::new();
        for (index, value) in values.iter().enumerate() {
            let of_value = |mut problem: Problem| {
                if problem.key == *key {
                    problem.key = place(key, index);
                }
                problem
            };
            match point(algorithm, key, index, value) {
                Ok(point) => problems.extend(self.problems_of(&point.algorithm).into_iter().map(of_value)),
                Err(problem) => problems.push(problem),
            }
        }
        Ok(problems)
    }
}

impl Config for MethodTable {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::from_iter(Problem::unless_counted("evaluate_every", self.evaluate_every));
        problems.extend(self.policy.problems_within("policy"));
        let found = self.algorithm().and_then(|algorithm| self.sweep_problems(&algorithm));
        for problem in found.unwrap_or_else(|problem| vec![problem]) {
            // What is wrong beside the swept key is wrong at each of its values.
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        problems
    }
}

/// A value of a sweep as a key.
fn place(key: &str, index: usize) -> String {
    format!("sweep.{key}[{index}]")
}

/// The algorithm at one value of a sweep.
fn point(algorithm: &Algorithm, key: &str, index: usize, value: &Value) -> Result<Point, Problem> {
    let wrong = |problem: Problem| Problem { key: place(key, index), ..problem };
    let number = value.as_f64().ok_or_else(|| Problem::new(place(key, index), value, "a number"))?;
    Ok(Point { value: number, algorithm: algorithm.with(key, value).map_err(wrong)? })
}

/// Refuses a known name for what the literature does not mean by it: the curve would be drawn as what it is
/// not.
fn misnamed(name: &str, algorithm: &Algorithm) -> Option<Problem> {
    let (_, meant) = KNOWN.iter().find(|(known, _)| *known == name)?;
    let named = |what: &str| {
        format!("{what} in a method named {name}; another needs its own name, --set {name}.name=NAME")
    };
    if algorithm.key() != *meant {
        return Some(Problem::new(algorithm.key(), "a table", named(&format!("one of {meant}"))));
    }
    match algorithm {
        Algorithm::Dpo(config) => {
            let meant = if name == "cdpo" || name == "dpo" { "sigmoid" } else { name };
            let written = algorithm.written();
            let found = written.pointer("/loss/name").and_then(Value::as_str).unwrap_or_default();
            if found != meant {
                return Some(Problem::new("loss.name", found, named(meant)));
            }
            let Loss::Sigmoid { label_smoothing } = config.loss else { return None };
            let (smooth, meant) = if name == "cdpo" { (true, "above 0") } else { (false, "0") };
            let right = (label_smoothing > 0.0) == smooth;
            Problem::unless(right, "loss.label_smoothing", label_smoothing, named(meant))
        }
        Algorithm::OnlineDpo { scorer, .. }
        | Algorithm::Ppo { scorer, .. }
        | Algorithm::Rloo { scorer, .. } => {
            let meant = if name.ends_with("-gt") { RewardSource::Truth } else { RewardSource::RewardModel };
            Problem::unless(*scorer == meant, "scorer", scorer.name(), named(meant.name()))
        }
        Algorithm::Sft(_) => None,
    }
}
