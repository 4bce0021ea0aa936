//! The tokenizer of a folder with its special tokens and its chat template.
//!
//! The tokens stand in up to four files, which disagree now and then. The first that names one counts:
//! `tokenizer_config.json`, then `special_tokens_map.json`, both by text, then `generation_config.json`, then
//! `config.json`, both by id; of a list of end ids the first. Where none names one, the rule of
//! [`Tokenizer::load_with`] holds.

use std::io::ErrorKind;
use std::path::Path;

use serde_json::Value;

use super::layout::{CONFIG_FILE, GENERATION_FILE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE};
use crate::LmError;
use crate::tokenizer::{Named, SpecialTokens, Tokenizer};

/// Larger files beside a tokenizer are not read.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// Reads the `tokenizer.json` of a folder with the special tokens and the chat template that
/// the files beside it name.
///
/// # Errors
/// If a file is damaged, or names a token that the vocabulary lacks.
pub fn load_tokenizer(dir: &Path) -> Result<Tokenizer, LmError> {
    let files = [TOKENIZER_CONFIG_FILE, "special_tokens_map.json", GENERATION_FILE, CONFIG_FILE];
    let mut special = SpecialTokens::default();
    for name in files {
        let path = dir.join(name);
        let Some(content) = read_json(&path)? else { continue };
        let named = |text: &str, id: &str| {
            let token = content.get(text).and_then(by_text).or_else(|| content.get(id).and_then(by_id))?;
            Some((token, path.clone()))
        };
        special.begin = special.begin.or_else(|| named("bos_token", "bos_token_id"));
        special.end = special.end.or_else(|| named("eos_token", "eos_token_id"));
        special.pad = special.pad.or_else(|| named("pad_token", "pad_token_id"));
    }
    let tokenizer = Tokenizer::load_with(&dir.join(TOKENIZER_FILE), &special)?;
    Ok(tokenizer.with_chat_template(chat_template(dir)?))
}

/// A token by its text, or by an object that has the text.
fn by_text(value: &Value) -> Option<Named> {
    let text = value.as_str().or_else(|| value.get("content").and_then(Value::as_str));
    text.map(|text| Named::Text(text.to_owned()))
}

/// A token by its id, or by the first of several. Some files say -1 for none.
fn by_id(value: &Value) -> Option<Named> {
    let first = value.as_array().map_or(Some(value), |ids| ids.first())?;
    first.as_u64().and_then(|id| u32::try_from(id).ok()).map(Named::Id)
}

/// The chat template: a file of its own, or a key of `tokenizer_config.json`, of several the one named
/// `default`.
fn chat_template(dir: &Path) -> Result<Option<String>, LmError> {
    if let Some(text) = read_text(&dir.join("chat_template.jinja"))? {
        return Ok(Some(text));
    }
    let config = read_json(&dir.join(TOKENIZER_CONFIG_FILE))?;
    let template = config.as_ref().and_then(|config| config.get("chat_template"));
    let default = |several: &Vec<Value>| -> Option<String> {
        let named = several.iter().find(|one| one.get("name").is_some_and(|name| name == "default"))?;
        named.get("template")?.as_str().map(str::to_owned)
    };
    Ok(template.and_then(|template| match template {
        Value::String(text) => Some(text.clone()),
        Value::Array(several) => default(several),
        _ => None,
    }))
}

/// The content of a file, if there is one.
fn read_text(path: &Path) -> Result<Option<String>, LmError> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LmError::io(path, error)),
        Ok(about) if about.len() > MAX_FILE_BYTES => {
            let found = format!("{} bytes", about.len());
            return Err(LmError::file(path, found, format!("at most {MAX_FILE_BYTES}")));
        }
        Ok(_) => {}
    }
    std::fs::read_to_string(path).map(Some).map_err(|error| LmError::io(path, error))
}

fn read_json(path: &Path) -> Result<Option<Value>, LmError> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|error| LmError::file(path, error.to_string(), "JSON"))
}
