//! The reviews: what they are, known without reading them again as long as their files have not changed.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::Result;
use imdb::reviews::Signature;
use imdb::{Origin, Review, Reviews, Route, Source};
use serde::{Deserialize, Serialize};

use crate::repository;

/// Which reviews a study is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Where they were to come from.
    pub source: Source,
    /// Where they came from, with the hash of their content, which alone makes them what they are.
    pub origin: Origin,
    /// How their files looked, if that can be relied on.
    pub signature: Option<String>,
}

impl Identity {
    /// Whether the shipped models stand in, for want of reviews.
    pub fn is_embedded(&self) -> bool {
        self.origin.route == Route::Embedded
    }

    /// The source, what it led to, and the beginning of the content's hash.
    pub fn describe(&self) -> String {
        let Self { source, origin: Origin { location, content_sha256, .. }, .. } = self;
        let source = source.to_string();
        let led_to = match location.as_str() {
            "" if self.is_embedded() => ": no reviews".to_owned(),
            location if location.is_empty() || location == source => String::new(),
            location => format!(": {location}"),
        };
        let content: String = content_sha256.chars().take(12).collect();
        format!("{source}{led_to}, content {content}")
    }
}

/// Finds out which reviews a source has: by how their files look if they are among the `known`, and else by
/// reading them. They are returned too, if they were read.
pub fn identify(source: &Source, seed: u64, known: &[Identity]) -> Result<(Identity, Option<Reviews>)> {
    let cache = cache(source)?;
    let begun = SystemTime::now();
    let before = Signature::of(source, &cache, seed);
    let is_known = |known: &&Identity| {
        known.signature.as_ref().is_some_and(|hash| before.as_ref().is_some_and(|before| before.is(hash)))
    };
    if let Some(found) = known.iter().find(is_known) {
        return Ok((found.clone(), None));
    }
    let reviews = load(source, seed)?;
    let after = Signature::of(source, &cache, seed);
    let signature = before.and_then(|before| before.settled(after.as_ref(), begun));
    // For want of reviews: the next time there may be some, or the warning is due again.
    let signature = signature.filter(|_| reviews.origin.route != Route::Embedded);
    Ok((Identity { source: source.clone(), origin: reviews.origin.clone(), signature }, Some(reviews)))
}

/// Reads the reviews by the route that `source` names, with `data/cache` as the cache.
pub fn load(source: &Source, seed: u64) -> Result<Reviews> {
    let reviews = imdb::load(source, &cache(source)?, seed)?;
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

/// Where a source keeps downloads, if it does.
fn cache(source: &Source) -> Result<PathBuf> {
    match source {
        Source::Auto | Source::Imdb => repository::path("data/cache"),
        Source::Path(_) | Source::Embedded | Source::Synthetic => Ok(PathBuf::new()),
    }
}

/// Texts of at most `count` reviews, spread over the whole list: the first ones would all have the same
/// label.
pub fn spread(reviews: &[Review], count: usize) -> Vec<&str> {
    reviews.iter().step_by(reviews.len().div_ceil(count).max(1)).map(|review| review.text.as_str()).collect()
}
