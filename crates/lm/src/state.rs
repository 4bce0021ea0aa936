//! The state of a training: all that a trainer must be given back to go on as if it had never stopped.
//!
//! It is tensors and counters, each under a name. There is no random generator in it: every random number of
//! a training is drawn from (seed, purpose, step), so the counters are enough.
//!
//! # File
//!
//! A state is one safetensors file. Tensors are F32, exact, and have a section before the parameter's path
//! (its name in a Hugging Face checkpoint): weights in the section of their model, an optimiser's moments in
//! sections of its own, under `PyTorch`'s names for them.
//!
//! | name | in the state of | what |
//! |-|-|-|
//! | `policy/PATH` | all but the reward model | the policy's weights |
//! | `average/PATH` | trainings whose policies are averaged | the average's weights |
//! | `value_model/PATH` | PPO | the value model's weights |
//! | `reward_model/PATH`, `best/PATH` | the reward model | its weights, and those of its best validation so far |
//! | `OPTIMIZER/exp_avg/PATH`, `OPTIMIZER/exp_avg_sq/PATH` | `AdamW` | first and second moment |
//! | `OPTIMIZER/square_avg/PATH` | `RMSprop` | second moment |
//!
//! `OPTIMIZER` is `optimizer`, with PPO `policy_optimizer` and `value_optimizer`. A parameter that has had no
//! gradient yet has no moments, and of a model with frozen weights only those parameters are kept that train:
//! with adapters theirs, as `PATH.adapter.lora_a` and `PATH.adapter.lora_b`, and a scalar head's. Counters
//! stand in the header's `__metadata__`, under the one key `training_state`, as a JSON object of text;
//! numbers are decimal and read back to the same bits. The same state makes the same file, byte for byte.
//!
//! | name | in the state of | what |
//! |-|-|-|
//! | `format` | all | `1` |
//! | `trainer` | all | `sft`, `dpo`, `online-dpo`, `ppo`, `rloo` or `reward-model` |
//! | `step`, `tokens` | all | steps taken, and [`Trainer::tokens`](crate::Trainer::tokens) |
//! | `epochs/examples`, `epochs/epoch`, `epochs/cursor` | all | how many examples (or prompts) there are, passes over them done, and examples of the current pass drawn |
//! | `OPTIMIZER/algorithm`, `OPTIMIZER/step` | all | `adamw` or `rmsprop`, and its own steps |
//! | `kl_coef` | PPO, RLOO | the KL coefficient, which the adaptive controller moves |
//! | `best/step`, `best/loss`, `best/accuracy`, `best/margin` | the reward model | its best validation so far |
//!
//! What was passed to a trainer's constructor, such as configuration, data and seed, is not in its state:
//! whoever restores a state makes the trainer with the same again.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use burn::module::Module;
use safetensors::tensor::{Dtype, SafeTensors};

use crate::LmError;
use crate::files::{Precision, write};
use crate::parameters::{self, Values};
use crate::policy::Policy;

/// The key of the counters in the file's metadata.
const COUNTERS: &str = "training_state";

/// The counter that says how the file is to be read, and its value in files of this form.
const FORMAT: (&str, &str) = ("format", "1");

/// Tensors and counters by name; see the [module](self).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    tensors: BTreeMap<String, Values>,
    counters: BTreeMap<String, String>,
}

impl State {
    /// A state with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps a number or a word. Rust writes floats so that they read back to the same bits.
    pub fn set(&mut self, name: &str, value: impl Display) {
        self.counters.insert(name.to_owned(), value.to_string());
    }

    /// The number that was kept under a name.
    ///
    /// # Errors
    /// [`LmError::State`] if there is none, or one of another type.
    pub fn get<T: FromStr>(&self, name: &str) -> Result<T, LmError> {
        let found = self.counter(name)?;
        let kind = std::any::type_name::<T>();
        found.parse().map_err(|_| refuse(name, format!("`{found}`"), format!("a number of type {kind}")))
    }

