//! Models out of their folders, whole ones and adapters with the weights that they belong to.

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use super::adapter::{AdapterFolder, is_adapter};
use super::config::{Head, read_config};
use super::layout::{CONFIG_FILE, SCORE, TOKENIZER_FILE};
use super::parameters::read_decoder;
use super::special::load_tokenizer;
use super::weights::Weights;
use crate::LmError;
use crate::architecture::{Decoder, DecoderConfig};
use crate::policy::Policy;
use crate::scorer::ScalarModel;
use crate::tokenizer::Tokenizer;

/// Where a model lies: in a folder of its own, or as an adapter's folder beside that of its base. What is
/// read of an adapter has the adapters merged into the weights of the base.
pub struct ModelFolder {
    dir: PathBuf,
    /// The adapter in `dir`, and the folder of its base.
    adapter: Option<(AdapterFolder, PathBuf)>,
}

impl ModelFolder {
    /// Finds out what a folder is. The base of an adapter is `base`, or the folder that the adapter names.
    ///
    /// # Errors
    /// If there is a base for what is no adapter, an adapter's files are damaged, or it names no
    /// folder of a whole model.
    pub fn open(dir: &Path, base: Option<&Path>) -> Result<Self, LmError> {
        if !is_adapter(dir) {
            return match base {
                None => Ok(Self { dir: dir.to_owned(), adapter: None }),
                Some(_) => Err(LmError::file(dir, "no adapter", "one, as a base is given")),
            };
        }
        let adapter = AdapterFolder::open(dir)?;
        let whole = |base: &Path| base.join(CONFIG_FILE).is_file() && !is_adapter(base);
        let base = match base {
            Some(base) if whole(base) => base.to_owned(),
            Some(base) => {
                return Err(LmError::file(base, "no whole model", "the folder of an adapter's base"));
            }
            None => match adapter.base().map(PathBuf::from).filter(|base| whole(base)) {
                Some(base) => base,
                None => return Err(adapter.refuse_base()),
            },
        };
        Ok(Self { dir: dir.to_owned(), adapter: Some((adapter, base)) })
    }

    /// Whether it is an adapter's.
    pub fn is_adapter(&self) -> bool {
        self.adapter.is_some()
    }

    /// Whether it is an adapter of a sequence classifier.
    pub fn is_classifier(&self) -> bool {
        self.adapter.as_ref().is_some_and(|(adapter, _)| adapter.is_classifier())
    }

    /// The folder of the weights: an adapter's base.
    fn whole(&self) -> &Path {
        self.adapter.as_ref().map_or(&self.dir, |(_, base)| base)
    }

    /// The folder of the tokenizer: the model's own, or for an adapter without one that of its base.
    pub fn tokenizer_dir(&self) -> &Path {
        if self.dir.join(TOKENIZER_FILE).is_file() { &self.dir } else { self.whole() }
    }

    /// The model's configuration.
    ///
    /// # Errors
    /// As [`read_config`].
    pub fn config(&self) -> Result<DecoderConfig, LmError> {
        read_config(&self.whole().join(CONFIG_FILE))
    }

    /// The files that the model is made of: those of its adapter, configuration, tokenizer, weights, in this
    /// order.
    ///
    /// # Errors
    /// If the weights cannot be opened.
    pub fn files(&self) -> Result<Vec<PathBuf>, LmError> {
        let mut files = self.adapter.as_ref().map_or(Vec::new(), |(adapter, _)| adapter.paths());
        files.extend([self.whole().join(CONFIG_FILE), self.tokenizer_dir().join(TOKENIZER_FILE)]);
        files.extend(Weights::open(self.whole())?.paths());
        Ok(files)
    }

    /// Reads a causal language model, ours or Hugging Face's own, and its tokenizer, whose special tokens
    /// [`load_tokenizer`] finds.
    ///
    /// A model may have rows in its embedding for ids beyond the tokenizer's, to make a round number.
    /// They are left out: no token of that kind is ever drawn, and the probabilities of the others
    /// add up to 1 without them.
    ///
    /// # Errors
    /// If a file is missing or damaged, or a tensor is missing or misshapen.
    pub fn policy(&self, temperature: f64, device: &Device) -> Result<(Policy, Tokenizer), LmError> {
        let tokenizer = load_tokenizer(self.tokenizer_dir())?;
        let config = self.config()?;
        let vocabulary = config.shape().vocabulary;
        if tokenizer.vocab_size() > vocabulary {
            return Err(LmError::file(
                &self.tokenizer_dir().join(TOKENIZER_FILE),
                format!("{} tokens", tokenizer.vocab_size()),
                format!("at most the model's vocab_size of {vocabulary}"),
            ));
        }
        let mut model = self.decoder(&Weights::open(self.whole())?, &config, Head::LanguageModel, device)?;
        if tokenizer.vocab_size() < vocabulary {
            model = model.with_vocabulary(tokenizer.vocab_size());
        }
        Ok((Policy::new(model, temperature, tokenizer.end())?, tokenizer))
    }

    /// Reads a sequence classifier with one label. The head of an adapter's is its own, or else its base's.
    ///
    /// # Errors
    /// As [`ModelFolder::policy`].
    pub fn scalar_model(&self, device: &Device) -> Result<ScalarModel, LmError> {
        let config = self.config()?;
        let (weights, width) = (Weights::open(self.whole())?, config.shape().width);
        let own = self.adapter.as_ref().map_or(Ok(None), |(adapter, _)| adapter.head(width))?;
        let head = match own {
            Some(head) => head,
            None => weights.find(&[SCORE], &[1, width])?.read()?,
        };
        Ok(ScalarModel::new(self.decoder(&weights, &config, Head::Score, device)?, head))
    }

    fn decoder(
        &self,
        weights: &Weights,
        config: &DecoderConfig,
        head: Head,
        device: &Device,
    ) -> Result<Decoder, LmError> {
        let decoder = read_decoder(weights, config, head, device)?;
        match &self.adapter {
            None => Ok(decoder),
            Some((adapter, _)) => Ok(adapter.apply(decoder, head)?.merged()),
        }
    }
}

/// [`ModelFolder::policy`] of a folder.
///
/// # Errors
/// As there and as [`ModelFolder::open`].
pub fn load_policy(dir: &Path, temperature: f64, device: &Device) -> Result<(Policy, Tokenizer), LmError> {
    ModelFolder::open(dir, None)?.policy(temperature, device)
}

/// A policy with the adapters of a folder, which are not merged: they train on.
///
/// # Errors
/// If a file is missing or damaged, or the adapters are not of such a model.
pub fn load_adapter(dir: &Path, base: &Policy) -> Result<Policy, LmError> {
    let model = AdapterFolder::open(dir)?.apply(base.model().clone(), Head::LanguageModel)?;
    Policy::new(model, base.temperature(), base.end())
}

/// [`ModelFolder::scalar_model`] of a folder.
///
/// # Errors
/// As there and as [`ModelFolder::open`].
pub fn load_scalar_model(dir: &Path, device: &Device) -> Result<ScalarModel, LmError> {
    ModelFolder::open(dir, None)?.scalar_model(device)
}

/// [`ModelFolder::files`] of a folder.
///
/// # Errors
/// As there and as [`ModelFolder::open`].
pub fn files_of(dir: &Path) -> Result<Vec<PathBuf>, LmError> {
    ModelFolder::open(dir, None)?.files()
}
