//! Checkpoints as Hugging Face folders: `config.json`, `model.safetensors`, `tokenizer.json`.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Device;
use half::f16;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize_to_file};
use serde_json::{Value, json};

use crate::LmError;
use crate::architecture::{Gpt2, Gpt2Config};
use crate::parameters::{self, Values};
use crate::policy::Policy;
use crate::problem::{Config, Problem};
use crate::random::Stream;
use crate::scorer::ScalarModel;
use crate::tokenizer::{END_TOKEN, PAD_TOKEN, Tokenizer};

/// How weights are stored; they are f32 in memory either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 4 bytes a weight, exact.
    F32,
    /// 2 bytes a weight, for shipping.
    F16,
}

/// The largest weight file that is read into memory.
const MAX_FILE_BYTES: u64 = 16 << 30;

/// Writes a policy as `GPT2LMHeadModel` with its tokenizer; `transformers.AutoModelForCausalLM` reads the folder.
///
/// # Errors
/// [`LmError::Io`] if the folder cannot be written.
pub fn save_policy(
    dir: &Path,
    policy: &Policy,
    tokenizer: &Tokenizer,
    precision: Precision,
) -> Result<(), LmError> {
    let tensors = named_tensors(policy.model(), "transformer.");
    save(dir, &tensors, policy.model().config(), "GPT2LMHeadModel", tokenizer, precision)
}

/// Writes a scalar model as `GPT2ForSequenceClassification` with one label and its tokenizer.
///
/// # Errors
/// [`LmError::Io`] if the folder cannot be written.
pub fn save_scalar_model(
    dir: &Path,
    model: &ScalarModel,
    tokenizer: &Tokenizer,
    precision: Precision,
) -> Result<(), LmError> {
    let tensors = named_tensors(model, "");
    save(dir, &tensors, model.body().config(), "GPT2ForSequenceClassification", tokenizer, precision)
}

/// Reads a `GPT2LMHeadModel` folder, ours or Hugging Face's own, and its tokenizer.
///
/// # Errors
/// If a file is missing or damaged, or a tensor is missing or misshapen.
pub fn load_policy(dir: &Path, temperature: f64, device: &Device) -> Result<(Policy, Tokenizer), LmError> {
    let tokenizer = Tokenizer::load(&dir.join("tokenizer.json"))?;
    let config = read_config(&dir.join("config.json"))?;
    if tokenizer.vocab_size() > config.vocab_size {
        return Err(LmError::file(
            &dir.join("tokenizer.json"),
            format!("{} tokens", tokenizer.vocab_size()),
            format!("at most the model's vocab_size of {}", config.vocab_size),
        ));
    }
    let blank = Gpt2::init(&config, Stream::new(0, "blank"), device)?;
    let model = load(&dir.join("model.safetensors"), blank, "transformer.")?;
    Ok((Policy::new(model, temperature, tokenizer.end())?, tokenizer))
}

/// Reads a `GPT2ForSequenceClassification` folder with one label.
///
/// # Errors
/// As [`load_policy`].
pub fn load_scalar_model(dir: &Path, device: &Device) -> Result<ScalarModel, LmError> {
    let config = read_config(&dir.join("config.json"))?;
    let body = Gpt2::init(&config, Stream::new(0, "blank"), device)?;
    load(&dir.join("model.safetensors"), ScalarModel::with_zero_head(body), "")
}

/// The parameters of a module under the names of a file.
fn named_tensors<M: Module>(module: &M, prefix: &str) -> BTreeMap<String, Values> {
    parameters::values(module).into_iter().map(|(path, values)| (format!("{prefix}{path}"), values)).collect()
}

