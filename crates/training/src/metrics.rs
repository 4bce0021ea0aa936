//! The curve of a training as CSV: `step`, `seconds`, and the trainer's own numbers.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use lm::Metrics;

use crate::TrainingError;

/// Writes one row a step and flushes each, so that an interrupted training keeps its rows.
pub(crate) struct MetricsWriter {
    path: PathBuf,
    csv: csv::Writer<File>,
    has_header: bool,
    seconds: f64,
}

impl MetricsWriter {
    /// Opens the file of a training that has taken `first` steps: a new one if that is none, else the old
    /// one without its later rows.
    pub(crate) fn open(path: &Path, first: usize) -> Result<Self, TrainingError> {
        let io = |error: std::io::Error| TrainingError::io(path, error);
        let (file, seconds) = if first == 0 {
            (File::create(path).map_err(io)?, 0.0)
        } else {
            let (end, seconds) = end_of(path, first)?;
            let file = OpenOptions::new().append(true).open(path).map_err(io)?;
            file.set_len(end).map_err(io)?;
            (file, seconds)
        };
        Ok(Self {
            path: path.to_owned(),
            csv: csv::Writer::from_writer(file),
            has_header: first > 0,
            seconds,
        })
    }

    /// Seconds at the last row that was there when the file was opened.
    pub(crate) fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Appends a row.
    pub(crate) fn write(
        &mut self,
        step: usize,
        seconds: f64,
        numbers: &Metrics,
    ) -> Result<(), TrainingError> {
        let mut write = || -> Result<(), csv::Error> {
            if !self.has_header {
                let names = numbers.iter().map(|(name, _)| *name);
                self.csv.write_record(["step", "seconds"].into_iter().chain(names))?;
                self.has_header = true;
            }
            let values = numbers.iter().map(|(_, value)| value.to_string());
            self.csv.write_record([step.to_string(), seconds.to_string()].into_iter().chain(values))?;
            Ok(self.csv.flush()?)
        };
        write().map_err(|error| TrainingError::io(&self.path, error))
    }
}

/// Where the row of a step ends in a file, in bytes, and the seconds that stand in it.
fn end_of(path: &Path, step: usize) -> Result<(u64, f64), TrainingError> {
    let io = |error: csv::Error| TrainingError::io(path, error);
    let mut reader = csv::Reader::from_path(path).map_err(io)?;
    let mut rows = 0;
    let mut row = csv::StringRecord::new();
    while reader.read_record(&mut row).map_err(io)? {
        rows += 1;
        let seconds = row.get(1).and_then(|seconds| seconds.parse().ok());
        if let (true, Some(seconds)) = (row.get(0) == Some(&step.to_string()), seconds) {
            return Ok((reader.position().byte(), seconds));
        }
    }
    let (found, expected) = (format!("{rows} rows without step {step}"), format!("a row of step {step}"));
    Err(TrainingError::Metrics { path: path.to_owned(), found, expected })
}