    /// The whole number that was kept under a name: steps, tokens, examples.
    ///
    /// # Errors
    /// [`LmError::State`] if there is none, or one that no training reaches: it could not be counted on from
    /// there.
    pub fn count<T: TryFrom<u64>>(&self, name: &str) -> Result<T, LmError> {
        /// Whole numbers up to it are exact in metrics too.
        const LARGEST: u64 = 1 << 53;
        let found: u64 = self.get(name)?;
        let count = Some(found).filter(|&count| count <= LARGEST).and_then(|count| T::try_from(count).ok());
        count.ok_or_else(|| refuse(name, format!("`{found}`"), format!("at most {LARGEST}")))
    }

    /// Refuses a state whose counter `name` is not what the trainer has.
    ///
    /// # Errors
    /// [`LmError::State`] if it is missing or different.
    pub fn require(&self, name: &str, expected: impl Display) -> Result<(), LmError> {
        let (found, expected) = (self.counter(name)?, expected.to_string());
        if found == expected { Ok(()) } else { Err(refuse(name, found, expected)) }
    }

    fn counter(&self, name: &str) -> Result<&str, LmError> {
        self.counters
            .get(name)
            .map(String::as_str)
            .ok_or_else(|| refuse(name, "no such counter", "one, as this trainer writes it"))
    }

    /// Keeps what the state of every trainer says: whose it is, the steps taken so far, and
    /// [`Trainer::tokens`](crate::Trainer::tokens).
    pub fn set_trainer(&mut self, trainer: &str, step: usize, tokens: u64) {
        self.set("trainer", trainer);
        self.set("step", step);
        self.set("tokens", tokens);
    }

    /// The steps and tokens in a state that this trainer has saved.
    ///
    /// # Errors
    /// [`LmError::State`] if it is another trainer's, or if a number is missing.
    pub fn trainer(&self, trainer: &str) -> Result<(usize, u64), LmError> {
        self.require("trainer", trainer)?;
        Ok((self.count("step")?, self.count("tokens")?))
    }

    /// Keeps the parameters of a module that train.
    pub fn set_module<M: Module>(&mut self, section: &str, module: &M) {
        let trained = parameters::trained(module);
        for (path, values) in parameters::values(module, |path| trained.contains(path)) {
            self.set_tensor(section, &path, values);
        }
    }

    /// The module with the parameters that were kept in a section, those that train; it stays on its device.
    ///
    /// # Errors
    /// [`LmError::State`] for the first parameter that the section lacks or has in another shape, and for the
    /// first of the section that the module lacks.
    pub fn module<M: Module>(&self, section: &str, module: M) -> Result<M, LmError> {
        let trained = parameters::trained(&module);
        self.refuse_others(section, trained.iter().map(String::as_str))?;
        parameters::replace(module, |path, shape| {
            if !trained.contains(path) {
                return Ok(None);
            }
            let values = self.tensor(section, path, shape)?;
            let expected = || format!("shape {shape:?}");
            let missing = || refuse(&format!("{section}/{path}"), "no such tensor", expected());
            values.ok_or_else(missing).map(Some)
        })
    }

    /// [`State::module`] for a policy: the weights that were kept in a section, in the place of those of
    /// `policy`.
    ///
    /// # Errors
    /// As there.
    pub fn policy(&self, section: &str, policy: &Policy) -> Result<Policy, LmError> {
        let model = self.module(section, policy.model().valid())?;
        Policy::new(model, policy.temperature(), policy.end())
    }

    /// Keeps one tensor.
    pub(crate) fn set_tensor(&mut self, section: &str, path: &str, values: Values) {
        self.tensors.insert(format!("{section}/{path}"), values);
    }

