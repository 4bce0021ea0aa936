//! Tests of prompts, labels, pairs, scorers and evaluation against counts by hand and on tiny models.
#![expect(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "tests may panic, and exact counts are what some of them assert"
)]

mod chat;
mod classifier;
mod endpoint;
mod evaluation;
mod held_out;
mod judge;
mod preferences;
mod program;
mod records;
mod scorer;
mod server;
