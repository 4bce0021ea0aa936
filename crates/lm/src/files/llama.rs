//! The `config.json` of a Llama.

use std::path::Path;

use serde_json::{Value, json};

use super::keys::refuse_others;
use crate::LmError;
use crate::architecture::LlamaConfig;

/// The keys of the file.
pub(super) fn json(config: &LlamaConfig) -> Value {
    json!({
        "model_type": "llama",
        "hidden_act": "silu",
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_position_embeddings,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta,
        "rope_scaling": null,
        "attention_bias": false,
        "mlp_bias": false,
        "attention_dropout": 0.0,
        "initializer_range": config.initializer_range,
        "tie_word_embeddings": config.tie_word_embeddings,
        "use_cache": true,
    })
}

/// Reads the file's content and refuses what is not computed here. A key that files may lack has the value
/// that transformers gives it then.
///
/// # Errors
/// [`LmError::File`] for the first key that is missing, damaged or refused.
pub(super) fn read(path: &Path, mut config: Value) -> Result<LlamaConfig, LmError> {
    let fixed = [
        ("hidden_act", json!("silu")),
        ("attention_bias", json!(false)),
        ("mlp_bias", json!(false)),
        ("rope_scaling", Value::Null),
        ("rope_interleaved", json!(false)),
        ("partial_rotary_factor", json!(1.0)),
        ("quantization_config", Value::Null),
    ];
    refuse_others(path, &config, &fixed)?;
    let rope_theta = rope_theta(path, &config)?;
    let heads = config.get("num_attention_heads").and_then(Value::as_u64);
    let width = config.get("hidden_size").and_then(Value::as_u64);
    let shared = heads.zip(width).and_then(|(heads, width)| width.checked_div(heads));
    if config.get("head_dim").is_none_or(Value::is_null)
        && let Some((heads, width)) = heads.zip(width)
        && !width.is_multiple_of(heads)
    {
        let expected = format!("a multiple of num_attention_heads = {heads}, or a head_dim");
        return Err(LmError::file(path, format!("hidden_size = {width}"), expected));
    }
    let defaults = [
        ("num_key_value_heads", json!(heads)),
        ("head_dim", json!(shared)),
        ("rms_norm_eps", json!(1e-6)),
        ("initializer_range", json!(0.02)),
        ("tie_word_embeddings", json!(false)),
        ("max_position_embeddings", json!(2048)),
    ];
    for (key, default) in defaults {
        if config.get(key).is_none_or(Value::is_null) {
            config[key] = default;
        }
    }
    config["rope_theta"] = rope_theta;
    serde_json::from_value(config)
        .map_err(|error| LmError::file(path, error.to_string(), "the keys of a Llama config.json"))
}

/// The base of the rotary frequencies, which newer files have in `rope_parameters`.
fn rope_theta(path: &Path, config: &Value) -> Result<Value, LmError> {
    let there = |value: &Value, key: &str| value.get(key).filter(|found| !found.is_null()).cloned();
    let plain = there(config, "rope_theta");
    let Some(parameters) = there(config, "rope_parameters") else {
        return Ok(plain.unwrap_or(json!(10_000.0)));
    };
    let fixed = [("rope_type", json!("default")), ("partial_rotary_factor", json!(1.0))];
    refuse_others(path, &parameters, &fixed)?;
    let inner = there(&parameters, "rope_theta");
    match (plain, inner) {
        (Some(plain), Some(inner)) if plain.as_f64() != inner.as_f64() => {
            let found = format!("rope_theta = {plain}");
            Err(LmError::file(path, found, format!("{inner}, as rope_parameters has it")))
        }
        (plain, inner) => Ok(inner.or(plain).unwrap_or(json!(10_000.0))),
    }
}
