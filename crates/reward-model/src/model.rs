//! The trained model, raw and normalised, and its folder.

use std::path::Path;

use burn::tensor::Device;
use lm::files::{Precision, load_scalar_model, save_scalar_adapter, save_scalar_model};
use lm::{LmError, Normalization, ScalarModel, Scorer, Sequence, Standardized, Tokenizer};

use crate::RewardModelError;

/// The file beside the weights that holds mean and standard deviation.
const NORMALIZATION_FILE: &str = "normalization.json";

/// How well a reward model orders held-out pairs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Validation {
    /// Optimiser steps that the model had taken.
    pub step: usize,
    /// Mean negative log-likelihood, in nats per pair; `ln 2` is chance.
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
    /// [`LmError::Normalization`] when there are fewer than two samples or all scores are the same, or the
    /// error of a sample that does not fit the model.
    pub fn normalize(
        self,
        reference_samples: &[Sequence],
    ) -> Result<NormalizedRewardModel, RewardModelError> {
        Ok(NormalizedRewardModel(Standardized::measure(self.model, reference_samples)?))
    }
}

/// A reward model whose scores `(r_phi(x, y) - mean) / sd` have mean 0 and standard deviation 1 on the
/// reference.
///
/// Its scores are f32, as a model's are: [`Scorer::score_f64`] only widens them.
#[derive(Clone, Debug)]
pub struct NormalizedRewardModel(Standardized<ScalarModel>);

impl NormalizedRewardModel {
    /// The model that says the raw scores.
    pub fn model(&self) -> &ScalarModel {
        self.0.scorer()
    }

    /// Mean and standard deviation of the raw scores on the reference samples.
    pub fn normalization(&self) -> Normalization {
        self.0.normalization()
    }

    /// Writes a folder that transformers reads as a sequence classifier and, beside the
    /// weights, `normalization.json`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(
        &self,
        dir: &Path,
        tokenizer: &Tokenizer,
        precision: Precision,
    ) -> Result<(), RewardModelError> {
        save_scalar_model(dir, self.model(), tokenizer, precision)?;
        Ok(self.normalization().write(&dir.join(NORMALIZATION_FILE))?)
    }

    /// Writes the adapters of the body, the head and, beside them, `normalization.json`; PEFT reads the
    /// folder. `base` is the folder of the weights that the adapters belong to.
    ///
    /// # Errors
    /// If there are no adapters, or a file cannot be written.
    pub fn save_adapter(
        &self,
        dir: &Path,
        base: &str,
        tokenizer: &Tokenizer,
    ) -> Result<(), RewardModelError> {
        save_scalar_adapter(dir, self.model(), base, tokenizer)?;
        Ok(self.normalization().write(&dir.join(NORMALIZATION_FILE))?)
    }

    /// Reads what [`NormalizedRewardModel::save`] wrote.
    ///
    /// # Errors
    /// If a file is missing or damaged, or a tensor is missing or misshapen.
    pub fn load(dir: &Path, device: &Device) -> Result<Self, RewardModelError> {
        let normalization = Normalization::read(&dir.join(NORMALIZATION_FILE))?;
        Ok(Self(Standardized::new(load_scalar_model(dir, device)?, normalization)))
    }
}

impl Scorer for NormalizedRewardModel {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        self.0.score(sequences)
    }
}
