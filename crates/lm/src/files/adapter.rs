//! Adapters as PEFT writes them: `adapter_config.json` and `adapter_model.safetensors`.
//!
//! Every key of the configuration is honoured, or has no effect on what is computed, or is refused by name.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::config::{Head, tensor_name};
use super::layout::SCORE;
use super::weights::Weights;
use super::write::{Precision, write, write_json};
use crate::LmError;
use crate::architecture::{Decoder, DecoderConfig, LoraConfig};
use crate::parameters::{Values, values};
use crate::problem::{Config, Problem};

const ADAPTER_CONFIG_FILE: &str = "adapter_config.json";
const ADAPTER_FILE: &str = "adapter_model.safetensors";
/// A larger file is no configuration.
const MAX_CONFIG_BYTES: u64 = 8 << 20;
/// What PEFT puts before the name of a tensor of the model that it wraps.
const WRAPPED: &str = "base_model.model.";

/// Keys that are honoured, or do not change what an adapter computes once it is trained: dropout acts in training alone,
/// and PEFT sets `fan_in_fan_out` to what the layer is. All others are refused unless they are null, false or empty.
const KNOWN: [&str; 18] = [
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "fan_in_fan_out",
    "inference_mode",
    "init_lora_weights",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "modules_to_save",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "revision",
    "target_modules",
    "task_type",
    "use_rslora",
];

/// Whether a folder is an adapter's.
pub(super) fn is_adapter(dir: &Path) -> bool {
    dir.join(ADAPTER_CONFIG_FILE).is_file()
}

/// An adapter's folder: its configuration, and the header of its tensors.
pub(super) struct AdapterFolder {
    config: AdapterConfig,
    weights: Weights,
}

/// What `adapter_config.json` says.
struct AdapterConfig {
    path: PathBuf,
    json: Value,
    lora: LoraConfig,
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
        self.config
            .json
            .get("base_model_name_or_path")
            .and_then(Value::as_str)
            .filter(|base| !base.is_empty())
    }

    /// Whether it is of a sequence classifier: it says so, or has a head.
    pub(super) fn is_classifier(&self) -> bool {
        let said = self.config.json.get("task_type").is_some_and(|said| said == task(Head::Score));
        said || self.weights.has(&[&format!("{WRAPPED}{SCORE}")])
    }

    /// That the file names no such folder, or one that is not there.
    pub(super) fn refuse_base(&self) -> LmError {
        let found = self.base().map_or("null".to_owned(), |base| format!("`{base}`"));
        let found = format!("base_model_name_or_path = {found}");
        LmError::file(&self.config.path, found, "the folder of a whole model; else its base must be given")
    }

    /// The files themselves.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        [vec![self.config.path.clone()], self.weights.paths()].concat()
    }

    /// The model with these adapters.
    ///
    /// # Errors
    /// [`LmError::Tensor`] for the first tensor that is missing, misshapen or of no layer, [`LmError::File`] for an
    /// adapter of another task or of layers that the model lacks.
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

impl AdapterConfig {
    fn read(path: PathBuf) -> Result<Self, LmError> {
        let size = std::fs::metadata(&path).map_err(|error| LmError::io(&path, error))?.len();
        if size > MAX_CONFIG_BYTES {
            return Err(LmError::file(&path, format!("{size} bytes"), format!("at most {MAX_CONFIG_BYTES}")));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| LmError::io(&path, error))?;
        let json: Value =
            serde_json::from_str(&text).map_err(|error| LmError::file(&path, error.to_string(), "JSON"))?;
        let lora = lora(&path, &json)?;
        Ok(Self { path, json, lora })
    }

    /// Refuses an adapter of another task than the head's.
    fn check_task(&self, head: Head) -> Result<(), LmError> {
        let task = task(head);
        match self.json.get("task_type").filter(|found| !found.is_null()) {
            Some(found) if found != task => {
                Err(LmError::file(&self.path, format!("task_type = {found}"), format!("\"{task}\"")))
            }
            _ => Ok(()),
        }
    }

