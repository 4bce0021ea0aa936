//! What methods earn of as many responses: `responses.csv` of ablations.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::csv_file::{read, write_rows};
use crate::{Error, Method};

/// The table of data efficiency in the folder of a study's ablations, if it was measured.
pub const RESPONSES: &str = "responses.csv";

const COLUMNS: [&str; 8] =
    ["method", "responses", "passes", "seed", "share", "share_se", "kl", "pair_accuracy"];

/// What one run earned of the responses that it saw.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResponsesRow {
    /// The method.
    pub method: Method,
    /// Distinct responses that it saw.
    pub responses: f64,
    /// How often it saw each.
    pub passes: f64,
    /// The seed.
    pub seed: u64,
    /// The share of the optimum's gain, at `kl`.
    pub share: f64,
    /// Standard error of `share` over prompts.
    pub share_se: f64,
    /// Sequence KL, in nats.
    pub kl: f64,
    /// Accuracy on held-out pairs; NaN where it was not measured.
    pub pair_accuracy: f64,
}

/// Writes `responses.csv` into `dir`.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn write_responses(dir: impl AsRef<Path>, rows: &[ResponsesRow]) -> Result<(), Error> {
    write_rows(&dir.as_ref().join(RESPONSES), COLUMNS, rows)
}

/// Reads `responses.csv` of `dir`; `None` if there is no such file.
///
/// # Errors
/// As [`crate::read_frontier`]: the file, line and column where the table is not one of these.
pub fn read_responses(dir: impl AsRef<Path>) -> Result<Option<Vec<ResponsesRow>>, Error> {
    let path = dir.as_ref().join(RESPONSES);
    path.is_file().then(|| read(&path, &COLUMNS, |fields| fields.deserialize())).transpose()
}
