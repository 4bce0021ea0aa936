//! Keys of a `config.json` that have one value here.

use std::path::Path;

use serde_json::Value;

use crate::LmError;

/// Refuses keys that are there with another value than the one that is computed here.
///
/// # Errors
/// [`LmError::File`] for the first such key.
pub(super) fn refuse_others(path: &Path, config: &Value, fixed: &[(&str, Value)]) -> Result<(), LmError> {
    for (key, expected) in fixed {
        if let Some(found) = config.get(key).filter(|found| *found != expected) {
            return Err(LmError::file(path, format!("{key} = {found}"), expected.to_string()));
        }
    }
    Ok(())
}
