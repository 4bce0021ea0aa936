//! Methods as a preset writes them: an algorithm with all its settings, and a sweep of one of them.
//!
//! ```toml
//! [[method]]
//! name = "dpo"                       # in records, figures and tables
//! evaluate_every = 40
//! sweep = { beta = [0.05, 1.0] }     # a run for each value, which replaces the table's
//!
//! [method.dpo]                       # dpo, ppo or sft: the algorithm, whole
//! beta = 0.1
//! ...
//! ```
//!
//! A sweep is a list of overrides of one key, as `--set` is an override of one key; `--set` reaches a method by its
//! name: `dpo.steps=100`, `dpo.sweep.beta=[0.1]`, and `dpo.sweep.beta=[]` leaves it out.

use std::collections::BTreeMap;

use dpo::{DpoConfig, Loss};
use lm::sft::SftConfig;
use lm::{Config, Problem};
use ppo::PpoConfig;
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
    /// What pays for the responses of PPO, which alone has this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scorer: Option<RewardSource>,
    /// One key of the algorithm's table, dots between its levels, and the numbers that replace what stands there.
    pub sweep: BTreeMap<String, Vec<Value>>,
    /// Training on preference pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dpo: Option<DpoConfig>,
    /// Training on rollouts. Without `sampling` of its own it takes the preset's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ppo: Option<PpoConfig>,
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
    Ppo { config: Box<PpoConfig>, scorer: RewardSource },
    Sft(SftConfig),
}

/// The keys of a method's table that hold an algorithm.
pub const ALGORITHMS: [&str; 3] = ["dpo", "ppo", "sft"];

/// The names that the literature has given, and the algorithm that each means. Any other name is its user's.
const KNOWN: [(&str, &str); 7] = [
    ("dpo", "dpo"),
    ("cdpo", "dpo"),
    ("ipo", "dpo"),
    ("unlikelihood", "dpo"),
    ("ppo", "ppo"),
    ("ppo-gt", "ppo"),
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
            Self::Ppo { config, .. } => config.steps,
            Self::Sft(config) => config.steps,
        }
    }

    /// The key of its table.
    fn key(&self) -> &'static str {
        match self {
            Self::Dpo(_) => "dpo",
            Self::Ppo { .. } => "ppo",
            Self::Sft(_) => "sft",
        }
    }

    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Dpo(config) => config.problems(),
            Self::Ppo { config, .. } => config.problems(),
            Self::Sft(config) => config.problems(),
        }
    }

    /// The configuration as its table has it.
    fn written(&self) -> Value {
        let written = match self {
            Self::Dpo(config) => serde_json::to_value(config),
            Self::Ppo { config, .. } => serde_json::to_value(config),
            Self::Sft(config) => serde_json::to_value(config),
        };
        written.unwrap_or_default()
    }

    /// The same with another value at one key of the configuration.
    fn with(&self, key: &str, value: &Value) -> Result<Self, Problem> {
        Ok(match self {
            Self::Dpo(config) => Self::Dpo(settings::with(config, key, value)?),
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

    /// The algorithm at each value of the sweep; keys of a problem are those of this table.
    pub fn points(&self) -> Result<Vec<Point>, Problem> {
        let (key, values) = self.swept()?;
        let algorithm = self.algorithm()?;
        values.iter().enumerate().map(|(index, value)| point(&algorithm, key, index, value)).collect()
    }

    /// The algorithm as the table has it.
    fn algorithm(&self) -> Result<Algorithm, Problem> {
        let only_ppo = || Problem::new("scorer", "a value", "none: only ppo has one");
        let unpaid = |algorithm| if self.scorer.is_none() { Ok(algorithm) } else { Err(only_ppo()) };
        match (&self.dpo, &self.ppo, &self.sft) {
            (Some(config), None, None) => unpaid(Algorithm::Dpo(config.clone())),
            (None, Some(config), None) => {
                let nothing = || Problem::new("scorer", "nothing", "reward_model, truth or worst_case");
                Ok(Algorithm::Ppo {
                    config: Box::new(config.clone()),
                    scorer: self.scorer.ok_or_else(nothing)?,
                })
            }
            (None, None, Some(config)) => unpaid(Algorithm::Sft(config.clone())),
            (None, None, None) => Err(Problem::new("dpo", "nothing", "a table dpo, ppo or sft")),
            (_, second, _) => {
                let key = if second.is_some() { "ppo" } else { "sft" };
                Err(Problem::new(key, "a second algorithm", "one in each method"))
            }
        }
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

/// Refuses a known name for what the literature does not mean by it: the curve would be drawn as what it is not.
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
        Algorithm::Ppo { scorer, .. } => {
            let meant = if name == "ppo-gt" { RewardSource::Truth } else { RewardSource::RewardModel };
            Problem::unless(*scorer == meant, "scorer", scorer.name(), named(meant.name()))
        }
        Algorithm::Sft(_) => None,
    }
}