    /// A problem of the settings as one of the file.
    fn refuse(&self, error: LmError) -> LmError {
        match &error {
            LmError::Config(problems) => match problems.0.iter().find(|problem| problem.key == "targets") {
                Some(Problem { found, expected, .. }) => {
                    LmError::file(&self.path, format!("target_modules with \"{found}\""), expected)
                }
                None => error,
            },
            _ => error,
        }
    }
}

/// Reads the settings and refuses what is not computed here.
fn lora(path: &Path, json: &Value) -> Result<LoraConfig, LmError> {
    let refuse = |key: &str, expected: &str| {
        let found = json.get(key).unwrap_or(&Value::Null);
        LmError::file(path, format!("{key} = {found}"), expected)
    };
    let Some(keys) = json.as_object() else { return Err(LmError::file(path, "no object", "a JSON object")) };
    if json.get("peft_type").is_none_or(|kind| kind != "LORA") {
        return Err(refuse("peft_type", "\"LORA\""));
    }
    let idle = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) | Value::Number(_) => false,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
    };
    if let Some((key, _)) = keys.iter().find(|(key, value)| !KNOWN.contains(&key.as_str()) && !idle(value)) {
        return Err(refuse(key, "null, false or nothing: it is not computed here"));
    }
    if json.get("bias").is_some_and(|bias| bias != "none") {
        return Err(refuse("bias", "\"none\""));
    }
    // Others change the weights of the base too.
    let starts = [json!(true), json!(false), json!("gaussian"), json!("orthogonal"), json!("eva")];
    if json.get("init_lora_weights").is_some_and(|start| !starts.contains(start)) {
        return Err(refuse("init_lora_weights", "true, false, \"gaussian\", \"orthogonal\" or \"eva\""));
    }
    let heads = [json!("score"), json!("classifier")];
    let saved = json.get("modules_to_save").filter(|saved| !saved.is_null());
    if saved
        .is_some_and(|saved| saved.as_array().is_none_or(|names| names.iter().any(|n| !heads.contains(n))))
    {
        return Err(refuse("modules_to_save", "null, or the scalar head [\"score\"]"));
    }
    let targets: Option<Vec<String>> = json
        .get("target_modules")
        .and_then(Value::as_array)
        .and_then(|names| names.iter().map(|name| name.as_str().map(str::to_owned)).collect());
    let rank = json.get("r").and_then(Value::as_u64).and_then(|rank| usize::try_from(rank).ok());
    let config = LoraConfig {
        rank: rank.filter(|&rank| rank > 0).ok_or_else(|| refuse("r", "a whole number, at least 1"))?,
        alpha: json.get("lora_alpha").and_then(Value::as_f64).unwrap_or(f64::NAN),
        rslora: json.get("use_rslora").and_then(Value::as_bool).unwrap_or(false),
        targets: targets.ok_or_else(|| refuse("target_modules", "a list of names of layers"))?,
    };
    match config.problems().first() {
        None => Ok(config),
        Some(Problem { key, .. }) if key == "alpha" => Err(refuse("lora_alpha", "a positive number")),
        Some(_) => Err(refuse("target_modules", "at least one name of a layer")),
    }
}

/// PEFT's name for what a model with a head is for.
fn task(head: Head) -> &'static str {
    match head {
        Head::LanguageModel => "CAUSAL_LM",
        Head::Score => "SEQ_CLS",
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

/// The content of `adapter_config.json`; PEFT has its defaults for the keys that are not here.
fn config_json(lora: &LoraConfig, head: Head, family: &DecoderConfig, base: &str) -> Value {
    // PEFT's type for it is a whole number.
    let whole = lora.alpha.fract() == 0.0 && lora.alpha < 1e9;
    json!({
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": match family {
            DecoderConfig::Gpt2(_) => true,
            DecoderConfig::Llama(_) | DecoderConfig::GptJ(_) => false,
        },
        "inference_mode": true,
        "init_lora_weights": true,
        "lora_alpha": if whole { json!(lora.alpha as u64) } else { json!(lora.alpha) },
        "lora_dropout": 0.0,
        "modules_to_save": match head {
            Head::LanguageModel => Value::Null,
            Head::Score => json!(["classifier", "score"]),
        },
        "peft_type": "LORA",
        "r": lora.rank,
        "target_modules": lora.targets,
        "task_type": task(head),
        "use_rslora": lora.rslora,
    })
}
