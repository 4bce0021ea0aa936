//! The plan: a preset as needed, with its runs.

use anyhow::Result;
use frontier::{EvalRow, FIXED_KL_COEF, Method};
use imdb::Source;
use ppo::KlControl;
use serde_json::json;

use crate::imdb_frontier::preset::{EvaluationConfig, Preset};
use crate::study::folder::key;

/// The scores of the reference's samples, from which the ceilings are drawn: its stage writes them to the output folder
/// itself.
pub const REFERENCE_SCORES: &str = "reference_scores.csv";

/// The reference's own responses in the evaluation, beside the samples of the runs.
pub const REFERENCE_SAMPLES: &str = "reference_samples.jsonl";

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
    pub knob: &'static str,
    pub value: f64,
    pub seed: u64,
    pub steps: usize,
    pub evaluate_every: usize,
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

    pub fn run(&self, name: &str) -> Option<&RunSpec> {
        self.runs.iter().find(|run| run.name == name)
    }

    /// Evaluations of one run, step 0 included.
    pub fn evaluations(run: &RunSpec) -> usize {
        1 + run.steps.div_ceil(run.evaluate_every)
    }
}

fn runs_of_seed(preset: &Preset, seed: u64) -> Result<Vec<RunSpec>> {
    let mut runs = Vec::new();
    let mut add = |method: Method, knob: &'static str, value: f64, steps, every, settings| {
        let EvaluationConfig { on: set, .. } = preset.evaluation;
        let key = key(method.name(), &json!([settings, value, seed, every, set, EvalRow::COLUMNS]), &[])?;
        let name = format!("{}-{knob}{value}-s{seed}", method.name()).replace('_', "-");
        runs.push(RunSpec { name, method, knob, value, seed, steps, evaluate_every: every, key });
        anyhow::Ok(())
    };
    let dpo_method = match preset.dpo.loss {
        dpo::Loss::Ipo {} => Method::IPO,
        dpo::Loss::Sigmoid { label_smoothing } if label_smoothing > 0.0 => Method::CDPO,
        _ => Method::DPO,
    };
    let sweep = &preset.dpo;
    for &beta in &sweep.beta {
        add(dpo_method, "beta", beta, sweep.steps, sweep.evaluate_every, json!(preset.dpo_config(beta)))?;
    }
    let sweep = &preset.ppo;
    for &target in &sweep.target_kl {
        let settings = json!(sweep.config(sweep.towards(target), &preset.sampling));
        add(Method::PPO, "target_kl", target, sweep.steps, sweep.evaluate_every, settings)?;
    }
    for &target in &sweep.true_reward_target_kl {
        let settings = json!(sweep.config(sweep.towards(target), &preset.sampling));
        add(Method::PPO_GT, "target_kl", target, sweep.steps, sweep.evaluate_every, settings)?;
    }
    for &kl_coef in &sweep.fixed_kl_coef {
        let settings = json!(sweep.config(KlControl::Fixed { kl_coef }, &preset.sampling));
        add(Method::PPO, FIXED_KL_COEF, kl_coef, sweep.steps, sweep.evaluate_every, settings)?;
    }
    let sweep = &preset.unlikelihood;
    for &alpha in &sweep.alpha {
        let settings = json!(preset.unlikelihood_config(alpha));
        add(Method::UNLIKELIHOOD, "alpha", alpha, sweep.steps, sweep.evaluate_every, settings)?;
    }
    let sweep = &preset.preferred_ft;
    for &rate in &sweep.learning_rate {
        let settings = json!(sweep);
        add(Method::PREFERRED_FT, "learning_rate", rate, sweep.steps, sweep.evaluate_every, settings)?;
    }
    Ok(runs)
}
