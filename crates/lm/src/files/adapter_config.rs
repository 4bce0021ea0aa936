//! The `adapter_config.json` of PEFT: every key is honoured, or has no effect on what is
//! computed, or is refused by name.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::config::Head;
use crate::LmError;
use crate::architecture::{DecoderConfig, LoraConfig};
use crate::problem::{Config, Problem};

pub(super) const ADAPTER_CONFIG_FILE: &str = "adapter_config.json";
/// A larger file is no configuration.
const MAX_CONFIG_BYTES: u64 = 8 << 20;

/// Keys that are honoured, or do not change what an adapter computes once it is trained: dropout acts in
/// training alone, and PEFT sets `fan_in_fan_out` to what the layer is. All others are refused unless they
/// are null, false or empty.
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

/// What `adapter_config.json` says.
pub(super) struct AdapterConfig {
    path: PathBuf,
    json: Value,
    pub(super) lora: LoraConfig,
}

impl AdapterConfig {
    /// Reads the file.
    ///
    /// # Errors
    /// If it is missing or damaged, or asks for what is not computed here.
    pub(super) fn read(path: PathBuf) -> Result<Self, LmError> {
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

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder or the name of the model that the adapter was trained on.
    pub(super) fn base(&self) -> Option<&str> {
        self.json.get("base_model_name_or_path").and_then(Value::as_str).filter(|base| !base.is_empty())
    }

    /// That it names no folder of a model, or one that is not there.
    pub(super) fn refuse_base(&self) -> LmError {
        let found = self.base().map_or("null".to_owned(), |base| format!("`{base}`"));
        let found = format!("base_model_name_or_path = {found}");
        LmError::file(&self.path, found, "the folder of a whole model; else its base must be given")
    }

    /// Whether it says that it is of a sequence classifier.
    pub(super) fn is_classifier(&self) -> bool {
        self.json.get("task_type").is_some_and(|said| said == task(Head::Score))
    }

    /// Refuses an adapter of another task than the head's.
    pub(super) fn check_task(&self, head: Head) -> Result<(), LmError> {
        let task = task(head);
        match self.json.get("task_type").filter(|found| !found.is_null()) {
            Some(found) if found != task => {
                Err(LmError::file(&self.path, format!("task_type = {found}"), format!("\"{task}\"")))
            }
            _ => Ok(()),
        }
    }

    /// A problem of the settings as one of the file.
    pub(super) fn refuse(&self, error: LmError) -> LmError {
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

/// The content of `adapter_config.json`; PEFT has its defaults for the keys that are not here.
pub(super) fn config_json(lora: &LoraConfig, head: Head, family: &DecoderConfig, base: &str) -> Value {
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
