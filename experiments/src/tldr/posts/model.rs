//! The model that is fine-tuned on posts.

use std::path::{Path, PathBuf};

use anyhow::Result;
use burn::tensor::Device;
use lm::files::{Precision, parse_config, read_config, save_policy};
use lm::{Config, Decoder, DecoderConfig, Policy, Problem, Stream, Tokenizer};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::exit::BadInput;
use crate::repository;

/// Where the model comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Base {
    /// A folder in Hugging Face's layout: seen from where the program was called, or else from the
    /// repository.
    Folder {
        path: PathBuf,
        /// What its config.json says, for a plan without it.
        config: Value,
    },
    /// Random weights, with a tokenizer that is trained on the posts.
    New {
        /// config.json.
        config: Value,
        seed: u64,
    },
}

impl Config for Base {
    fn problems(&self) -> Vec<Problem> {
        let (key, config) = match self {
            Self::Folder { config, .. } => ("folder.config", config),
            Self::New { config, .. } => ("new.config", config),
        };
        let read = parse_config(Path::new("config"), config.clone());
        read.err().map(|error| Problem::new(key, error, "a model's config.json")).into_iter().collect()
    }
}

impl Base {
    /// The model's shape: of the folder if it is there, and else as written.
    pub fn config(&self) -> Result<DecoderConfig> {
        match self {
            Self::Folder { path, config } => match place(path)? {
                Some(folder) => Ok(read_config(&folder.join("config.json"))?),
                None => Ok(parse_config(path, config.clone())?),
            },
            Self::New { config, .. } => Ok(parse_config(Path::new("config"), config.clone())?),
        }
    }

    /// The folder of a model that is not made here.
    pub fn folder(&self) -> Result<PathBuf> {
        let Self::Folder { path, .. } = self else {
            anyhow::bail!("the model is made, and in no folder yet")
        };
        let missing = || {
            let (key, path) = ("policies.posts.model.folder.path", path.display());
            BadInput(format!("{key}: found no model in {path}, expected a folder with config.json"))
        };
        Ok(place(path)?.ok_or_else(missing)?)
    }

    /// Makes the model in a folder, its tokenizer from `texts`.
    pub fn make(&self, dir: &Path, texts: &[String], device: &Device) -> Result<()> {
        let Self::New { config, seed } = self else {
            anyhow::bail!("the model is not made, but in a folder")
        };
        let config = parse_config(Path::new("config"), config.clone())?;
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let tokenizer = Tokenizer::train(&texts, config.shape().vocabulary)?;
        let decoder = Decoder::random(&config, Stream::new(*seed, "model"), device)?;
        let policy = Policy::new(decoder, 1.0, tokenizer.end())?;
        Ok(save_policy(dir, &policy, &tokenizer, Precision::F32)?)
    }
}

/// A model's folder, if it is there.
fn place(path: &Path) -> Result<Option<PathBuf>> {
    let is_model = |folder: &PathBuf| folder.join("config.json").is_file();
    if is_model(&path.to_owned()) {
        return Ok(Some(path.to_owned()));
    }
    if path.is_absolute() {
        return Ok(None);
    }
    let shipped = repository::path(&path.to_string_lossy())?;
    Ok(Some(shipped).filter(is_model))
}
