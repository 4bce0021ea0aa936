//! Adapters as PEFT writes them: `adapter_config.json` and `adapter_model.safetensors`.

use std::path::{Path, PathBuf};

use super::adapter_config::{ADAPTER_CONFIG_FILE, AdapterConfig, config_json};
use super::config::{Head, tensor_name};
use super::layout::SCORE;
use super::weights::Weights;
use super::write::{Precision, write, write_json};
use crate::LmError;
use crate::architecture::Decoder;
use crate::parameters::{Values, values};
use crate::problem::Problem;

const ADAPTER_FILE: &str = "adapter_model.safetensors";
/// What PEFT puts before the name of a tensor of the model that it wraps.
const WRAPPED: &str = "base_model.model.";

/// Whether a folder is an adapter's.
pub(super) fn is_adapter(dir: &Path) -> bool {
    dir.join(ADAPTER_CONFIG_FILE).is_file()
}

/// An adapter's folder: its configuration, and the header of its tensors.
pub(super) struct AdapterFolder {
    config: AdapterConfig,
    weights: Weights,
}

impl AdapterFolder {
    /// Reads the configuration and the header.
    ///
    /// # Errors
    /// If a file is missing or damaged, or asks for what is not computed here.
    pub(super) fn open(dir: &Path) -> Result<Self, LmError> {
        let config = AdapterConfig::read(dir.join(ADAPTER_CONFIG_FILE))?;
        let path = dir.join(ADAPTER_FILE);
        if !path.is_file() && dir.join("adapter_model.bin").is_file() {
            let expected = format!("{ADAPTER_FILE}: a pickle can run any program, so none is read");
            return Err(LmError::file(dir, "adapter_model.bin", expected));
        }
        Ok(Self { config, weights: Weights::of_file(path)? })
    }

    /// The folder or the name of the model that it was trained on.
    pub(super) fn base(&self) -> Option<&str> {
        self.config.base()
    }

    /// Whether it is of a sequence classifier: it says so, or has a head.
    pub(super) fn is_classifier(&self) -> bool {
        self.config.is_classifier() || self.weights.has(&[&format!("{WRAPPED}{SCORE}")])
    }

    /// That the file names no such folder, or one that is not there.
    pub(super) fn refuse_base(&self) -> LmError {
        self.config.refuse_base()
    }

    /// The files themselves.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        [vec![self.config.path().to_owned()], self.weights.paths()].concat()
    }

    /// The model with these adapters.
    ///
    /// # Errors
    /// [`LmError::Tensor`] for the first tensor that is missing, misshapen or of no layer, [`LmError::File`]
    /// for an adapter of another task or of layers that the model lacks.
    pub(super) fn apply(&self, decoder: Decoder, head: Head) -> Result<Decoder, LmError> {
        self.config.check_task(head)?;
        let (family, rank) = (decoder.config(), self.config.lora.rank);
        let mut read = Vec::new();
        let adapted = decoder.adapted(&self.config.lora, |path, [inputs, outputs]| {
            let mut matrix = |which: &str, shape: [usize; 2]| {
                let name = format!("{WRAPPED}{}.lora_{which}.weight", tensor_name(&family, path));
                let values = self.weights.find(&[&name], &shape)?.read();
                read.push(name);
                values
            };
            Ok([matrix("A", [rank, inputs])?, matrix("B", [outputs, rank])?])
        });
        let decoder = adapted.map_err(|error| self.config.refuse(error))?;
        if matches!(head, Head::Score) {
            read.push(format!("{WRAPPED}{SCORE}"));
        }
        match self.weights.names().into_iter().find(|name| !read.contains(name)) {
            None => Ok(decoder),
            Some(tensor) => Err(LmError::Tensor {
                path: self.weights.path().to_owned(),
                tensor,
                found: "it".to_owned(),
                expected: "tensors of the layers that target_modules names".to_owned(),
            }),
        }
    }

    /// The weights of a scalar head of so many inputs, if the adapter has one.
    ///
    /// # Errors
    /// If it is misshapen or cannot be read.
    pub(super) fn head(&self, width: usize) -> Result<Option<Vec<f32>>, LmError> {
        let name = format!("{WRAPPED}{SCORE}");
        if !self.weights.has(&[&name]) {
            return Ok(None);
        }
        self.weights.find(&[&name], &[1, width])?.read().map(Some)
    }
}

/// Writes the adapters of a model, with the weights of its scalar head if it has one.
///
/// # Errors
/// [`LmError::Config`] if it has no adapters, [`LmError::Io`] if a file cannot be written.
pub(super) fn save(
    dir: &Path,
    decoder: &Decoder,
    scalar_head: Option<Values>,
    base: &str,
) -> Result<(), LmError> {
    let Some(lora) = decoder.lora() else {
        return Err(Problem::new("model", "no adapters", "a model that was trained with them").into());
    };
    let (family, head) =
        (decoder.config(), if scalar_head.is_some() { Head::Score } else { Head::LanguageModel });
    let matrix = |path: &str| -> Option<String> {
        let name =
            |of: &str, which: &str| format!("{WRAPPED}{}.lora_{which}.weight", tensor_name(&family, of));
        let of = |end: &str| path.strip_suffix(end);
        of(".adapter.lora_a").map(|of| name(of, "A")).or(of(".adapter.lora_b").map(|of| name(of, "B")))
    };
    let adapters = values(decoder, |path| matrix(path).is_some());
    let named = adapters.into_iter().filter_map(|(path, values)| Some((matrix(&path)?, values)));
    let tensors = named.chain(scalar_head.map(|head| (format!("{WRAPPED}{SCORE}"), head))).collect();
    write(&dir.join(ADAPTER_FILE), &tensors, ("format", "pt"), Precision::F32)?;
    write_json(&dir.join(ADAPTER_CONFIG_FILE), &config_json(&lora, head, &family, base))
}
