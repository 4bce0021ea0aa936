//! The model that a training or a generation starts from.

use std::path::{Path, PathBuf};

use anyhow::Result;
use burn::tensor::Device;
use feedback::chat::ChatTemplate;
use feedback::records::Reader;
use lm::files::{files_of, load_policy, read_config};
use lm::{Policy, Problem};

use crate::cli::DeviceOptions;
use crate::exit::BadInput;

/// A model that is read, with what reads text for it.
pub struct Start {
    pub policy: Policy,
    pub reader: Reader,
    pub device: Device,
}

/// The longest sequence of a model, from its configuration alone.
pub fn context(model: &Path) -> Result<usize> {
    Ok(read_config(&model.join("config.json"))?.shape().context)
}

/// The number of a model's parameters, from its configuration alone.
pub fn parameters(model: &Path) -> Result<usize> {
    Ok(read_config(&model.join("config.json"))?.parameters())
}

/// The model's files, for an identity: those of its weights, and those that its special tokens and its chat template may
/// stand in.
pub fn files(model: &Path) -> Result<Vec<PathBuf>> {
    let mut files = files_of(model)?;
    let beside =
        ["tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "chat_template.jinja"];
    files.extend(beside.map(|name| model.join(name)).into_iter().filter(|path| path.is_file()));
    Ok(files)
}

impl Start {
    /// Opens the device and reads a model's folder.
    pub fn read(model: &Path, temperature: f64, device: &DeviceOptions) -> Result<Self> {
        let device = device.open(parameters(model)?)?.device;
        let (policy, tokenizer) = load_policy(model, temperature, &device)?;
        let template = ChatTemplate::of(&tokenizer, model)?;
        let reader = Reader::new(tokenizer, template);
        Ok(Self { policy, reader, device })
    }
}

/// A problem as the user's mistake.
pub fn refuse(problem: &Problem) -> anyhow::Error {
    BadInput(problem.to_string()).into()
}
