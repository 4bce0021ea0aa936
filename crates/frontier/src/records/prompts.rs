//! The records of single prompts: `prompts.csv` of a run.
//!
//! Every policy answers the same evaluation prompts with the same random numbers. With the score
//! and the KL of each prompt at hand, prompts can be resampled jointly for all policies, which is
//! what pairs their errors.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use super::csv_file::{append, create, read, write_error};
use crate::Error;

/// One prompt in one evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PromptScore {
    /// True reward r* of the response.
    pub score: f64,
    /// KL(policy || reference) along the response, in nats.
    pub sequence_kl: f64,
}

/// The prompts of each evaluated step, in the order of the evaluation prompts.
pub type PromptScores = BTreeMap<u64, Vec<PromptScore>>;

const COLUMNS: [&str; 4] = ["step", "prompt", "score", "sequence_kl"];

/// Writes `prompts.csv` one evaluation at a time and flushes each, so that an interrupted run keeps its
/// lines.
///
/// Numbers are rounded to 4 decimals: resampling needs how prompts differ, the means stand in `evals.csv`.
#[derive(Debug)]
pub struct PromptWriter {
    path: PathBuf,
    csv: csv::Writer<File>,
}

impl PromptWriter {
    /// Creates or truncates `path` and writes the header `step,prompt,score,sequence_kl`.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let mut csv = create(&path)?;
        csv.write_record(COLUMNS)
            .and_then(|()| csv.flush().map_err(Into::into))
            .map_err(|e| write_error(&path, e))?;
        Ok(Self { path, csv })
    }

    /// Opens a file that [`PromptWriter::create`] has begun, to write on at its end.
    pub fn append(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        Ok(Self { csv: append(&path)?, path })
    }

    /// Appends the prompts of one evaluation, numbered from 0.
    pub fn write(&mut self, step: u64, prompts: impl IntoIterator<Item = PromptScore>) -> Result<(), Error> {
        for (index, prompt) in prompts.into_iter().enumerate() {
            let fields =
                [step.to_string(), index.to_string(), rounded(prompt.score), rounded(prompt.sequence_kl)];
            self.csv.write_record(fields).map_err(|e| write_error(&self.path, e))?;
        }
        self.csv.flush().map_err(|source| Error::Io { path: self.path.clone(), source })
    }
}

/// Four decimals without trailing zeros; no negative zero.
pub(super) fn rounded(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Reads `prompts.csv`.
///
/// # Errors
/// Besides unreadable lines, [`Error::BadLine`] if the prompts of a step are not numbered 0, 1, 2, ... or a
/// step has fewer or more of them than the step before.
pub fn read_prompts(path: impl AsRef<Path>) -> Result<PromptScores, Error> {
    let path = path.as_ref();
    let lines = read(path, &COLUMNS, |fields| {
        let score =
            PromptScore { score: fields.number("score")?, sequence_kl: fields.number("sequence_kl")? };
        Ok((fields.count("step")?, fields.count("prompt")?, score))
    })?;
    let mut steps = PromptScores::new();
    for (index, (step, prompt, score)) in lines.into_iter().enumerate() {
        let scores: &mut Vec<PromptScore> = steps.entry(step).or_default();
        if prompt != scores.len() as u64 {
            let reason = format!("step {step}: prompt {prompt}, expected prompt {}", scores.len());
            // The header is line 1.
            return Err(Error::BadLine { path: path.into(), line: index as u64 + 2, reason });
        }
        scores.push(score);
    }
    let first = steps.values().next().map_or(0, Vec::len);
    if let Some((step, scores)) = steps.iter().find(|(_, scores)| scores.len() != first) {
        let reason = format!("step {step} has {} prompts, the first step {first}", scores.len());
        return Err(Error::BadLine { path: path.into(), line: 1, reason });
    }
    Ok(steps)
}
