//! Scores of the reference's samples: where the ceilings come from.

use std::path::Path;

use super::csv_file::{create, read, write_error};
use crate::Error;

const COLUMNS: [&str; 3] = ["prompt", "sample", "score"];

/// The true scores of the reference model's samples: one list per evaluation prompt.
///
/// Guaranteed: at least one prompt, at least two scores for each, every score finite.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptSamples(Vec<Vec<f64>>);

impl PromptSamples {
    /// Takes `scores[prompt][sample]`.
    ///
    /// # Errors
    /// [`Error::BadSamples`] if there is no prompt, a prompt with fewer than two scores or a score that is
    /// not finite.
    pub fn new(scores: Vec<Vec<f64>>) -> Result<Self, Error> {
        let bad = |prompt, reason| Err(Error::BadSamples { prompt, reason });
        if scores.is_empty() {
            return bad(0, "no prompt was given, at least one is needed".into());
        }
        for (prompt, scores) in scores.iter().enumerate() {
            if scores.len() < 2 {
                return bad(prompt, format!("{} scores, at least 2 are needed", scores.len()));
            }
            if let Some(score) = scores.iter().find(|score| !score.is_finite()) {
                return bad(prompt, format!("a score is {score}, a finite number is needed"));
            }
        }
        Ok(Self(scores))
    }

    /// The scores of each prompt.
    pub fn prompts(&self) -> &[Vec<f64>] {
        &self.0
    }

    /// The number of samples that every prompt has.
    pub fn samples_per_prompt(&self) -> usize {
        self.0.iter().map(Vec::len).min().unwrap_or_default()
    }
}

/// Reads `reference_scores.csv`, a line per sample.
///
/// # Errors
/// Besides unreadable lines, those of [`PromptSamples::new`].
pub fn read_reference_scores(path: impl AsRef<Path>) -> Result<PromptSamples, Error> {
    let path = path.as_ref();
    let lines =
        read(path, &COLUMNS, |fields| Ok((fields.line(), fields.count("prompt")?, fields.number("score")?)))?;
    // The prompts of a table have the numbers 0, 1, 2, ..., so a larger number than there are
    // lines is not one of them.
    let count = lines.iter().map(|(_, prompt, _)| prompt.saturating_add(1)).max().unwrap_or(0);
    if let Some((line, prompt, _)) = lines.iter().find(|(_, prompt, _)| *prompt >= lines.len() as u64) {
        let reason = format!("prompt {prompt} in a table of {} samples", lines.len());
        return Err(Error::BadLine { path: path.into(), line: *line, reason });
    }
    let mut scores: Vec<Vec<f64>> = vec![Vec::new(); count as usize];
    for (_, prompt, score) in lines {
        scores[prompt as usize].push(score);
    }
    PromptSamples::new(scores)
}

/// Writes `reference_scores.csv`: [`read_reference_scores`] gives the samples back.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn write_reference_scores(path: impl AsRef<Path>, samples: &PromptSamples) -> Result<(), Error> {
    let path = path.as_ref();
    let failed = |error| write_error(path, error);
    let mut csv = create(path)?;
    csv.write_record(COLUMNS).map_err(failed)?;
    for (prompt, scores) in samples.prompts().iter().enumerate() {
        for (sample, score) in scores.iter().enumerate() {
            csv.write_record([prompt.to_string(), sample.to_string(), score.to_string()]).map_err(failed)?;
        }
    }
    csv.flush().map_err(|source| Error::Io { path: path.into(), source })
}