fn save(
    dir: &Path,
    tensors: &BTreeMap<String, Values>,
    config: &Gpt2Config,
    architecture: &str,
    tokenizer: &Tokenizer,
    precision: Precision,
) -> Result<(), LmError> {
    if tokenizer.vocab_size() > config.vocab_size {
        let found = format!("{} for a tokenizer of {}", config.vocab_size, tokenizer.vocab_size());
        return Err(Problem::new("vocab_size", found, "an embedding for every token").into());
    }
    std::fs::create_dir_all(dir).map_err(|error| LmError::io(dir, error))?;
    let path = dir.join("model.safetensors");
    if precision == Precision::F16 {
        check_f16(&path, tensors)?;
    }
    let (dtype, name) = match precision {
        Precision::F32 => (Dtype::F32, "float32"),
        Precision::F16 => (Dtype::F16, "float16"),
    };
    let bytes: BTreeMap<&String, (Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(key, stored)| {
            let bytes = match precision {
                Precision::F32 => stored.values.iter().flat_map(|value| value.to_le_bytes()).collect(),
                Precision::F16 => {
                    stored.values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect()
                }
            };
            (key, (stored.shape.clone(), bytes))
        })
        .collect();
    let views = bytes
        .iter()
        .map(|(key, (shape, bytes))| Ok((key.as_str(), TensorView::new(dtype, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|error| LmError::file(&path, error.to_string(), "tensors that can be stored"))?;
    let about = [("format".to_owned(), "pt".to_owned())].into();
    serialize_to_file(views, Some(about), &path)
        .map_err(|error| LmError::file(&path, error.to_string(), "a file that can be written"))?;
    write_json(&dir.join("config.json"), &config_json(config, architecture, tokenizer, name))?;
    tokenizer.save(&dir.join("tokenizer.json"))?;
    write_json(
        &dir.join("tokenizer_config.json"),
        &json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": END_TOKEN,
            "eos_token": END_TOKEN,
            "pad_token": PAD_TOKEN,
            "model_max_length": config.n_positions,
        }),
    )
}

/// Refuses weights that f16 would turn into infinities.
fn check_f16(path: &Path, tensors: &BTreeMap<String, Values>) -> Result<(), LmError> {
    let limit = f16::MAX.to_f32();
    for (tensor, stored) in tensors {
        if let Some(value) = stored.values.iter().find(|value| value.abs() > limit) {
            return Err(LmError::Tensor {
                path: path.to_owned(),
                tensor: tensor.clone(),
                found: value.to_string(),
                expected: format!("at most {limit} in size, to be stored as f16"),
            });
        }
    }
    Ok(())
}

fn config_json(config: &Gpt2Config, architecture: &str, tokenizer: &Tokenizer, dtype: &str) -> Value {
    json!({
        "architectures": [architecture],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "vocab_size": config.vocab_size,
        "n_positions": config.n_positions,
        "n_embd": config.n_embd,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_inner": null,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "initializer_range": 0.02,
        "scale_attn_weights": true,
        "tie_word_embeddings": true,
        "bos_token_id": tokenizer.end(),
        "eos_token_id": tokenizer.end(),
        "pad_token_id": tokenizer.pad(),
        "num_labels": 1,
        "torch_dtype": dtype,
    })
}

fn write_json(path: &Path, value: &Value) -> Result<(), LmError> {
    std::fs::write(path, format!("{value:#}\n")).map_err(|error| LmError::io(path, error))
}

/// Reads `config.json` and refuses what this architecture does not compute.
///
/// # Errors
/// If the file is missing, damaged, or of another architecture.
pub fn read_config(path: &Path) -> Result<Gpt2Config, LmError> {
    let text = std::fs::read_to_string(path).map_err(|error| LmError::io(path, error))?;
    let value: Value =
        serde_json::from_str(&text).map_err(|error| LmError::file(path, error.to_string(), "JSON"))?;
    let fixed = [
        ("model_type", json!("gpt2")),
        ("activation_function", json!("gelu_new")),
        ("scale_attn_weights", json!(true)),
        ("scale_attn_by_inverse_layer_idx", json!(false)),
        ("reorder_and_upcast_attn", json!(false)),
        ("tie_word_embeddings", json!(true)),
    ];
    for (key, expected) in fixed {
        if let Some(found) = value.get(key).filter(|found| **found != expected) {
            return Err(LmError::file(path, format!("{key} = {found}"), expected.to_string()));
        }
    }
    let width = value.get("n_embd").and_then(Value::as_u64);
    if let Some(inner) =
        value.get("n_inner").and_then(Value::as_u64).filter(|inner| Some(*inner) != width.map(|d| 4 * d))
    {
        return Err(LmError::file(path, format!("n_inner = {inner}"), "4 * n_embd"));
    }
    let config: Gpt2Config = serde_json::from_value(value)
        .map_err(|error| LmError::file(path, error.to_string(), "the keys of a GPT-2 config.json"))?;
    config.check()?;
    Ok(config)
}

/// Replaces every parameter of `module` by the tensor of its name, with or without `prefix`.
fn load<M: Module>(path: &Path, module: M, prefix: &str) -> Result<M, LmError> {
    let size = std::fs::metadata(path).map_err(|error| LmError::io(path, error))?.len();
    if size > MAX_FILE_BYTES {
        return Err(LmError::file(path, format!("{size} bytes"), format!("at most {MAX_FILE_BYTES}")));
    }
    let bytes = std::fs::read(path).map_err(|error| LmError::io(path, error))?;
    if bytes.starts_with(b"version https://git-lfs") {
        let found = "a pointer of Git LFS in the place of the file";
        return Err(LmError::file(path, found, "the weights themselves: `git lfs pull` in that folder"));
    }
    let tensors = SafeTensors::deserialize(&bytes)
        .map_err(|error| LmError::file(path, error.to_string(), "a safetensors file"))?;
    let read = |name: &str, shape: &[usize]| read(path, &tensors, (prefix, name), shape);
    parameters::replace(module, read)
}

/// The values of the tensor of a name, with or without the prefix, which must have this shape.
fn read(
    path: &Path,
    tensors: &SafeTensors<'_>,
    (prefix, name): (&str, &str),
    shape: &[usize],
) -> Result<Vec<f32>, LmError> {
    let wrong = |found: String, expected: String| LmError::Tensor {
        path: path.to_owned(),
        tensor: format!("{prefix}{name}"),
        found,
        expected,
    };
    let view = tensors
        .tensor(&format!("{prefix}{name}"))
        .or_else(|_| tensors.tensor(name))
        .map_err(|_| wrong("no such tensor".to_owned(), format!("shape {shape:?}")))?;
    if view.shape() != shape {
        return Err(wrong(format!("shape {:?}", view.shape()), format!("shape {shape:?}")));
    }
    let data = view.data();
    let values: Vec<f32> = match view.dtype() {
        Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::F16 => data.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        Dtype::BF16 => {
            data.chunks_exact(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
        }
        other => return Err(wrong(format!("type {other:?}"), "F32, F16 or BF16".to_owned())),
    };
    // A model with one such weight trains and samples without a word, and all that it says is NaN.
    match values.iter().filter(|value| !value.is_finite()).count() {
        0 => Ok(values),
        count => Err(wrong(format!("{count} values that are not finite"), "finite weights".to_owned())),
    }
}
