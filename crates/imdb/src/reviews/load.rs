//! From a source to reviews that are ready to use: read, cleaned, without repeats, in a fixed order, with
//! every count.

use std::path::Path;

use lm::Stream;

use crate::error::ImdbError;
use crate::reviews::clean::{clean, drop_overlaps};
use crate::reviews::fetch::Fetcher;
use crate::reviews::path::{Fetched, read_path};
use crate::reviews::raw::{Part, RawReviews};
use crate::reviews::review::{Counts, Origin, Review, Reviews};
use crate::reviews::source::Source;
use crate::reviews::synthetic::synthetic;
use crate::split::stratified;

/// Train reviews that the source `synthetic` writes.
pub const SYNTHETIC_REVIEWS: usize = 4000;
/// Share of the train reviews that becomes the test split when the source has none of its own.
pub const TEST_SHARE: f64 = 0.2;
/// Number of the random stream that draws the test split.
const TEST_SPLIT: u64 = 1;

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
    let reviews = assemble(fetched.raw, fetched.origin, seed);
    let found = reviews.counts.positive.train.min(reviews.counts.kept.train - reviews.counts.positive.train);
    if found == 0 {
        let Counts { positive, kept, .. } = reviews.counts;
        let found = format!("{} positive of {} train reviews", positive.train, kept.train);
        let path = Path::new(&reviews.origin.location);
        return Err(ImdbError::damaged(path, "positive and negative train reviews", found));
    }
    Ok(reviews)
}

/// Cleans what was read, drops overlaps, and splits off a test set where the source has none.
fn assemble(raw: RawReviews, origin: Origin, seed: u64) -> Reviews {
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
        tracing::info!(
            "the source has no test reviews: {} of its {} reviews, a fifth of each label drawn by the seed, \
             are the test split",
            test.len(),
            train.len() + test.len()
        );
    }
    Reviews::assemble(origin, train, test, unsup, counts)
}

/// Moves a stratified [`TEST_SHARE`] of the reviews to a test split; both stay sorted by id.
fn split_test(reviews: Vec<Review>, seed: u64) -> (Vec<Review>, Vec<Review>) {
    let labels: Vec<Option<bool>> = reviews.iter().map(|review| review.positive).collect();
    let (_, held_out) = stratified(&labels, TEST_SHARE, &mut Stream::numbered(seed, TEST_SPLIT).rng());
    let mut train = Vec::with_capacity(reviews.len());
    let mut test = Vec::with_capacity(held_out.len());
    for (index, review) in reviews.into_iter().enumerate() {
        if held_out.binary_search(&index).is_ok() { test.push(review) } else { train.push(review) }
    }
    (train, test)
}
