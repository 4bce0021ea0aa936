//! Tests of reviews, their routes, the classifiers and prompts: counts by hand, crafted archives, a grammar
//! whose sentiment is known.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod archives;
mod dataset;
#[cfg(unix)]
mod fetch;
mod openings;
mod sentiment;
mod signature;
