//! What policies earn at each sampling temperature: `temperatures.csv`.

use std::path::Path;

use super::csv_file::{create, read, write_error};
use super::judgements::method;
use crate::{Error, Method};

/// Rewards and KLs by temperature.
pub const TEMPERATURES: &str = "temperatures.csv";

/// The responses of one policy at one temperature, in numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct TemperatureRow {
    /// Whose policy it is.
    pub method: Method,
    /// The seed that it was trained with, or that its responses were drawn with if it was not trained.
    pub seed: u64,
    /// The sampling temperature.
    pub temperature: f64,
    /// Mean true reward r* of the responses.
    pub score: f64,
    /// Its standard error over prompts.
    pub score_se: f64,
    /// Mean score by the second opinion.
    pub second_opinion: f64,
    /// KL of the policy at this temperature from the reference at temperature 1, in nats; of
    /// best-of-n an upper bound.
    pub sequence_kl: f64,
    /// Its standard error over prompts.
    pub sequence_kl_se: f64,
    /// Mean length in tokens.
    pub length: f64,
    /// Distinct bigrams of tokens over all bigrams.
    pub distinct_2: f64,
}

const COLUMNS: [&str; 10] = [
    "method",
    "seed",
    "temperature",
    "score",
    "score_se",
    "second_opinion",
    "sequence_kl",
    "sequence_kl_se",
    "length",
    "distinct_2",
];

/// Writes `temperatures.csv`.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn write_temperatures(path: impl AsRef<Path>, rows: &[TemperatureRow]) -> Result<(), Error> {
    let path = path.as_ref();
    let failed = |error| write_error(path, error);
    let mut csv = create(path)?;
    csv.write_record(COLUMNS).map_err(failed)?;
    for row in rows {
        let numbers = [
            row.temperature,
            row.score,
            row.score_se,
            row.second_opinion,
            row.sequence_kl,
            row.sequence_kl_se,
            row.length,
            row.distinct_2,
        ];
        let names = [row.method.name().to_owned(), row.seed.to_string()];
        csv.write_record(names.into_iter().chain(numbers.map(|number| number.to_string())))
            .map_err(failed)?;
    }
    csv.flush().map_err(|source| Error::Io { path: path.into(), source })
}

/// Reads `temperatures.csv`.
///
/// # Errors
/// Errors name file, line and column.
pub fn read_temperatures(path: impl AsRef<Path>) -> Result<Vec<TemperatureRow>, Error> {
    read(path.as_ref(), &COLUMNS, |fields| {
        Ok(TemperatureRow {
            method: method(&fields)?,
            seed: fields.count("seed")?,
            temperature: fields.number("temperature")?,
            score: fields.number("score")?,
            score_se: fields.number("score_se")?,
            second_opinion: fields.number("second_opinion")?,
            sequence_kl: fields.number("sequence_kl")?,
            sequence_kl_se: fields.number("sequence_kl_se")?,
            length: fields.number("length")?,
            distinct_2: fields.number("distinct_2")?,
        })
    })
}
