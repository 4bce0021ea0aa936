//! One measurement of one case: `CASE key=value ...` in, one line of JSON out.
//!
//! The command `experiments measure` and the benchmark `kernels` of `crates/fused` have this form, and so has the
//! PyTorch side in `scripts/peers`, so that a script can run both sides in turn.
//!
//! The line holds the keys of the case, `tokens` of one step, `seconds`, the median of the timed steps, `steps`, their
//! number, and `peak_mib`, the largest resident memory of the process so far (Linux; absent elsewhere).

mod case;
mod clock;

pub use case::{Case, CaseError, Shape};
