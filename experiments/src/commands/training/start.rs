//! The model that a training or a generation starts from.

use std::path::{Path, PathBuf};

use anyhow::Result;
use burn::tensor::Device;
use feedback::chat::ChatTemplate;
use feedback::records::{Limits, Reader};
use lm::files::{files_of, load_policy, read_config};
use lm::{Policy, Problem};

use super::sections::{HeldOut, resolve_limits};
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

/// The files that a training reads, by the keys that name them: the model's, the data's, and those of a second data file that
/// is held out.
pub fn inputs(
    model: &str,
    (key, data): (&'static str, &str),
    held_out: &HeldOut,
) -> Result<Vec<(&'static str, Vec<PathBuf>)>> {
    let mut inputs = vec![("model", files(Path::new(model))?), (key, vec![PathBuf::from(data)])];
    if !held_out.file.is_empty() {
        inputs.push(("held_out.file", vec![PathBuf::from(&held_out.file)]));
    }
    Ok(inputs)
}

/// Refuses keys where no path stands.
pub fn require(paths: [(&str, &str); 2]) -> Result<()> {
    for (key, value) in paths {
        let expected = format!("a path, as in --{key} PATH");
        Problem::unless(!value.is_empty(), key, "nothing", expected)
            .map_or(Ok(()), |problem| Err(refuse(&problem)))?;
    }
    Ok(())
}

/// Refuses a folder without a model, by the key or flag that names it.
pub fn require_model(key: &str, folder: &Path) -> Result<()> {
    let found = format!("no config.json in {}", folder.display());
    Problem::unless(folder.join("config.json").is_file(), key, found, "a model")
        .map_or(Ok(()), |problem| Err(refuse(&problem)))
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

    /// Puts the model's numbers in the place of those limits that are left to it.
    pub fn resolve(&self, limits: &mut Limits) -> Result<()> {
        resolve_limits(limits, self.policy.model().shape().context).map_err(|problem| refuse(&problem))
    }
}

/// A problem as the user's mistake.
pub fn refuse(problem: &Problem) -> anyhow::Error {
    BadInput(problem.to_string()).into()
}
