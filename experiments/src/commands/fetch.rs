//! `experiments fetch`: a data set into the cache.

use anyhow::Result;
use imdb::Source;

use crate::cli::FetchOptions;
use crate::exit::Outcome;
use crate::imdb_frontier::reviews;

/// `experiments fetch imdb`.
pub fn fetch(options: &FetchOptions) -> Result<Outcome> {
    debug_assert_eq!(options.what, "imdb");
    reviews::load(&Source::Imdb, 0)?;
    Ok(Outcome::Done)
}
