//! The records of evaluations: `evals.csv` of a run and `frontier.csv` of all runs.
//!
//! Nothing here depends on the clock: the same study gives the same bytes. Seconds stand in `metrics.csv`.
//!
//! NaN is written `NaN`, floats in the shortest form that reads back to the same bits. Columns may stand in
//! any order and unknown columns are ignored, so that a later version may add some.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use csv::{ErrorKind, StringRecord};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

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
    /// Steps of the trainer so far, an iteration of PPO each with several of its optimiser; 0 is the untrained policy.
    pub step: u64,
    /// Tokens so far, as the trainer counts them: those trained on, and for PPO every pass of a token through a model.
    pub tokens: u64,
    /// Mean true reward r* of the responses, in [0, 1].
    pub score: f64,
    /// Standard error of `score`.
    pub score_se: f64,
    /// Mean score of the second judge.
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
    /// Mean learned reward of the same responses, in standard deviations over reference samples; NaN where it was
    /// not measured.
    pub learned: f64,
    /// The distinct pairs of neighbouring tokens in all responses together, as a share of all such pairs (distinct-2
    /// of Li et al. 2016); NaN where it was not measured.
    pub distinct_2: f64,
}

impl EvalRow {
    /// The column names in the order in which they are written.
    pub const COLUMNS: [&str; 18] = [
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
    ];
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
    read(path.as_ref(), &EvalRow::COLUMNS, |fields| fields.deserialize())
}

/// Writes the evaluations of all runs to `path`, `run` as the first column.
pub fn write_frontier(path: impl AsRef<Path>, rows: &[FrontierRow]) -> Result<(), Error> {
    let path = path.as_ref();
    let mut csv = create(path)?;
    csv.write_record(frontier_columns()).map_err(|e| write_error(path, e))?;
    for row in rows {
        csv.serialize((&row.run, &row.eval)).map_err(|e| write_error(path, e))?;
    }
    csv.flush().map_err(|source| Error::Io { path: path.into(), source })
}

/// Reads the evaluations of all runs.
pub fn read_frontier(path: impl AsRef<Path>) -> Result<Vec<FrontierRow>, Error> {
    let columns: Vec<&str> = frontier_columns().collect();
    read(path.as_ref(), &columns, |fields| {
        Ok(FrontierRow { run: fields.text("run").to_owned(), eval: fields.deserialize()? })
    })
}

fn frontier_columns() -> impl Iterator<Item = &'static str> {
    std::iter::once("run").chain(EvalRow::COLUMNS)
}

pub(crate) fn create(path: &Path) -> Result<csv::Writer<File>, Error> {
    let file = File::create(path).map_err(|source| Error::Io { path: path.into(), source })?;
    // The header is written by hand: the csv crate cannot derive one for a name beside a struct.
    Ok(csv::WriterBuilder::new().has_headers(false).from_writer(file))
}

pub(crate) fn read<T>(
    path: &Path,
    columns: &[&str],
    parse: impl Fn(Fields<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let (mut reader, header) = open(path)?;
    if let Some(column) = columns.iter().find(|column| header.iter().all(|name| name != **column)) {
        let found = header.iter().collect::<Vec<_>>().join(", ");
        return Err(Error::MissingColumn { path: path.into(), column: (*column).into(), found });
    }
    reader
        .records()
        .map(|record| {
            let record = record.map_err(|e| read_error(path, e))?;
            parse(Fields { path, header: &header, record: &record })
        })
        .collect()
}

fn open(path: &Path) -> Result<(csv::Reader<File>, StringRecord), Error> {
    let file = File::open(path).map_err(|source| Error::Io { path: path.into(), source })?;
    let mut reader = csv::Reader::from_reader(file);
    let header = reader.headers().map_err(|e| read_error(path, e))?.clone();
    Ok((reader, header))
}

/// Reads a table of numbers: its columns and its rows.
pub(crate) fn read_table(path: &Path) -> Result<(Vec<String>, Vec<Vec<f64>>), Error> {
    let (_, header) = open(path)?;
    let columns: Vec<&str> = header.iter().collect();
    let rows = read(path, &columns, |fields| columns.iter().map(|column| fields.number(column)).collect())?;
    Ok((columns.into_iter().map(str::to_owned).collect(), rows))
}

/// One line with its header, for conversions that can say where they failed.
pub(crate) struct Fields<'a> {
    path: &'a Path,
    header: &'a StringRecord,
    record: &'a StringRecord,
}

impl Fields<'_> {
    fn text(&self, column: &str) -> &str {
        let index = self.header.iter().position(|name| name == column);
        index.and_then(|index| self.record.get(index)).unwrap_or_default()
    }

    pub(crate) fn number(&self, column: &str) -> Result<f64, Error> {
        self.parse(column, "a number is expected")
    }

    pub(crate) fn count(&self, column: &str) -> Result<u64, Error> {
        self.parse(column, "a whole number is expected")
    }

    fn parse<T: FromStr>(&self, column: &str, expected: &str) -> Result<T, Error> {
        let found = self.text(column);
        found.trim().parse().map_err(|_| Error::BadValue {
            path: self.path.into(),
            line: self.record.position().map_or(0, csv::Position::line),
            column: column.into(),
            found: found.into(),
            expected: expected.into(),
        })
    }

    pub(crate) fn deserialize<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.record.deserialize(Some(self.header)).map_err(|error| self.locate(&error))
    }

    fn locate(&self, error: &csv::Error) -> Error {
        let line = self.record.position().map_or(0, csv::Position::line);
        let ErrorKind::Deserialize { err, .. } = error.kind() else {
            return Error::BadLine { path: self.path.into(), line, reason: error.to_string() };
        };
        let expected = err.kind().to_string();
        // The csv crate gives the field for numbers only; the one other typed column is the method.
        let index = err.field().map(|field| field as usize);
        let column = index.and_then(|index| self.header.get(index)).unwrap_or("method");
        let found = self.text(column).to_owned();
        Error::BadValue { path: self.path.into(), line, column: column.into(), found, expected }
    }
}

fn read_error(path: &Path, error: csv::Error) -> Error {
    let line = error.position().map_or(1, csv::Position::line);
    match error.into_kind() {
        ErrorKind::Io(source) => Error::Io { path: path.into(), source },
        ErrorKind::UnequalLengths { expected_len, len, .. } => Error::BadLine {
            path: path.into(),
            line,
            reason: format!("{len} fields, but the header has {expected_len}"),
        },
        ErrorKind::Utf8 { err, .. } => Error::BadLine { path: path.into(), line, reason: err.to_string() },
        other => Error::BadLine { path: path.into(), line, reason: format!("{other:?}") },
    }
}

pub(crate) fn write_error(path: &Path, error: csv::Error) -> Error {
    let source = match error.into_kind() {
        ErrorKind::Io(source) => source,
        other => std::io::Error::other(format!("{other:?}")),
    };
    Error::Io { path: path.into(), source }
}
