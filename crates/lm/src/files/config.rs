//! `config.json`, family by family.

use std::path::Path;

use serde_json::{Value, json};

use super::write::Precision;
use crate::LmError;
use crate::architecture::{DecoderConfig, Gpt2Config};
use crate::problem::Config;
use crate::tokenizer::Tokenizer;

/// What a folder's model ends in.
#[derive(Clone, Copy)]
pub(super) enum Head {
    /// Next-token logits: a policy.
    LanguageModel,
    /// One number per sequence: a reward model or a value model.
    Score,
}

/// The class of transformers that reads the folder.
fn class(config: &DecoderConfig, head: Head) -> &'static str {
    match (config, head) {
        (DecoderConfig::Gpt2(_), Head::LanguageModel) => "GPT2LMHeadModel",
        (DecoderConfig::Gpt2(_), Head::Score) => "GPT2ForSequenceClassification",
    }
}

/// What transformers puts before the names of the body's tensors in a model with a head.
pub(super) fn prefix(config: &DecoderConfig) -> &'static str {
    match config {
        DecoderConfig::Gpt2(_) => "transformer.",
    }
}

/// The content of `config.json`.
pub(super) fn config_json(
    config: &DecoderConfig,
    head: Head,
    tokenizer: &Tokenizer,
    precision: Precision,
) -> Value {
    let mut json = match config {
        DecoderConfig::Gpt2(config) => gpt2_json(config),
    };
    json["architectures"] = json!([class(config, head)]);
    json["bos_token_id"] = tokenizer.end().into();
    json["eos_token_id"] = tokenizer.end().into();
    json["pad_token_id"] = tokenizer.pad().into();
    json["num_labels"] = 1.into();
    json["torch_dtype"] = precision.torch_name().into();
    json
}

fn gpt2_json(config: &Gpt2Config) -> Value {
    json!({
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
    })
}

/// Reads `config.json` and refuses what no family here computes.
///
/// # Errors
/// If the file is missing, damaged, or of another architecture, or the size is impossible.
pub fn read_config(path: &Path) -> Result<DecoderConfig, LmError> {
    let text = std::fs::read_to_string(path).map_err(|error| LmError::io(path, error))?;
    let value: Value =
        serde_json::from_str(&text).map_err(|error| LmError::file(path, error.to_string(), "JSON"))?;
    // The oldest files of GPT-2 do not name their family.
    let family = value.get("model_type").cloned().unwrap_or_else(|| "gpt2".into());
    let config = match family.as_str() {
        Some("gpt2") => DecoderConfig::Gpt2(read_gpt2(path, value)?),
        _ => return Err(LmError::file(path, format!("model_type = {family}"), "\"gpt2\"")),
    };
    config.check()?;
    Ok(config)
}

fn read_gpt2(path: &Path, value: Value) -> Result<Gpt2Config, LmError> {
    let fixed = [
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
    let inner = value.get("n_inner").and_then(Value::as_u64);
    let config: Gpt2Config = serde_json::from_value(value)
        .map_err(|error| LmError::file(path, error.to_string(), "the keys of a GPT-2 config.json"))?;
    if let Some(inner) = inner.filter(|&inner| inner != 4 * config.n_embd as u64) {
        return Err(LmError::file(path, format!("n_inner = {inner}"), "4 * n_embd"));
    }
    Ok(config)
}
