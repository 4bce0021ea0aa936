//! What can go wrong when records are read, written or drawn.

use std::path::PathBuf;

/// An error of this crate; each message names the place and what was found there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be opened, read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The header line lacks a column.
    #[error("{path}, line 1: no column `{column}`; the columns found are: {found}", path = path.display())]
    MissingColumn {
        /// The file.
        path: PathBuf,
        /// The column expected.
        column: String,
        /// The columns found, separated by commas.
        found: String,
    },
    /// A method cannot have this name.
    #[error("method `{0}`: a name of letters, digits, `_` and `-` is expected, a letter or digit first")]
    BadMethod(String),
    /// A field does not hold what its column requires.
    #[error("{path}, line {line}, column `{column}`: found `{found}`, but {expected}", path = path.display())]
    BadValue {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1 with the header.
        line: u64,
        /// The column's name.
        column: String,
        /// The text of the field.
        found: String,
        /// What the column requires.
        expected: String,
    },
    /// A line is not a CSV record of the header's width.
    #[error("{path}, line {line}: {reason}", path = path.display())]
    BadLine {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1 with the header.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The scores of the reference samples cannot be used.
    #[error("reference samples, prompt {prompt}: {reason}")]
    BadSamples {
        /// The prompt's index, from 0.
        prompt: usize,
        /// What is wrong with its scores.
        reason: String,
    },
    /// A run recorded another number of prompts than there are evaluation prompts.
    #[error(
        "run {run}, prompts.csv, step {step}: {found} prompts, but the reference samples have {expected}"
    )]
    PromptCount {
        /// The run.
        run: String,
        /// The step of the evaluation.
        step: u64,
        /// The prompts recorded.
        found: usize,
        /// The prompts of the reference samples.
        expected: usize,
    },
    /// A bootstrap without replicates gives no interval.
    #[error("0 resamples were asked for, at least 1 is needed")]
    NoResamples,
    /// The embedded points of the paper are damaged.
    #[error("data/{file}: {reason}")]
    BadPaper {
        /// The file.
        file: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A comparison is there twice.
    #[error("judgements: {0} is there twice")]
    Repeated(String),
    /// A figure could not be drawn.
    #[error("figure: {0}")]
    Figure(String),
}
