//! Tests of PPO against PyTorch, finite differences, properties and the closed form.
#![expect(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "tests may panic, and equal means equal to the bit"
)]

mod closed_form;
mod memory;
mod parity;
mod properties;
mod recompute;
mod rloo;
mod tiny;
mod trainer;
#[path = "../../../lm/tests/trainers/mod.rs"]
mod trainers;
mod warmup;
