//! The structure that the design promises: which crates know which, that no modules know each other in a
//! circle, and which packages are let in.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod arrows;
mod circles;
mod modules;
mod packages;
mod sources;
