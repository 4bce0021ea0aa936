//! A plan as pieces of work: stages and runs with the keys by which they are found again.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use crate::imdb_frontier::keys::StageKeys;
use crate::imdb_frontier::plan::{
    COMPARISONS, OPTIMUM, Plan, REFERENCE_EVALUATION, REFERENCE_METRICS, REFERENCE_SAMPLES, REFERENCE_SCORES,
    REWARD_MODEL_METRICS, preferences_of, reward_model_of,
};
use crate::imdb_frontier::reference::ReferenceSource;
use crate::study::folder::key;
use crate::study::work::{RunWork, StageWork};

/// The stages that all runs share, whatever their seed; those of encoders that score come with them.
const OF_ALL: [&str; 4] = ["reference", "ground-truth", "prompts", "reference-samples"];

/// Everything that will be done, in order.
#[derive(Clone, Debug)]
pub struct Work {
    pub plan: Plan,
    pub stages: Vec<StageWork>,
    pub runs: Vec<RunWork>,
}

impl Work {
    pub fn new(plan: Plan, keys: &StageKeys) -> Result<Self> {
        let stage = |name: &str, key: &String, results| StageWork {
            name: name.to_owned(),
            key: key.clone(),
            results,
            files: &[],
        };
        let of_reference: &[&str] = match plan.preset.reference {
            ReferenceSource::Train(_) | ReferenceSource::FineTune(_) => &[REFERENCE_METRICS],
            ReferenceSource::Shipped | ReferenceSource::Folder(_) => &[],
        };
        let [reference, ground_truth, prompts, reference_samples] = OF_ALL;
        let mut stages = vec![
            stage(reference, &keys.reference, of_reference),
            stage(ground_truth, &keys.ground_truth, &[]),
            stage(prompts, &keys.prompts, &[]),
        ];
        stages.extend(keys.classifiers.iter().map(|(name, key)| stage(name, key, &[])));
        let samples =
            stage(reference_samples, &keys.reference_samples, &[REFERENCE_SCORES, REFERENCE_SAMPLES]);
        stages.push(StageWork { files: &[OPTIMUM, REFERENCE_EVALUATION], ..samples });
        for (index, (&seed, pairs)) in keys.preferences.iter().enumerate() {
            let files = &[COMPARISONS];
            stages.push(StageWork { files, ..stage(&preferences_of(seed), pairs, &[]) });
            // One curve is enough for the report; each seed's stands in its own folder.
            let curve: &[&str] = if index == 0 { &[REWARD_MODEL_METRICS] } else { &[] };
            stages.push(stage(&reward_model_of(seed), of_seed(&keys.reward_model, seed)?, curve));
        }
        let mut runs = Vec::new();
        for run in &plan.runs {
            // The reward model learned from the pairs, and every evaluation asks it; the samples of the
            // reference tell the optimum's coefficient.
            let upstream = [of_seed(&keys.reward_model, run.seed)?.as_str(), &keys.reference_samples];
            let key = key("run", &run.key, &upstream)?;
            let of_seed = [preferences_of(run.seed), reward_model_of(run.seed)];
            let of_all = OF_ALL.map(str::to_owned).into_iter().chain(keys.classifiers.keys().cloned());
            let needs = of_all.chain(of_seed).collect();
            runs.push(RunWork { name: run.name.clone(), key, steps: run.algorithm.steps(), needs });
        }
        Ok(Self { plan, stages, runs })
    }
}

fn of_seed(keys: &BTreeMap<u64, String>, seed: u64) -> Result<&String> {
    keys.get(&seed).with_context(|| format!("no key for seed {seed}"))
}
