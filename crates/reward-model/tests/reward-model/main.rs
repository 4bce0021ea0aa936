//! Tests of the reward model against PyTorch and of its training and files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::float_cmp,
    reason = "tests may panic, and equal means equal to the bit"
)]

mod device;
mod parity;
mod training;
