//! The crate against arithmetic by hand, enumeration and simulation.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::float_cmp,
    reason = "a test may panic, and compares values that arithmetic makes exact"
)]

mod ablations;
mod answer;
mod ceilings;
mod claims;
mod curves;
mod figures;
mod intervals;
mod methods;
mod overoptimization;
mod prompts;
mod published;
mod records;
mod summary;
mod synthetic;
mod why;
mod win_rate;
