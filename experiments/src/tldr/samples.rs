//! Responses that a report shows: `samples.jsonl`.

use std::path::Path;

use anyhow::{Context as _, Result};
use frontier::Method;
use serde::{Deserialize, Serialize};

use crate::study::folder::write_text;

pub const SAMPLES: &str = "samples.jsonl";

/// Prompts that are shown.
pub const SHOWN: usize = 6;

/// A response of a policy; what people wrote is not shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub method: Method,
    pub temperature: f64,
    pub prompt: String,
    pub response: String,
    pub score: f64,
}

pub fn write(path: &Path, samples: &[Sample]) -> Result<()> {
    let lines: Result<Vec<String>, _> = samples.iter().map(serde_json::to_string).collect();
    write_text(path, &(lines?.join("\n") + "\n"))
}

pub fn read(path: &Path) -> Result<Vec<Sample>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let line =
        |(i, line)| serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), i + 1));
    text.lines().enumerate().map(line).collect()
}
