//! What a summary says, in tables and verdicts.

pub mod claims;
pub(crate) mod numbers;
mod tables;

pub use numbers::percent;
pub use tables::{claims_table, markdown_table};
