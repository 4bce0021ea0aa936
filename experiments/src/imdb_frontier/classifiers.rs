//! Encoders as r* or as the second opinion, in the place of the linear classifiers.
//!
//! ```toml
//! [truth]                                 # or [second_opinion]
//! folder = "data/cache/models/minilm"     # without one the weights are drawn and the tokenizer is trained
//! label = "POSITIVE"                      # whose probability is the score
//! [truth.encoder]                         # what its config.json says
//! [truth.training]                        # of train-classifier, whole; without it the folder is taken as is
//! ```

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use lm::architecture::EncoderConfig;
use lm::files::files_of;
use lm::{Config, Problem};
use serde::{Deserialize, Serialize};

use crate::commands::train_classifier::texts::SENTIMENTS;
use crate::commands::train_classifier::training::ClassifierConfig;
use crate::exit::BadInput;
use crate::repository;
use crate::study::folder::hash_files;

/// A text classifier: an encoder with a head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierSource {
    /// Its Hugging Face folder. Without one the weights are drawn and the tokenizer is trained on the
    /// reviews.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// The label whose probability is the score: its name or number.
    pub label: String,
    /// What its `config.json` says, so that a study can be planned before the folder is there.
    pub encoder: EncoderConfig,
    /// How it is fine-tuned on the reviews; without this it is used as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training: Option<ClassifierConfig>,
}

impl Config for ClassifierSource {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = self.encoder.problems_within("encoder");
        let possible = self.folder.is_some() || self.training.is_some();
        let expected = "a folder, or a table `training`: weights that are drawn say nothing";
        problems.extend(Problem::unless(possible, "folder", "nothing", expected));
        if let Some(training) = &self.training {
            problems.extend(training.problems_within("training"));
            let known = SENTIMENTS.contains(&self.label.as_str());
            problems.extend(Problem::unless(known, "label", &self.label, SENTIMENTS.join(" or ")));
        }
        problems
    }
}

impl ClassifierSource {
    /// The same wherever the folder lies: its files count by their content.
    pub fn without_folder(&self) -> Self {
        Self { folder: None, ..self.clone() }
    }

    /// Its folder, seen from here.
    pub fn dir(&self) -> Option<PathBuf> {
        self.folder.as_deref().map(repository::here_or_there)
    }

    /// Hash of its files.
    pub fn fingerprint(&self, role: Role) -> Result<String> {
        let Some(dir) = self.dir() else { return Ok(String::new()) };
        let files = files_of(&dir).map_err(|error| BadInput(format!("{}: {error}", role.name())))?;
        hash_files(&files).context(role.name())
    }
}

/// What a classifier is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// r*.
    Truth,
    /// The second opinion.
    SecondOpinion,
}

impl Role {
    pub const ALL: [Self; 2] = [Self::Truth, Self::SecondOpinion];

    /// The name of its stage.
    pub fn name(self) -> &'static str {
        match self {
            Self::Truth => "truth",
            Self::SecondOpinion => "second-opinion",
        }
    }
}
