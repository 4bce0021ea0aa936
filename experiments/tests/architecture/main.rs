//! The structure that the design promises: which crates know which, that no modules know each other in a circle, and
//! which packages are let in.

#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod arrows;
mod circles;
mod modules;
mod packages;
mod sources;
