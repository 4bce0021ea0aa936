//! The plan: a preset as needed. Stages, runs, their keys, and an estimate of the time.

use anyhow::Result;
use frontier::{EvalRow, Method};
use imdb::Source;
use lm::device::Precision;

use crate::exit::BadInput;
use crate::imdb_frontier::method::Algorithm;
use crate::imdb_frontier::preset::Preset;
use crate::imdb_frontier::reference::{ReferenceSource, fingerprint};
use crate::imdb_frontier::reviews;
use crate::study::folder::key;
use crate::study::work::{RunWork, StageWork};

/// The scores of the reference's samples, from which the ceilings are drawn: its stage writes them to the output folder
/// itself.
pub const REFERENCE_SCORES: &str = frontier::REFERENCE_SCORES;

/// The reference's own responses in the evaluation, beside the samples of the runs.
pub const REFERENCE_SAMPLES: &str = "reference_samples.jsonl";

/// The curve of the reference's training, in the output folder itself like the two above.
pub const REFERENCE_METRICS: &str = "reference_metrics.csv";

/// The curve of the reward model's training, there too.
pub const REWARD_MODEL_METRICS: &str = "reward_model_metrics.csv";

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
    /// The hyperparameter that is swept, and its value here.
    pub knob: String,
    pub value: f64,
    pub seed: u64,
    pub evaluate_every: usize,
    /// What it trains with, the value included.
    pub algorithm: Algorithm,
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
        let of_reference: &[&str] = match self.preset.reference {
            ReferenceSource::Train(_) => &[REFERENCE_METRICS],
            ReferenceSource::Shipped | ReferenceSource::Folder(_) => &[],
        };
        vec![
            stage("reference", &keys.reference, of_reference),
            stage("ground-truth", &keys.ground_truth, &[]),
            stage("prompts", &keys.prompts, &[]),
            stage("reference-samples", &keys.reference_samples, &[REFERENCE_SCORES, REFERENCE_SAMPLES]),
            stage("preferences", &keys.preferences, &[]),
            stage("reward-model", &keys.reward_model, &[REWARD_MODEL_METRICS]),
        ]
    }

    /// The runs in order.
    pub fn run_work(&self) -> Vec<RunWork> {
        let work = |run: &RunSpec| RunWork {
            name: run.name.clone(),
            key: run.key.clone(),
            steps: run.algorithm.steps(),
        };
        self.runs.iter().map(work).collect()
    }

    /// Evaluations of one run, step 0 included.
    pub fn evaluations(run: &RunSpec) -> usize {
        1 + run.algorithm.steps().div_ceil(run.evaluate_every)
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
    // The reward model learned from the pairs, and every evaluation asks it.
    let on = [keys.reward_model.as_str()];
    for table in &preset.method {
        let method = Method::named(&table.name)?;
        let (knob, evaluate_every) = (table.knob().to_owned(), table.evaluate_every);
        let points = table.points().map_err(|problem| BadInput(problem.within(&table.name).to_string()))?;
        for point in points {
            let (value, algorithm) = (point.value, point.algorithm);
            let evaluation = (evaluate_every, preset.evaluation.on, EvalRow::COLUMNS);
            let key = key(method.name(), &(&knob, value, &algorithm, seed, evaluation), &on)?;
            let name = format!("{method}-{knob}{value}-s{seed}").replace('_', "-");
            let knob = knob.clone();
            runs.push(RunSpec { name, method, knob, value, seed, evaluate_every, algorithm, key });
        }
    }
    Ok(runs)
}
