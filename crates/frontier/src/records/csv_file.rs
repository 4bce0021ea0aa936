//! CSV files, plain or compressed with bzip2, and errors that say file, line and column.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::str::FromStr;

use bzip2::Compression;
use bzip2::read::MultiBzDecoder;
use bzip2::write::BzEncoder;
use csv::{ErrorKind, StringRecord};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;

pub(crate) fn create(path: &Path) -> Result<csv::Writer<File>, Error> {
    let file = File::create(path).map_err(|source| Error::Io { path: path.into(), source })?;
    // The header is written by hand: the csv crate cannot derive one for a name beside a struct.
    Ok(csv::WriterBuilder::new().has_headers(false).from_writer(file))
}

/// A table that has its header and perhaps rows, to append more.
pub(crate) fn append(path: &Path) -> Result<csv::Writer<File>, Error> {
    let file = OpenOptions::new().append(true).open(path);
    let file = file.map_err(|source| Error::Io { path: path.into(), source })?;
    Ok(csv::WriterBuilder::new().has_headers(false).from_writer(file))
}

/// A compressed table. The same records give the same bytes.
pub(crate) fn create_compressed(path: &Path) -> Result<csv::Writer<BzEncoder<BufWriter<File>>>, Error> {
    let file = File::create(path).map_err(|source| Error::Io { path: path.into(), source })?;
    let compressed = BzEncoder::new(BufWriter::new(file), Compression::best());
    Ok(csv::WriterBuilder::new().has_headers(false).from_writer(compressed))
}

/// Writes the end of a compressed table.
pub(crate) fn finish(path: &Path, csv: csv::Writer<BzEncoder<BufWriter<File>>>) -> Result<(), Error> {
    let file = |source| Error::Io { path: path.into(), source };
    let compressed = csv.into_inner().map_err(|error| file(error.into_error()))?;
    let buffer = compressed.finish().map_err(file)?;
    buffer.into_inner().map_err(|error| file(error.into_error()))?;
    Ok(())
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

/// The most bytes that a compressed table may hold; a table of a large study has a few million.
const MAX_UNPACKED: u64 = 256 << 20;

/// What is read from `inner`, and an error in the place of what is beyond `left` bytes.
struct Capped<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let left = self.left.checked_sub(count as u64);
        self.left = left.ok_or_else(|| {
            std::io::Error::other(format!("it unpacks to more than {MAX_UNPACKED} bytes, which no table has"))
        })?;
        Ok(count)
    }
}

/// Opens a table whose name may end in `.bz2`.
fn open(path: &Path) -> Result<(csv::Reader<Box<dyn Read>>, StringRecord), Error> {
    let file = File::open(path).map_err(|source| Error::Io { path: path.into(), source })?;
    let bytes: Box<dyn Read> = if path.extension().is_some_and(|extension| extension == "bz2") {
        Box::new(Capped { inner: MultiBzDecoder::new(file), left: MAX_UNPACKED })
    } else {
        Box::new(file)
    };
    let mut reader = csv::Reader::from_reader(bytes);
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

/// Writes a table of records with its header.
pub(crate) fn write_rows<'a>(
    path: &Path,
    columns: impl IntoIterator<Item = &'a str>,
    rows: impl IntoIterator<Item: Serialize>,
) -> Result<(), Error> {
    let mut csv = create(path)?;
    csv.write_record(columns).map_err(|error| write_error(path, error))?;
    for row in rows {
        csv.serialize(row).map_err(|error| write_error(path, error))?;
    }
    csv.flush().map_err(|source| Error::Io { path: path.into(), source })
}

/// Writes a table of numbers with its header.
pub(crate) fn write_table<W: Write>(
    path: &Path,
    csv: &mut csv::Writer<W>,
    columns: &[String],
    rows: &[Vec<f64>],
) -> Result<(), Error> {
    csv.write_record(columns).map_err(|error| write_error(path, error))?;
    for row in rows {
        csv.write_record(row.iter().map(f64::to_string)).map_err(|error| write_error(path, error))?;
    }
    csv.flush().map_err(|source| Error::Io { path: path.into(), source })
}

/// One line with its header, for conversions that can say where they failed.
pub(crate) struct Fields<'a> {
    path: &'a Path,
    header: &'a StringRecord,
    record: &'a StringRecord,
}

impl Fields<'_> {
    /// The field of a column, empty if there is none.
    pub(crate) fn text(&self, column: &str) -> &str {
        let index = self.header.iter().position(|name| name == column);
        index.and_then(|index| self.record.get(index)).unwrap_or_default()
    }

    pub(crate) fn number(&self, column: &str) -> Result<f64, Error> {
        self.parse(column, "a number is expected")
    }

    pub(crate) fn count(&self, column: &str) -> Result<u64, Error> {
        self.parse(column, "a whole number is expected")
    }

    /// The numbers of the columns from `start` on.
    pub(crate) fn numbers_from(&self, start: usize) -> Result<Vec<f64>, Error> {
        let fields = self.header.iter().zip(self.record).skip(start);
        fields.map(|(column, field)| self.parsed(column, field, "a number is expected")).collect()
    }

    /// The numbers in one field, with blanks between.
    pub(crate) fn numbers_of(&self, column: &str) -> Result<Vec<f64>, Error> {
        let numbers = self.text(column).split_ascii_whitespace();
        numbers.map(|number| self.parsed(column, number, "a number is expected")).collect()
    }

    /// The line's number, the header's being 1.
    pub(crate) fn line(&self) -> u64 {
        self.record.position().map_or(0, csv::Position::line)
    }

    /// An error that says where it is: in `column`, where `found` stands.
    pub(crate) fn bad(&self, column: &str, found: &str, expected: &str) -> Error {
        Error::BadValue {
            path: self.path.into(),
            line: self.line(),
            column: column.into(),
            found: found.into(),
            expected: expected.into(),
        }
    }

    fn parse<T: FromStr>(&self, column: &str, expected: &str) -> Result<T, Error> {
        self.parsed(column, self.text(column), expected)
    }

    fn parsed<T: FromStr>(&self, column: &str, found: &str, expected: &str) -> Result<T, Error> {
        found.trim().parse().map_err(|_| self.bad(column, found, expected))
    }

    pub(crate) fn deserialize<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.record.deserialize(Some(self.header)).map_err(|error| self.locate(&error))
    }

    fn locate(&self, error: &csv::Error) -> Error {
        let ErrorKind::Deserialize { err, .. } = error.kind() else {
            return Error::BadLine { path: self.path.into(), line: self.line(), reason: error.to_string() };
        };
        let expected = err.kind().to_string();
        // The csv crate gives the field for numbers only; the one other typed column is the method.
        let index = err.field().map(|field| field as usize);
        let column = index.and_then(|index| self.header.get(index)).unwrap_or("method");
        self.bad(column, self.text(column), &expected)
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
