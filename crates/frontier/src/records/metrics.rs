//! The numbers of a training: `metrics.csv`.

use std::path::Path;

use super::csv_file::{create, read_table, write_table};
use crate::Error;

/// `metrics.csv`: the trainer's numbers, a row per step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The rows; each is as long as `columns`.
    pub rows: Vec<Vec<f64>>,
}

impl Metrics {
    /// Reads a table of numbers with a header.
    ///
    /// # Errors
    /// [`Error::BadValue`] for a field that is not a number.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, Error> {
        let (columns, rows) = read_table(path.as_ref())?;
        Ok(Self { columns, rows })
    }

    /// Writes the table with its header.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        write_table(path, &mut create(path)?, &self.columns, &self.rows)
    }

    /// The values of a column; `None` if there is no such column.
    pub fn column(&self, name: &str) -> Option<impl Iterator<Item = f64>> {
        let index = self.columns.iter().position(|column| column == name)?;
        Some(self.rows.iter().map(move |row| row[index]))
    }

    /// The value of `column` in the last row whose `step` is at most `step`.
    pub fn at(&self, step: u64, column: &str) -> Option<f64> {
        let steps = self.column("step")?;
        let last = steps.zip(self.column(column)?).take_while(|(at, _)| *at <= step as f64).last();
        last.map(|(_, value)| value)
    }
}
