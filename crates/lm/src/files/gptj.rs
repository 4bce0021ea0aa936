//! The `config.json` of a GPT-J.

use std::path::Path;

use serde_json::{Value, json};

use super::keys::refuse_others;
use crate::LmError;
use crate::architecture::GptJConfig;

/// The keys of the file.
pub(super) fn json(config: &GptJConfig) -> Value {
    json!({
        "model_type": "gptj",
        "activation_function": "gelu_new",
        "vocab_size": config.vocab_size,
        "n_positions": config.n_positions,
        "n_embd": config.n_embd,
        "n_layer": config.n_layer,
        "n_head": config.n_head,
        "n_inner": (config.n_inner != 4 * config.n_embd).then_some(config.n_inner),
        "rotary_dim": config.rotary_dim,
        "layer_norm_epsilon": config.layer_norm_epsilon,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "initializer_range": config.initializer_range,
        "tie_word_embeddings": false,
        "use_cache": true,
    })
}

/// Reads the file's content and refuses what is not computed here. A key that files may lack has the value
/// that transformers gives it then.
///
/// # Errors
/// [`LmError::File`] for the first key that is missing, damaged or refused.
pub(super) fn read(path: &Path, mut config: Value) -> Result<GptJConfig, LmError> {
    let fixed = [
        ("activation_function", json!("gelu_new")),
        ("rotary", json!(true)),
        ("scale_attn_weights", json!(true)),
        ("tie_word_embeddings", json!(false)),
        ("quantization_config", Value::Null),
    ];
    refuse_others(path, &config, &fixed)?;
    // transformers takes this for a rotation of the whole width, which no head has.
    if config.get("rotary_dim").is_some_and(Value::is_null) {
        return Err(LmError::file(path, "rotary_dim = null", "a number of columns of a head"));
    }
    let inner = config.get("n_embd").and_then(Value::as_u64).map(|width| width.saturating_mul(4));
    let defaults = [
        ("n_inner", json!(inner)),
        ("rotary_dim", json!(64)),
        ("layer_norm_epsilon", json!(1e-5)),
        ("initializer_range", json!(0.02)),
    ];
    for (key, default) in defaults {
        if config.get(key).is_none_or(Value::is_null) {
            config[key] = default;
        }
    }
    serde_json::from_value(config)
        .map_err(|error| LmError::file(path, error.to_string(), "the keys of a GPT-J config.json"))
}
