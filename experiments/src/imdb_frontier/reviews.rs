//! The reviews.

use anyhow::Result;
use imdb::{Review, Reviews, Source};

use crate::repository;
use crate::study::folder::key;

/// Reads the reviews by the route that `source` names, with `data/cache` as the cache.
pub fn load(source: &Source, seed: u64) -> Result<Reviews> {
    let reviews = imdb::load(source, &repository::path("data/cache"), seed)?;
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
