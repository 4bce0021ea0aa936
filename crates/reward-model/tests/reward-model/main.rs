//! Tests of the reward model against PyTorch and of its training and files.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod device;
mod parity;
mod recompute;
mod training;
