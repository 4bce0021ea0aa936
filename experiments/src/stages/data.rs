//! The reviews.

use anyhow::Result;
use imdb::{Review, Reviews, Source};

use crate::cli::FetchOptions;
use crate::exit::Outcome;
use crate::folder::key;
use crate::stages::shipped;

/// Reads the reviews by the route that `source` names, with `data/cache` as the cache.
pub fn load(source: &Source, seed: u64) -> Result<Reviews> {
    let reviews = imdb::load(source, &shipped("cache"), seed)?;
    let kept = reviews.counts.kept;
    tracing::info!(
        "reviews from {}: {} train, {} test, {} unsup",
        if reviews.origin.location.is_empty() { source.to_string() } else { reviews.origin.location.clone() },
        kept.train,
        kept.test,
        kept.unsup
    );
    Ok(reviews)
}

/// Texts of at most `count` reviews, spread over the whole list: the first ones would all have the same label.
pub fn spread(reviews: &[Review], count: usize) -> Vec<&str> {
    reviews.iter().step_by(reviews.len().div_ceil(count).max(1)).map(|review| review.text.as_str()).collect()
}

/// What stands for the reviews in a key, without reading them: the route, and a path's size and time.
pub fn fingerprint(source: &Source) -> Result<String> {
    let file = match source {
        Source::Path(path) => std::fs::metadata(path).ok().map(|about| (about.len(), about.modified().ok())),
        _ => None,
    };
    key("reviews", &(source, file), &[])
}

/// `experiments fetch imdb`.
pub fn fetch(options: &FetchOptions) -> Result<Outcome> {
    debug_assert_eq!(options.what, "imdb");
    load(&Source::Imdb, 0)?;
    Ok(Outcome::Done)
}