    /// The values of one tensor, if there is one.
    pub(crate) fn tensor(
        &self,
        section: &str,
        path: &str,
        shape: &[usize],
    ) -> Result<Option<Vec<f32>>, LmError> {
        let name = format!("{section}/{path}");
        let Some(found) = self.tensors.get(&name) else { return Ok(None) };
        if found.shape == shape {
            return Ok(Some(found.values.clone()));
        }
        Err(refuse(&name, format!("shape {:?}", found.shape), format!("shape {shape:?}")))
    }

    /// Refuses a section with a tensor that is not among `paths`: it was saved by another model.
    pub(crate) fn refuse_others<'a>(
        &self,
        section: &str,
        paths: impl Iterator<Item = &'a str>,
    ) -> Result<(), LmError> {
        let prefix = format!("{section}/");
        let known: HashSet<&str> = paths.collect();
        let of_section =
            self.tensors.range(prefix.clone()..).take_while(|(name, _)| name.starts_with(&prefix));
        for (name, values) in of_section {
            if !known.contains(&name[prefix.len()..]) {
                let found = format!("a tensor of shape {:?}", values.shape);
                return Err(refuse(name, found, "none: the model has no such parameter"));
            }
        }
        Ok(())
    }

    /// Writes the state to a file, by way of a temporary one beside it, so that a crash leaves the old file
    /// or the new one and never a part.
    ///
    /// # Errors
    /// [`LmError::Io`] or [`LmError::File`] if it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), LmError> {
        let counters = self.counters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let counters: BTreeMap<&str, &str> = counters.chain([FORMAT]).collect();
        let counters = serde_json::to_string(&counters)
            .map_err(|error| LmError::file(path, error.to_string(), "counters that can be stored"))?;
        let partial = path.with_extension("partial");
        write(&partial, &self.tensors, (COUNTERS, &counters), Precision::F32)?;
        std::fs::rename(&partial, path).map_err(|error| LmError::io(path, error))
    }

    /// Reads what [`State::write`] wrote.
    ///
    /// # Errors
    /// [`LmError::Io`] or [`LmError::File`] if the file cannot be read or is not a state.
    pub fn read(path: &Path) -> Result<Self, LmError> {
        let bytes = std::fs::read(path).map_err(|error| LmError::io(path, error))?;
        let wrong = |error: safetensors::SafeTensorError| {
            LmError::file(path, error.to_string(), "a safetensors file with the state of a training")
        };
        let (_, header) = SafeTensors::read_metadata(&bytes).map_err(wrong)?;
        let counters = header.metadata().as_ref().and_then(|about| about.get(COUNTERS));
        let expected = format!("a JSON object of text under `{COUNTERS}` in its metadata");
        let mut counters: BTreeMap<String, String> = match counters.map(|text| serde_json::from_str(text)) {
            Some(Ok(counters)) => counters,
            Some(Err(error)) => return Err(LmError::file(path, error.to_string(), expected)),
            None => return Err(LmError::file(path, "a file that holds no state of a training", expected)),
        };
        let (name, format) = FORMAT;
        match counters.remove(name) {
            Some(found) if found == format => {}
            found => {
                let found = found.map_or("none".to_owned(), |found| format!("`{found}`"));
                return Err(LmError::file(path, format!("{name} {found}"), format!("{name} `{format}`")));
            }
        }
        let mut tensors = BTreeMap::new();
        for (name, view) in SafeTensors::deserialize(&bytes).map_err(wrong)?.tensors() {
            if view.dtype() != Dtype::F32 {
                return Err(LmError::file(path, format!("`{name}` of type {:?}", view.dtype()), "F32"));
            }
            let values =
                view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
            tensors.insert(name, Values { shape: view.shape().to_vec(), values });
        }
        Ok(Self { tensors, counters })
    }
}

/// What does not fit.
pub(crate) fn refuse(name: &str, found: impl Into<String>, expected: impl Into<String>) -> LmError {
    LmError::State { name: name.to_owned(), found: found.into(), expected: expected.into() }
}
