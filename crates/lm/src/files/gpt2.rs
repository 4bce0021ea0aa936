//! The `config.json` of a GPT-2.

use std::path::Path;

use serde_json::{Value, json};

use super::keys::refuse_others;
use crate::LmError;
use crate::architecture::Gpt2Config;

/// The keys of the file.
pub(super) fn json(config: &Gpt2Config) -> Value {
    json!({
        "model_type": "gpt2",
        "activation_function": config.activation_function,
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

/// Reads the file's content and refuses what is not computed here.
///
/// # Errors
/// [`LmError::File`] for the first key that is missing, damaged or refused.
pub(super) fn read(path: &Path, value: Value) -> Result<Gpt2Config, LmError> {
    let fixed = [
        ("scale_attn_weights", json!(true)),
        ("scale_attn_by_inverse_layer_idx", json!(false)),
        ("reorder_and_upcast_attn", json!(false)),
        ("tie_word_embeddings", json!(true)),
    ];
    refuse_others(path, &value, &fixed)?;
    let known = [json!("gelu_new"), json!("gelu")];
    if let Some(found) = value.get("activation_function").filter(|found| !known.contains(found)) {
        let found = format!("activation_function = {found}");
        return Err(LmError::file(path, found, "\"gelu_new\" or \"gelu\""));
    }
    let inner = value.get("n_inner").and_then(Value::as_u64);
    let config: Gpt2Config = serde_json::from_value(value)
        .map_err(|error| LmError::file(path, error.to_string(), "the keys of a GPT-2 config.json"))?;
    if let Some(inner) = inner.filter(|&inner| inner != (config.n_embd as u64).saturating_mul(4)) {
        return Err(LmError::file(path, format!("n_inner = {inner}"), "4 * n_embd"));
    }
    Ok(config)
}
