//! The plan: a preset as needed. Stages, runs, their keys, and an estimate of the time.

use anyhow::Result;
use feedback::EvaluationConfig;
use frontier::{EvalRow, FIXED_KL_COEF, Method};
use imdb::Source;
use lm::device::Precision;
use ppo::KlControl;
use serde_json::json;

use crate::imdb_frontier::preset::Preset;
use crate::imdb_frontier::reference::{ReferenceSource, fingerprint};
use crate::imdb_frontier::reviews;
use crate::study::folder::key;
use crate::study::work::{RunWork, StageWork};

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
    pub keys: StageKeys,
    pub runs: Vec<RunSpec>,
}

/// Hashes of what the stages depend on.
#[derive(Clone, Debug)]
pub struct StageKeys {
    pub reference: String,
    pub ground_truth: String,
    pub prompts: String,
    pub reference_samples: String,
    pub preferences: String,
    pub reward_model: String,
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
    pub key: String,
}

impl Plan {
    pub fn new(preset: Preset, data: &Source, precision: Precision) -> Result<Self> {
        let source = if preset.synthetic { Source::Synthetic } else { data.clone() };
        let keys = StageKeys::new(&preset, &source, precision)?;
        let mut runs = Vec::new();
        for &seed in &preset.seeds {
            runs.extend(runs_of_seed(&preset, &keys, seed)?);
        }
        Ok(Self { preset, source, keys, runs })
    }

    pub fn run(&self, name: &str) -> Option<&RunSpec> {
        self.runs.iter().find(|run| run.name == name)
    }

    /// The stages in order.
    pub fn stage_work(&self) -> Vec<StageWork> {
        let keys = &self.keys;
        let stage = |name, key: &String, results| StageWork { name, key: key.clone(), results };
        vec![
            stage("reference", &keys.reference, &[]),
            stage("ground-truth", &keys.ground_truth, &[]),
            stage("prompts", &keys.prompts, &[]),
            stage("reference-samples", &keys.reference_samples, &[REFERENCE_SCORES, REFERENCE_SAMPLES]),
            stage("preferences", &keys.preferences, &[]),
            stage("reward-model", &keys.reward_model, &[]),
        ]
    }

    /// The runs in order.
    pub fn run_work(&self) -> Vec<RunWork> {
        let work = |run: &RunSpec| RunWork { name: run.name.clone(), key: run.key.clone(), steps: run.steps };
        self.runs.iter().map(work).collect()
    }

    /// Evaluations of one run, step 0 included.
    pub fn evaluations(run: &RunSpec) -> usize {
        1 + run.steps.div_ceil(run.evaluate_every)
    }
}

impl StageKeys {
    fn new(preset: &Preset, source: &Source, precision: Precision) -> Result<Self> {
        let reviews = reviews::fingerprint(source)?;
        let reference = match &preset.reference {
            ReferenceSource::Train(_) => {
                key("reference", &(&preset.reference, preset.temperature), &[&reviews])?
            }
            ReferenceSource::Shipped | ReferenceSource::Folder(_) => {
                let weights = fingerprint(&preset.reference)?;
                key("reference", &preset.temperature, &[&weights])?
            }
        };
        // Everything builds on the reference, so what bf16 computes is never taken for f32's. Devices are not told
        // apart: they differ by rounding.
        let reference = match precision {
            Precision::F32 => reference,
            Precision::Bf16 => key("precision", &precision.name(), &[&reference])?,
        };
        let ground_truth = key("ground-truth", &preset.ground_truth, &[&reviews])?;
        let prompts = key("prompts", &(&preset.prompts, preset.data_seed), &[&reviews, &reference])?;
        let drawn = (&preset.sampling, preset.data_seed);
        let upstream = [ground_truth.as_str(), prompts.as_str()];
        let reference_samples = key("reference-samples", &(&drawn, &preset.evaluation), &upstream)?;
        let preferences = key("preferences", &(&drawn, &preset.preferences), &upstream)?;
        let reward_model = key("reward-model", &preset.reward_model, &[&preferences])?;
        Ok(Self { reference, ground_truth, prompts, reference_samples, preferences, reward_model })
    }
}

fn runs_of_seed(preset: &Preset, keys: &StageKeys, seed: u64) -> Result<Vec<RunSpec>> {
    let mut runs = Vec::new();
    let mut add = |method: Method, knob: &'static str, value: f64, steps, every, settings, on: &[&str]| {
        let EvaluationConfig { on: set, .. } = preset.evaluation;
        let key = key(method.name(), &json!([settings, value, seed, every, set, EvalRow::COLUMNS]), on)?;
        let name = format!("{}-{knob}{value}-s{seed}", method.name()).replace('_', "-");
        runs.push(RunSpec { name, method, knob, value, seed, steps, evaluate_every: every, key });
        anyhow::Ok(())
    };
    let dpo_method = match preset.dpo.loss {
        dpo::Loss::Ipo {} => Method::IPO,
        dpo::Loss::Sigmoid { label_smoothing } if label_smoothing > 0.0 => Method::CDPO,
        _ => Method::DPO,
    };
    // The reward model learned from the pairs, and every evaluation asks it.
    let on = [keys.reward_model.as_str()];
    let sweep = &preset.dpo;
    for &beta in &sweep.beta {
        add(
            dpo_method,
            "beta",
            beta,
            sweep.steps,
            sweep.evaluate_every,
            json!(preset.dpo_config(beta)),
            &on,
        )?;
    }
    let sweep = &preset.ppo;
    for &target in &sweep.target_kl {
        let settings = json!(sweep.config(sweep.towards(target), &preset.sampling));
        add(Method::PPO, "target_kl", target, sweep.steps, sweep.evaluate_every, settings, &on)?;
    }
    for &target in &sweep.true_reward_target_kl {
        let settings = json!(sweep.config(sweep.towards(target), &preset.sampling));
        add(Method::PPO_GT, "target_kl", target, sweep.steps, sweep.evaluate_every, settings, &on)?;
    }
    for &kl_coef in &sweep.fixed_kl_coef {
        let settings = json!(sweep.config(KlControl::Fixed { kl_coef }, &preset.sampling));
        add(Method::PPO, FIXED_KL_COEF, kl_coef, sweep.steps, sweep.evaluate_every, settings, &on)?;
    }
    let sweep = &preset.unlikelihood;
    for &alpha in &sweep.alpha {
        let settings = json!(preset.unlikelihood_config(alpha));
        add(Method::UNLIKELIHOOD, "alpha", alpha, sweep.steps, sweep.evaluate_every, settings, &on)?;
    }
    let sweep = &preset.preferred_ft;
    for &rate in &sweep.learning_rate {
        let settings = json!(sweep);
        add(Method::PREFERRED_FT, "learning_rate", rate, sweep.steps, sweep.evaluate_every, settings, &on)?;
    }
    Ok(runs)
}
