//! Settings in TOML: reading a file with `--set key=value` overrides on top, and naming everything that is wrong at once.

use std::path::Path;

use anyhow::{Context, Result};
use lm::Problem;
use serde::de::DeserializeOwned;

use crate::exit::BadInput;

/// Refuses a preset with all its problems at once.
pub fn refuse(name: &str, problems: &[Problem]) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
    Err(BadInput(format!("preset {name}: {} impossible value(s):{}", lines.len(), lines.concat())).into())
}

/// Reads a TOML file; see [`read_text`].
pub fn read_file<T: DeserializeOwned>(path: &Path, template: &str, overrides: &[String]) -> Result<T> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| BadInput(format!("preset {}: {error}", path.display())))?;
    read_text(&path.display().to_string(), &text, template, overrides)
}

/// Parses TOML text, with `key.path=value` overrides on top. Every unknown key, missing key and wrong type is reported
/// at once: `template`, a text that is known to be right, stands in for what is wrong, so that reading can go on.
pub fn read_text<T: DeserializeOwned>(
    name: &str,
    text: &str,
    template: &str,
    overrides: &[String],
) -> Result<T> {
    let parse = |text: &str| -> Result<toml::Table> {
        Ok(text.parse().map_err(|error| BadInput(format!("preset {name}: {error}")))?)
    };
    let mut table = parse(text)?;
    for entry in overrides {
        set(&mut table, entry).map_err(|error| BadInput(format!("--set {entry}: {error}")))?;
    }
    let template = parse(template)?;
    let mut problems = Vec::new();
    loop {
        match serde_path_to_error::deserialize::<_, T>(table.clone()) {
            Ok(value) if problems.is_empty() => return Ok(value),
            Ok(_) => break,
            Err(error) => {
                let path = error.path().to_string();
                let message = error.inner().message().to_owned();
                let repaired = repair(&mut table, &template, &path, &message);
                problems.push(format!("\n  {path}: {message}"));
                if !repaired {
                    break;
                }
            }
        }
    }
    Err(BadInput(format!("preset {name}: {} problem(s):{}", problems.len(), problems.concat())).into())
}

/// Replaces what a message complains of by the template's, or drops it; returns whether anything changed.
fn repair(table: &mut toml::Table, template: &toml::Table, path: &str, message: &str) -> bool {
    let named = |prefix: &str| message.strip_prefix(prefix).and_then(|rest| rest.split('`').next());
    let mut keys: Vec<&str> = path.split('.').filter(|key| !key.is_empty()).collect();
    let unknown = named("unknown field `");
    if let Some(key) = unknown.or_else(|| named("missing field `"))
        && keys.last() != Some(&key)
    {
        keys.push(key);
    }
    let Some(last) = keys.pop() else { return false };
    let (mut place, mut right) = (table, Some(template));
    for key in keys {
        right = right.and_then(|right| right.get(key)).and_then(toml::Value::as_table);
        let Some(inner) = place.get_mut(key).and_then(toml::Value::as_table_mut) else { return false };
        place = inner;
    }
    let replacement = right.and_then(|right| right.get(last)).cloned();
    match replacement {
        Some(value) if unknown.is_none() && place.get(last) != Some(&value) => {
            place.insert(last.to_owned(), value);
            true
        }
        _ => place.remove(last).is_some(),
    }
}

/// Sets one `key.path=value`; the value is TOML, or a bare string.
fn set(table: &mut toml::Table, entry: &str) -> Result<()> {
    let (path, text) = entry.split_once('=').context("expected KEY=VALUE")?;
    let value = format!("value = {text}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut parsed| parsed.remove("value"))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()));
    let mut keys: Vec<&str> = path.trim().split('.').collect();
    let last = keys.pop().filter(|key| !key.is_empty()).context("expected a key before =")?;
    let mut place = table;
    for key in keys {
        place = place
            .get_mut(key)
            .and_then(toml::Value::as_table_mut)
            .with_context(|| format!("the preset has no section `{key}`"))?;
    }
    anyhow::ensure!(place.contains_key(last), "the preset has no key `{path}`");
    place.insert(last.to_owned(), value);
    Ok(())
}
