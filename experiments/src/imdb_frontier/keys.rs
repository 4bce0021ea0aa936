//! Keys of the stages: hashes of all that they depend on. Equal keys mean equal results, so what is
//! finished is found again.

use std::collections::BTreeMap;

use anyhow::Result;
use feedback::EvaluationConfig;
use imdb::{Origin, Route};
use lm::device::Precision;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::imdb_frontier::classifiers::Role;
use crate::imdb_frontier::plan::HELD_OUT_RESPONSES;
use crate::imdb_frontier::preset::Preset;
use crate::imdb_frontier::reference::{FineTuneConfig, ReferenceSource, fingerprint};
use crate::repository;
use crate::study::folder::{hash_files, key};

/// A key for each stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageKeys {
    pub reference: String,
    pub ground_truth: String,
    pub prompts: String,
    pub reference_samples: String,
    /// Of encoders in the place of linear classifiers, by the stage's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub classifiers: BTreeMap<String, String>,
    /// By the seed of the runs that learn from the pairs.
    pub preferences: BTreeMap<u64, String>,
    pub reward_model: BTreeMap<u64, String>,
}

impl StageKeys {
    /// The keys of a study of these reviews, which count by what is in them: nothing depends on where
    /// they lie. A reference model that is not trained here, and the shipped classifiers if they are
    /// used, count by their files.
    pub fn new(preset: &Preset, reviews: &Origin, precision: Precision) -> Result<Self> {
        let content = reviews.content_sha256.as_str();
        let reference = match &preset.reference {
            ReferenceSource::Train(_) => {
                key("reference", &(&preset.reference, preset.temperature), &[content])?
            }
            ReferenceSource::Shipped | ReferenceSource::Folder(_) => {
                let weights = fingerprint(&preset.reference)?;
                key("reference", &preset.temperature, &[&weights])?
            }
            ReferenceSource::FineTune(config) => {
                let weights = fingerprint(&preset.reference)?;
                let config = FineTuneConfig { folder: None, ..config.as_ref().clone() };
                key("reference", &(&config, preset.temperature), &[content, &weights])?
            }
        };
        // Everything builds on the reference, so what bf16 computes is never taken for f32's. Devices are not
        // told apart: they differ by rounding.
        let reference = match precision {
            Precision::F32 => reference,
            Precision::Bf16 => key("precision", &precision.name(), &[&reference])?,
        };
        let ground_truth = match reviews.route {
            Route::Embedded => key("ground-truth", &"shipped", &[&shipped()?])?,
            Route::Folder | Route::Archive | Route::Wheel | Route::Table | Route::Synthetic => {
                key("ground-truth", &preset.ground_truth, &[content])?
            }
        };
        let prompts = key("prompts", &(&preset.prompts, preset.data_seed), &[content, &reference])?;
        let drawn = (&preset.sampling, preset.data_seed);
        let mut classifiers = BTreeMap::new();
        for role in Role::ALL {
            if let Some(source) = preset.encoder(role) {
                let key = key(role.name(), &source.without_folder(), &[content, &source.fingerprint(role)?])?;
                classifiers.insert(role.name().to_owned(), key);
            }
        }
        // Who scores: the linear classifiers, and encoders in their place.
        let scorers = if classifiers.is_empty() {
            ground_truth.clone()
        } else {
            let encoders: Vec<&str> = classifiers.values().map(String::as_str).collect();
            key(
                "scorers",
                &classifiers.keys().collect::<Vec<_>>(),
                &[&[ground_truth.as_str()], &encoders[..]].concat(),
            )?
        };
        let upstream = [scorers.as_str(), prompts.as_str()];
        let EvaluationConfig { on, responses_per_prompt, reference_samples } = preset.evaluation;
        let evaluation = json!({ "on": on, "reference_samples": reference_samples });
        let reference_samples = key("reference-samples", &(&drawn, &evaluation), &upstream)?;
        // One response per prompt has the key that it had before there was a choice.
        let reference_samples = match responses_per_prompt {
            1 => reference_samples,
            count => key("responses-per-prompt", &count, &[&reference_samples])?,
        };
        let (mut preferences, mut reward_model) = (BTreeMap::new(), BTreeMap::new());
        for &seed in &preset.seeds {
            let drawn = (&preset.sampling, seed);
            let pairs = key("preferences", &(&drawn, &preset.preferences, HELD_OUT_RESPONSES), &upstream)?;
            reward_model.insert(seed, key("reward-model", &(&preset.reward_model, seed), &[&pairs])?);
            preferences.insert(seed, pairs);
        }
        Ok(Self {
            reference,
            ground_truth,
            prompts,
            reference_samples,
            classifiers,
            preferences,
            reward_model,
        })
    }
}

/// Hash of the shipped classifiers.
fn shipped() -> Result<String> {
    let folder = repository::path("data/ground-truth")?;
    hash_files(&["ground_truth.safetensors", "judge.safetensors"].map(|name| folder.join(name)))
}
