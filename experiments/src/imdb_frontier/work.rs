//! A plan as pieces of work: stages and runs with the keys by which they are found again.

use anyhow::Result;

use crate::imdb_frontier::keys::StageKeys;
use crate::imdb_frontier::plan::{Plan, REFERENCE_SAMPLES, REFERENCE_SCORES};
use crate::study::folder::key;
use crate::study::work::{RunWork, StageWork};

/// Everything that will be done, in order.
#[derive(Clone, Debug)]
pub struct Work {
    pub plan: Plan,
    pub stages: Vec<StageWork>,
    pub runs: Vec<RunWork>,
}

impl Work {
    pub fn new(plan: Plan, keys: &StageKeys) -> Result<Self> {
        let stage = |name, key: &String, results| StageWork { name, key: key.clone(), results };
        let stages = vec![
            stage("reference", &keys.reference, &[]),
            stage("ground-truth", &keys.ground_truth, &[]),
            stage("prompts", &keys.prompts, &[]),
            stage("reference-samples", &keys.reference_samples, &[REFERENCE_SCORES, REFERENCE_SAMPLES]),
            stage("preferences", &keys.preferences, &[]),
            stage("reward-model", &keys.reward_model, &[]),
        ];
        let mut runs = Vec::new();
        for run in &plan.runs {
            // The reward model learned from the pairs, and every evaluation asks it.
            let key = key("run", &run.key, &[&keys.reward_model])?;
            runs.push(RunWork { name: run.name.clone(), key, steps: run.steps });
        }
        Ok(Self { plan, stages, runs })
    }
}
