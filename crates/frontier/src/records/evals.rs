//! The records of evaluations: `evals.csv` of a run and `frontier.csv` of all runs.
//!
//! Nothing here depends on the clock: the same study gives the same bytes. Seconds stand in `metrics.csv`.
//!
//! NaN is written `NaN`, floats in the shortest form that reads back to the same bits. Columns may stand in
//! any order and unknown columns are ignored, so that a later version may add some.

use std::fs::File;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::csv_file::{append, create, read, write_error, write_rows};
use crate::{Error, Method};

/// One evaluation of one checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalRow {
    /// The method that trained the checkpoint.
    pub method: Method,
    /// The name of the swept setting, such as `beta` or `target_kl`.
    pub knob: String,
    /// The value of the knob.
    pub value: f64,
    /// The seed of the run.
    pub seed: u64,
    /// Steps of the trainer so far, an iteration of PPO each with several of its optimiser; 0
    /// is the untrained policy.
    pub step: u64,
    /// Tokens so far, as the trainer counts them: those trained on, and for PPO every pass of
    /// a token through a model.
    pub tokens: u64,
    /// Mean true reward r* of the responses, in [0, 1].
    pub score: f64,
    /// Standard error of `score`.
    pub score_se: f64,
    /// Mean score of the second opinion.
    pub judge: f64,
    /// Standard error of `judge`.
    pub judge_se: f64,
    /// Exact per-step vocabulary KL(policy || reference) summed over the response, averaged, in nats.
    pub sequence_kl: f64,
    /// Standard error of `sequence_kl`.
    pub sequence_kl_se: f64,
    /// The sample estimate of the same KL, mean of ln(policy / reference), in nats.
    pub k1: f64,
    /// Standard error of `k1`.
    pub k1_se: f64,
    /// Mean response length in tokens.
    pub length: f64,
    /// Standard error of `length`.
    pub length_se: f64,
    /// Mean learned reward of the same responses, in standard deviations over reference samples; NaN
    /// where it was not measured.
    pub learned: f64,
    /// The distinct pairs of neighbouring tokens in all responses together, as a share of all such pairs
    /// (distinct-2 of Li et al. 2016); NaN where no response has two tokens.
    pub distinct_2: f64,
    /// The share of held-out pairs of the reference's own responses that the policy's implicit reward,
    /// `ln(policy / reference)` of a response, orders as r* does; NaN where it was not measured.
    #[serde(default = "not_measured")]
    pub pair_accuracy: f64,
}

fn not_measured() -> f64 {
    f64::NAN
}

impl EvalRow {
    /// The column names in the order in which they are written.
    pub const COLUMNS: [&str; 19] = [
        "method",
        "knob",
        "value",
        "seed",
        "step",
        "tokens",
        "score",
        "score_se",
        "judge",
        "judge_se",
        "sequence_kl",
        "sequence_kl_se",
        "k1",
        "k1_se",
        "length",
        "length_se",
        "learned",
        "distinct_2",
        "pair_accuracy",
    ];

    /// Whether the row is of a run whose `kl_coef` is fixed at 0.
    pub fn without_penalty(&self) -> bool {
        self.knob == FIXED_KL_COEF && self.value == 0.0
    }

    /// The columns that every record has; older ones lack `pair_accuracy`.
    const REQUIRED: &[&str] = Self::COLUMNS.split_at(18).0;
}

/// An [`EvalRow`] with the name of its run: a line of `frontier.csv`.
#[derive(Clone, Debug, PartialEq)]
pub struct FrontierRow {
    /// The name of the run (column `run`).
    pub run: String,
    /// The evaluation.
    pub eval: EvalRow,
}

/// Writes `evals.csv` one evaluation at a time and flushes each, so that an interrupted run keeps its lines.
#[derive(Debug)]
pub struct EvalWriter {
    path: PathBuf,
    csv: csv::Writer<File>,
}

impl EvalWriter {
    /// Creates or truncates `path` and writes the header.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let mut csv = create(&path)?;
        csv.write_record(EvalRow::COLUMNS)
            .and_then(|()| csv.flush().map_err(Into::into))
            .map_err(|e| write_error(&path, e))?;
        Ok(Self { path, csv })
    }

    /// Opens a file that [`EvalWriter::create`] has begun, to write on at its end.
    pub fn append(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        Ok(Self { csv: append(&path)?, path })
    }

    /// Appends one evaluation.
    pub fn write(&mut self, row: &EvalRow) -> Result<(), Error> {
        self.csv
            .serialize(row)
            .and_then(|()| self.csv.flush().map_err(Into::into))
            .map_err(|e| write_error(&self.path, e))
    }
}

/// Writes all evaluations of a run to `path`.
pub fn write_evals(path: impl AsRef<Path>, rows: &[EvalRow]) -> Result<(), Error> {
    let mut writer = EvalWriter::create(path.as_ref())?;
    rows.iter().try_for_each(|row| writer.write(row))
}

/// Reads the evaluations of a run.
pub fn read_evals(path: impl AsRef<Path>) -> Result<Vec<EvalRow>, Error> {
    read(path.as_ref(), EvalRow::REQUIRED, |fields| fields.deserialize())
}

/// Writes the evaluations of all runs to `path`, `run` as the first column.
pub fn write_frontier(path: impl AsRef<Path>, rows: &[FrontierRow]) -> Result<(), Error> {
    write_rows(path.as_ref(), frontier_columns(), rows.iter().map(|row| (&row.run, &row.eval)))
}

/// Reads the evaluations of all runs.
pub fn read_frontier(path: impl AsRef<Path>) -> Result<Vec<FrontierRow>, Error> {
    let columns: Vec<&str> = std::iter::once("run").chain(EvalRow::REQUIRED.iter().copied()).collect();
    read(path.as_ref(), &columns, |fields| {
        Ok(FrontierRow { run: fields.text("run").to_owned(), eval: fields.deserialize()? })
    })
}

fn frontier_columns() -> impl Iterator<Item = &'static str> {
    std::iter::once("run").chain(EvalRow::COLUMNS)
}

/// Whether statistics can use a row: a trained policy after step 0 with finite score and KL.
///
/// At step 0 a policy is the reference, whose mean is known better from its many samples: a maximum that took
/// in the few responses of an evaluation would start too high.
pub fn usable(row: &EvalRow) -> bool {
    row.method.is_trained() && row.step > 0 && row.score.is_finite() && row.sequence_kl.is_finite()
}

/// Whether a row is a point of its method's frontier: [`usable`], and not of a run
/// [without a penalty](EvalRow::without_penalty).
///
/// A run without a penalty shows what the penalty is for: it is drawn beside the frontier, and no
/// envelope, interval or claim on order holds it. Every other coefficient, fixed or controlled,
/// is a way to the frontier.
pub fn on_frontier(row: &EvalRow) -> bool {
    usable(row) && !row.without_penalty()
}

/// The knob of runs whose penalty is fixed.
pub const FIXED_KL_COEF: &str = "kl_coef";
