//! A plan as pieces of work: stages and runs with the keys by which they are found again.

use anyhow::Result;

use crate::imdb_frontier::keys::StageKeys;
use crate::imdb_frontier::plan::{
    Plan, REFERENCE_METRICS, REFERENCE_SAMPLES, REFERENCE_SCORES, REWARD_MODEL_METRICS,
};
use crate::imdb_frontier::reference::ReferenceSource;
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
        let of_reference: &[&str] = match plan.preset.reference {
            ReferenceSource::Train(_) => &[REFERENCE_METRICS],
            ReferenceSource::Shipped | ReferenceSource::Folder(_) => &[],
        };
        let stages = vec![
            stage("reference", &keys.reference, of_reference),
            stage("ground-truth", &keys.ground_truth, &[]),
            stage("prompts", &keys.prompts, &[]),
            stage("reference-samples", &keys.reference_samples, &[REFERENCE_SCORES, REFERENCE_SAMPLES]),
            stage("preferences", &keys.preferences, &[]),
            stage("reward-model", &keys.reward_model, &[REWARD_MODEL_METRICS]),
        ];
        let mut runs = Vec::new();
        for run in &plan.runs {
            // The reward model learned from the pairs, and every evaluation asks it.
            let key = key("run", &run.key, &[&keys.reward_model])?;
            runs.push(RunWork { name: run.name.clone(), key, steps: run.algorithm.steps() });
        }
        Ok(Self { plan, stages, runs })
    }
}
