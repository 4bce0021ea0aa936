//! Tests of preference optimisation against PyTorch, hand arithmetic and the closed form.
#![expect(
    clippy::unwrap_used,
    clippy::float_cmp,
    reason = "tests may panic, and equal means equal to the bit"
)]

mod closed_form;
mod enumeration;
mod online;
mod parity;
mod recompute;
mod trainer;
#[path = "../../../lm/tests/trainers/mod.rs"]
mod trainers;
