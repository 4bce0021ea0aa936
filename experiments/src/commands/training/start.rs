//! The model that a training or a generation starts from.

use std::path::{Path, PathBuf};

use anyhow::Result;
use burn::tensor::Device;
use feedback::chat::ChatTemplate;
use feedback::records::{Limits, Reader};
use lm::files::ModelFolder;
use lm::{LmError, LoraConfig, Policy, Problem, ReferencePolicy, Stream};

use super::sections::{HeldOut, resolve_limits};
use crate::cli::DeviceOptions;
use crate::exit::BadInput;

/// A model that is read, with what reads text for it.
pub struct Start {
    pub policy: Policy,
    /// The same as the reference of a training, from which policies start.
    pub reference: ReferencePolicy,
    /// Whether the model is an adapter that was merged into its base as it was read.
    is_adapter: bool,
    pub reader: Reader,
    pub device: Device,
}

/// The longest sequence of a model, from its configuration alone.
pub fn context(model: &Path) -> Result<usize> {
    Ok(ModelFolder::open(model, None)?.config()?.shape().context)
}

/// The model's files, for an identity: those of its weights, and those that its special tokens and its
/// chat template may stand in.
pub fn files(model: &Path) -> Result<Vec<PathBuf>> {
    let folder = ModelFolder::open(model, None)?;
    let mut files = folder.files()?;
    let beside =
        ["tokenizer_config.json", "special_tokens_map.json", "generation_config.json", "chat_template.jinja"];
    let texts = folder.tokenizer_dir();
    files.extend(beside.map(|name| texts.join(name)).into_iter().filter(|path| path.is_file()));
    Ok(files)
}

/// The files that a training reads, by the keys that name them: the model's, the data's, and those of a
/// second data file that is held out.
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
    let there = ["config.json", "adapter_config.json"].iter().any(|name| folder.join(name).is_file());
    Problem::unless(there, key, found, "a model").map_or(Ok(()), |problem| Err(refuse(&problem)))
}

impl Start {
    /// Opens the device and reads a model's folder.
    pub fn read(model: &Path, temperature: f64, device: &DeviceOptions) -> Result<Self> {
        Self::of(&ModelFolder::open(model, None)?, temperature, device)
    }

    /// The same of a folder that is found already.
    pub fn of(folder: &ModelFolder, temperature: f64, device: &DeviceOptions) -> Result<Self> {
        let device = device.open(folder.config()?.parameters())?.device;
        let (policy, tokenizer) = folder.policy(temperature, &device)?;
        let template = ChatTemplate::of(&tokenizer, folder.tokenizer_dir())?;
        let reader = Reader::new(tokenizer, template);
        let reference = ReferencePolicy::new(&policy);
        Ok(Self { policy, reference, is_adapter: folder.is_adapter(), reader, device })
    }

    /// Gives the policies that start here new adapters, if settings ask for them, and names the layers
    /// that are left to the model.
    pub fn adapt(&mut self, lora: &mut LoraConfig, seed: u64) -> Result<()> {
        if lora.rank == 0 {
            return Ok(());
        }
        if self.is_adapter {
            let expected =
                "a whole model for new adapters: `experiments merge` makes one of an adapter and its base";
            return Err(refuse(&Problem::new("model", "an adapter", expected)));
        }
        lora.targets = self.policy.model().config().lora_targets(&lora.targets);
        match self.reference.clone().with_adapter(lora, Stream::new(seed, "adapter")) {
            Ok(adapted) => self.reference = adapted,
            Err(LmError::Config(problems)) => {
                let problem = problems.0.into_iter().next();
                return Err(problem.map_or_else(
                    || anyhow::anyhow!("lora: no adapters can be made"),
                    |problem| refuse(&problem.within("lora")),
                ));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
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
