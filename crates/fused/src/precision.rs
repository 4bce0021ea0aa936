//! In which precision matrix products are computed.

use std::sync::atomic::{AtomicBool, Ordering};

/// What the factors of a matrix product are rounded to. Parameters, sums, norms, softmax and log-probabilities are f32 in
/// either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// As the device multiplies f32; on NVIDIA's tensor cores that is TF32, with 10 bits of mantissa.
    #[default]
    F32,
    /// bfloat16, with 7 bits of mantissa. On the CPU it is the same as `F32`.
    Bf16,
}

static HALVED: AtomicBool = AtomicBool::new(false);

/// Sets the precision of matrix products on GPUs for the whole process.
pub fn set_precision(precision: Precision) {
    HALVED.store(precision == Precision::Bf16, Ordering::Relaxed);
}

/// The precision of matrix products on GPUs.
pub fn precision() -> Precision {
    if HALVED.load(Ordering::Relaxed) { Precision::Bf16 } else { Precision::F32 }
}
