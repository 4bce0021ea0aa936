//! `experiments devices`: what this binary can compute on, how fast, and whether it computes what the CPU does.

mod needs;

pub use needs::Needs;
