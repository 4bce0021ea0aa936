//! The plan: a preset as needed, with its runs.

use anyhow::Result;
use frontier::{EvalRow, Method};
use imdb::Source;
use lm::Iterate;
use serde_json::Value;

use crate::exit::BadInput;
use crate::imdb_frontier::method::Algorithm;
use crate::imdb_frontier::preset::Preset;
use crate::study::folder::key;

/// The scores of the reference's samples, from which the ceilings are drawn: its stage writes them to
/// the output folder itself.
pub const REFERENCE_SCORES: &str = frontier::REFERENCE_SCORES;

/// The reference's own responses in the evaluation, beside the samples of the runs.
pub const REFERENCE_SAMPLES: &str = "reference_samples.jsonl";

/// The reference's own evaluation whole, in its stage's folder.
pub const REFERENCE_EVALUATION: &str = "evaluation.json";

/// How the optimum's coefficient goes with its KL, there too.
pub const OPTIMUM: &str = "optimum.json";

/// The curve of the reference's training, in the output folder itself like the scores and samples.
pub const REFERENCE_METRICS: &str = frontier::REFERENCE_METRICS;

/// The curve of the reward model's training, there too.
pub const REWARD_MODEL_METRICS: &str = frontier::REWARD_MODEL_METRICS;

/// Held-out responses whose pairs every evaluation asks the policy about.
pub const HELD_OUT_RESPONSES: usize = 1000;

/// The stage of the preference pairs that the runs of a seed learn from.
pub fn preferences_of(seed: u64) -> String {
    format!("preferences-s{seed}")
}

/// The stage of the reward model that learned from them.
pub fn reward_model_of(seed: u64) -> String {
    format!("reward-model-s{seed}")
}

/// The pairs in the folder of a seed's stage `preferences`, each response once.
pub const COMPARISONS: &str = "comparisons.jsonl";

/// Everything that will be done, in order.
#[derive(Clone, Debug)]
pub struct Plan {
    pub preset: Preset,
    /// Where reviews come from: the preset's word over the command line's.
    pub source: Source,
    pub runs: Vec<RunSpec>,
}

/// One point of a sweep with one seed.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSpec {
    pub name: String,
    pub method: Method,
    /// The hyperparameter that is swept, and its value here.
    pub knob: String,
    pub value: f64,
    pub seed: u64,
    pub evaluate_every: usize,
    /// What it trains with, the value included.
    pub algorithm: Algorithm,
    /// Which of its policies is evaluated and kept.
    pub policy: Iterate,
    /// Hash of all that makes this run another than the others of its study.
    pub key: String,
}

impl Plan {
    pub fn new(preset: Preset, data: &Source) -> Result<Self> {
        let source = if preset.synthetic { Source::Synthetic } else { data.clone() };
        let mut runs = Vec::new();
        for &seed in &preset.seeds {
            runs.extend(runs_of_seed(&preset, seed)?);
        }
        Ok(Self { preset, source, runs })
    }

    /// The plan of a preset that a manifest records. Where its reviews came from is not told: no name and no
    /// setting of a run depends on it.
    pub fn recorded(preset: &Value) -> Result<Self> {
        Self::new(serde_json::from_value(preset.clone())?, &Source::Synthetic)
    }

    pub fn run(&self, name: &str) -> Option<&RunSpec> {
        self.runs.iter().find(|run| run.name == name)
    }

    /// Evaluations that a run does; the one of step 0 is the reference's.
    pub fn evaluations(run: &RunSpec) -> usize {
        run.algorithm.steps().div_ceil(run.evaluate_every)
    }
}

fn runs_of_seed(preset: &Preset, seed: u64) -> Result<Vec<RunSpec>> {
    let mut runs = Vec::new();
    for table in &preset.method {
        let method = Method::named(&table.name)?;
        let (knob, evaluate_every, policy) = (table.knob().to_owned(), table.evaluate_every, table.policy);
        // Nothing for the last, so that a run has the key that it had before there was a choice.
        let averaged = (!policy.is_last()).then(|| serde_json::to_string(&policy)).transpose()?;
        let points = table.points().map_err(|problem| BadInput(problem.within(&table.name).to_string()))?;
        for point in points {
            let (value, algorithm) = (point.value, point.algorithm);
            let evaluation = (evaluate_every, preset.evaluation.on, EvalRow::COLUMNS);
            let key = key(
                method.name(),
                &(&knob, value, &algorithm, seed, evaluation),
                averaged.as_deref().as_slice(),
            )?;
            let name = format!("{method}-{knob}{value}-s{seed}").replace('_', "-");
            let knob = knob.clone();
            runs.push(RunSpec { name, method, knob, value, seed, evaluate_every, algorithm, policy, key });
        }
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imdb_frontier::preset::load;

    /// Finished runs are recognised by their keys, those of before there was a choice too.
    #[test]
    fn averaged_policies_make_another_run() {
        let keys = |overrides: &[&str]| -> Vec<(String, String)> {
            let overrides: Vec<String> = overrides.iter().map(|&entry| entry.to_owned()).collect();
            let plan = Plan::new(load("smoke", &overrides).unwrap(), &Source::Synthetic).unwrap();
            plan.runs.into_iter().map(|run| (run.name, run.key)).collect()
        };
        let last = keys(&[]);
        assert_eq!(last, keys(&["dpo.policy=last"]));
        let (three, eight) = (
            keys(&["dpo.policy={ average = { power = 3.0 } }"]),
            keys(&["dpo.policy={ average = { power = 8.0 } }"]),
        );
        for ((last, three), eight) in last.iter().zip(&three).zip(&eight) {
            let same = !last.0.starts_with("dpo-");
            assert_eq!((last == three, three == eight), (same, same), "{}", last.0);
        }
    }
}
