//! One measurement of one case: `CASE key=value ...` in, one line of JSON out.
//!
//! The command `experiments measure` and the benchmark `kernels` of `crates/fused` have this form, and so has
//! the PyTorch side in `scripts/peers`, so that a script can run both sides in turn.
//!
//! The line has the keys of the case and, of the measurement: `tokens` per step, `seconds` (the median of the
//! timed steps), `steps` (how many were timed) and `peak_mib` (the largest resident memory of the process so
//! far; on Linux only).

mod case;
mod clock;

pub use case::{Case, CaseError, Shape};
