//! Tests of the reward model against PyTorch and of its training and files.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod parity;
mod recompute;
#[path = "../../../lm/tests/trainers/mod.rs"]
mod trainers;
mod training;
