//! `config.json`, family by family.

use std::path::Path;

use serde_json::{Value, json};

use super::write::Precision;
use super::{gpt2, gptj, llama};
use crate::LmError;
use crate::architecture::DecoderConfig;
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
        (DecoderConfig::Llama(_), Head::LanguageModel) => "LlamaForCausalLM",
        (DecoderConfig::Llama(_), Head::Score) => "LlamaForSequenceClassification",
        (DecoderConfig::GptJ(_), Head::LanguageModel) => "GPTJForCausalLM",
        (DecoderConfig::GptJ(_), Head::Score) => "GPTJForSequenceClassification",
    }
}

/// The name of a parameter's tensor in a model with a head.
pub(super) fn tensor_name(config: &DecoderConfig, path: &str) -> String {
    match config {
        DecoderConfig::Gpt2(_) => format!("transformer.{path}"),
        DecoderConfig::Llama(_) | DecoderConfig::GptJ(_) => path.to_owned(),
    }
}

/// The name of a parameter's tensor in a model without a head.
pub(super) fn bare_name<'a>(config: &DecoderConfig, path: &'a str) -> &'a str {
    match config {
        DecoderConfig::Gpt2(_) => path,
        DecoderConfig::Llama(_) => path.strip_prefix("model.").unwrap_or(path),
        DecoderConfig::GptJ(_) => path.strip_prefix("transformer.").unwrap_or(path),
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
        DecoderConfig::Gpt2(config) => gpt2::json(config),
        DecoderConfig::Llama(config) => llama::json(config),
        DecoderConfig::GptJ(config) => gptj::json(config),
    };
    json["architectures"] = json!([class(config, head)]);
    json["bos_token_id"] = tokenizer.begin().into();
    json["eos_token_id"] = tokenizer.end().into();
    json["pad_token_id"] = tokenizer.pad().into();
    json["num_labels"] = 1.into();
    json["torch_dtype"] = precision.torch_name().into();
    json
}

/// Reads `config.json` and refuses what no family here computes.
///
/// # Errors
/// If the file is missing, damaged, or of another architecture, or the size is impossible.
pub fn read_config(path: &Path) -> Result<DecoderConfig, LmError> {
    let text = std::fs::read_to_string(path).map_err(|error| LmError::io(path, error))?;
    let value: Value =
        serde_json::from_str(&text).map_err(|error| LmError::file(path, error.to_string(), "JSON"))?;
    parse_config(path, value)
}

/// The same of a configuration that is at hand; `path` is where it stands, for messages.
///
/// # Errors
/// As [`read_config`].
pub fn parse_config(path: &Path, value: Value) -> Result<DecoderConfig, LmError> {
    // The oldest files of GPT-2 do not name their family.
    let family = value.get("model_type").cloned().unwrap_or_else(|| "gpt2".into());
    let config = match family.as_str() {
        Some("gpt2") => DecoderConfig::Gpt2(gpt2::read(path, value)?),
        Some("llama") => DecoderConfig::Llama(llama::read(path, value)?),
        Some("gptj") => DecoderConfig::GptJ(gptj::read(path, value)?),
        _ => {
            let expected = "\"gpt2\", \"gptj\" or \"llama\"";
            return Err(LmError::file(path, format!("model_type = {family}"), expected));
        }
    };
    config.check()?;
    Ok(config)
}
