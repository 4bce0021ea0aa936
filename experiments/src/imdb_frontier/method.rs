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

    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Dpo(config) => config.problems(),
            Self::Ppo { config, .. } => config.problems(),
            Self::Sft(config) => config.problems(),
        }
    }

    /// Refuses a key that the configuration lacks.
    fn find(&self, key: &str) -> Result<(), Problem> {
        let written = match self {
            Self::Dpo(config) => serde_json::to_value(config),
            Self::Ppo { config, .. } => serde_json::to_value(config),
            Self::Sft(config) => serde_json::to_value(config),
        };
        let root = written.map_err(|error| Problem::new(key, error, "a key of the algorithm"))?;
        settings::place(&root, key, key).map(|_| ())
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
        let tables = (&self.dpo, &self.ppo, &self.sft);
        let algorithm = match (tables, self.scorer) {
            ((Some(config), None, None), None) => Algorithm::Dpo(config.clone()),
            ((None, Some(config), None), Some(scorer)) => {
                Algorithm::Ppo { config: Box::new(config.clone()), scorer }
            }
            ((None, None, Some(config)), None) => Algorithm::Sft(config.clone()),
            ((None, Some(_), None), None) => {
                return Err(Problem::new("scorer", "nothing", "reward_model or truth"));
            }
            ((Some(_), None, None) | (None, None, Some(_)), Some(_)) => {
                return Err(Problem::new("scorer", "a value", "none: only ppo has one"));
            }
            (
                (None, None, None) | (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)),
                _,
            ) => {
                let there = [self.dpo.is_some(), self.ppo.is_some(), self.sft.is_some()];
                let there = ALGORITHMS.iter().zip(there).filter(|(_, there)| *there);
                let found: Vec<&str> = there.map(|(name, _)| *name).collect();
                let found = if found.is_empty() { "none".to_owned() } else { found.join(" and ") };
                return Err(Problem::new("algorithm", found, "exactly one table of dpo, ppo, sft"));
            }
        };
        Ok(algorithm)
    }

    /// The one key that is swept, and its values.
    fn swept(&self) -> Result<(&String, &Vec<Value>), Problem> {
        let mut entries = self.sweep.iter();
        match (entries.next(), entries.next()) {
            (Some(entry), None) => Ok(entry),
            _ => Err(Problem::new("sweep", format!("{} keys", self.sweep.len()), "one key with its values")),
        }
    }

    fn sweep_problems(&self, algorithm: &Algorithm) -> Vec<Problem> {
        let (key, values) = match self.swept() {
            Ok(swept) => swept,
            Err(problem) => return vec![problem],
        };
        if let Err(problem) = algorithm.find(key) {
            return vec![problem.within("sweep")];
        }
        let mut problems = Vec::new();
        for (index, value) in values.iter().enumerate() {
            let of_value = |problem: Problem| match problem {
                Problem { key: found, .. } if found != *key => Problem { key: found, ..problem },
                _ => Problem { key: place(key, index), ..problem },
            };
            match point(algorithm, key, index, value) {
                Ok(point) => problems.extend(point.algorithm.problems().into_iter().map(of_value)),
                Err(problem) => problems.push(problem),
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

impl Config for MethodTable {
    fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> =
            Problem::unless_counted("evaluate_every", self.evaluate_every).into_iter().collect();
        let algorithm = match self.algorithm() {
            Ok(algorithm) => algorithm,
            Err(problem) => {
                problems.push(problem);
                return problems;
            }
        };
        let all = [algorithm.problems(), self.sweep_problems(&algorithm)].concat();
        for problem in all.into_iter().chain(misnamed(&self.name, &algorithm)) {
            // What is wrong beside the swept key is wrong at each of its values.
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        problems
    }
}

/// Refuses a known name for what the literature does not mean by it: the curve would be drawn as what it is not.
fn misnamed(name: &str, algorithm: &Algorithm) -> Option<Problem> {
    let wrong =
        |key: &str, found: &str, expected: &str| Some(Problem::new(key, found, named(expected, name)));
    let kind = match algorithm {
        Algorithm::Dpo(_) => "dpo",
        Algorithm::Ppo { .. } => "ppo",
        Algorithm::Sft(_) => "sft",
    };
    match (name, algorithm) {
        ("dpo" | "cdpo" | "ipo" | "unlikelihood", Algorithm::Dpo(config)) => {
            misnamed_loss(name, &config.loss)
        }
        ("ppo", Algorithm::Ppo { scorer: RewardSource::Truth, .. }) => {
            wrong("scorer", "truth", "reward_model")
        }
        ("ppo-gt", Algorithm::Ppo { scorer: RewardSource::RewardModel, .. }) => {
            wrong("scorer", "reward_model", "truth")
        }
        ("ppo" | "ppo-gt", Algorithm::Ppo { .. }) | ("preferred-ft", Algorithm::Sft(_)) => None,
        ("dpo" | "cdpo" | "ipo" | "unlikelihood", _) => wrong("algorithm", kind, "dpo"),
        ("ppo" | "ppo-gt", _) => wrong("algorithm", kind, "ppo"),
        ("preferred-ft", _) => wrong("algorithm", kind, "sft"),
        // Any other name is its user's.
        (_, _) => None,
    }
}

fn misnamed_loss(name: &str, loss: &Loss) -> Option<Problem> {
    let wanted = match name {
        "dpo" | "cdpo" => "sigmoid",
        other => other,
    };
    let written = serde_json::to_value(loss).ok()?;
    let found = written.get("name").and_then(Value::as_str)?;
    if found != wanted {
        return Some(Problem::new("loss.name", found, named(wanted, name)));
    }
    let Loss::Sigmoid { label_smoothing } = loss else { return None };
    let smooth = name == "cdpo";
    let expected = if smooth { "above 0" } else { "0" };
    let right = (*label_smoothing > 0.0) == smooth;
    Problem::unless(right, "loss.label_smoothing", label_smoothing, named(expected, name))
}

fn named(expected: &str, name: &str) -> String {
    format!("{expected} in a method named {name}; give another its own name, as --set {name}.name=NAME does")
}
