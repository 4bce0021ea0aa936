//! The trained model, raw and normalised, and its folder.

use std::path::Path;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use lm::architecture::Gpt2;
use lm::checkpoint::{Precision, load_scalar_model, save_scalar_model};
use lm::{LmError, ScalarModel, Scorer, Sequence, Stream, Tokenizer};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::RewardModelError;

/// The file beside the weights that holds mean and standard deviation.
const NORMALIZATION_FILE: &str = "normalization.json";

/// A body with a random head, N(0, 1 / (d + 1)), as in Stiennon et al. 2020 (appendix B.1).
///
/// A zero head would give the body no gradient at the first step. With this one the scores of different responses
/// start about as far apart as the final layer norm's outputs are.
pub fn with_random_head(body: Gpt2, stream: Stream) -> ScalarModel {
    let std = (body.config().n_embd as f64 + 1.0).sqrt().recip();
    ScalarModel::with_zero_head(body).map(&mut RandomHead { std, stream, inside: false })
}

/// Replaces the parameters of the field `score` and leaves the body alone.
struct RandomHead {
    std: f64,
    stream: Stream,
    inside: bool,
}

impl ModuleMapper for RandomHead {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.inside |= name == "score";
    }

    fn exit_module(&mut self, name: &str, _container_type: &str) {
        self.inside &= name != "score";
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !self.inside {
            return param;
        }
        let mut rng = self.stream.rng();
        param.map(|zeros| {
            let shape = zeros.dims();
            // Box-Muller; 1 - u is in (0, 1], so the logarithm is finite.
            let mut normal = || {
                let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
                radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
            };
            let values: Vec<f32> =
                (0..shape.iter().product()).map(|_| (self.std * normal()) as f32).collect();
            Tensor::from_data(TensorData::new(values, shape), &zeros.device())
        })
    }
}

/// How well a reward model orders held-out pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validation {
    /// Optimiser steps that the model had taken.
    pub step: usize,
    /// Mean negative log-likelihood, in nats a pair; `ln 2` is chance.
    pub loss: f64,
    /// Share of pairs whose chosen response scores higher; a tie counts as wrong.
    pub accuracy: f64,
    /// Mean score of the chosen less that of the rejected response.
    pub margin: f64,
}

/// The checkpoint of a training that was best on the validation pairs.
#[derive(Clone, Debug)]
pub struct RewardModel {
    /// Body and head; its scores have no zero and no unit of their own.
    pub model: ScalarModel,
    /// How well it orders the validation pairs.
    pub validation: Validation,
}

impl RewardModel {
    /// Fixes zero and unit: mean 0 and (population) standard deviation 1 on responses of the reference.
    ///
    /// # Errors
    /// [`RewardModelError::Normalization`] when there are fewer than two samples or all scores are the same,
    /// [`RewardModelError::Lm`] when a sample does not fit the model.
    pub fn normalize(
        self,
        reference_samples: &[Sequence],
    ) -> Result<NormalizedRewardModel, RewardModelError> {
        let samples = reference_samples.len();
        let refuse = |found: String, expected: &str| {
            Err(RewardModelError::Normalization { samples, found, expected: expected.to_owned() })
        };
        if samples < 2 {
            return refuse(format!("{samples} samples"), "at least 2");
        }
        let scores = self.model.score(reference_samples)?;
        let count = samples as f64;
        let mean = scores.iter().map(|&score| f64::from(score)).sum::<f64>() / count;
        let variance = scores.iter().map(|&score| (f64::from(score) - mean).powi(2)).sum::<f64>() / count;
        let normalization = Normalization { mean, sd: variance.sqrt() };
        if !normalization.possible() {
            return refuse(
                format!("mean {mean}, standard deviation {}", normalization.sd),
                "a finite mean and a positive, finite standard deviation",
            );
        }
        Ok(NormalizedRewardModel { model: self.model, normalization })
    }
}

/// What is subtracted and what is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Normalization {
    mean: f64,
    sd: f64,
}

impl Normalization {
    fn possible(self) -> bool {
        self.mean.is_finite() && self.sd > 0.0 && self.sd.is_finite()
    }
}

/// A reward model whose scores `(r_phi(x, y) - mean) / sd` have mean 0 and standard deviation 1 on the reference.
#[derive(Clone, Debug)]
pub struct NormalizedRewardModel {
    model: ScalarModel,
    normalization: Normalization,
}

impl NormalizedRewardModel {
    /// The model that says the raw scores.
    pub fn model(&self) -> &ScalarModel {
        &self.model
    }

    /// Mean of the raw scores on the reference samples.
    pub fn mean(&self) -> f64 {
        self.normalization.mean
    }

    /// Standard deviation of the raw scores on the reference samples.
    pub fn sd(&self) -> f64 {
        self.normalization.sd
    }

    /// Writes a `GPT2ForSequenceClassification` folder and, beside it, `normalization.json`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(
        &self,
        dir: &Path,
        tokenizer: &Tokenizer,
        precision: Precision,
    ) -> Result<(), RewardModelError> {
        save_scalar_model(dir, &self.model, tokenizer, precision)?;
        let path = dir.join(NORMALIZATION_FILE);
        let refuse = |source| RewardModelError::Io { path: path.clone(), source };
        let json = serde_json::to_string_pretty(&self.normalization).map_err(|error| refuse(error.into()))?;
        std::fs::write(&path, json + "\n").map_err(refuse)
    }

    /// Reads what [`NormalizedRewardModel::save`] wrote.
    ///
    /// # Errors
    /// If a file is missing or damaged, or a tensor is missing or misshapen.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, RewardModelError> {
        let model = load_scalar_model(dir, device)?;
        let path = dir.join(NORMALIZATION_FILE);
        let text = std::fs::read_to_string(&path)
            .map_err(|source| RewardModelError::Io { path: path.clone(), source })?;
        let refuse = |found: String, expected: &str| RewardModelError::File {
            path: path.clone(),
            found,
            expected: expected.to_owned(),
        };
        let normalization: Normalization = serde_json::from_str(&text)
            .map_err(|error| refuse(error.to_string(), "JSON with the numbers `mean` and `sd`"))?;
        if !normalization.possible() {
            return Err(refuse(format!("sd = {}", normalization.sd), "a positive number"));
        }
        Ok(Self { model, normalization })
    }
}

impl Scorer for NormalizedRewardModel {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        let Normalization { mean, sd } = self.normalization;
        let raw = self.model.score(sequences)?;
        Ok(raw.into_iter().map(|score| ((f64::from(score) - mean) / sd) as f32).collect())
    }
}
