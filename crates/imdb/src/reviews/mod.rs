//! The Large Movie Review Dataset (Maas et al. 2011), or reviews like it.
//!
//! [`load()`] reads a [`Source`] by whichever route works: [`path`] reads folders, [`archive`]s and
//! [`table`]s, [`fetch`] finds them in the cache or downloads them, [`synthetic`] writes reviews from a small
//! [`grammar`] whose sentiment is known in closed form. [`clean`] makes one line of plain text of each review
//! and drops repeated ones; every text that is dropped is counted.

pub mod archive;
pub mod clean;
mod digest;
pub mod fetch;
pub mod folder;
pub mod grammar;
mod load;
pub mod path;
mod programs;
pub mod raw;
mod review;
mod signature;
mod source;
pub mod synthetic;
pub mod table;

pub use load::{SYNTHETIC_REVIEWS, TEST_SHARE, load, load_with};
pub use programs::stop_downloads;
pub use review::{Counts, Origin, Review, Reviews, Route, SplitCounts};
pub use signature::Signature;
pub use source::Source;
