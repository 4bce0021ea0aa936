//! The precision of matrix products.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the factors of a matrix product are rounded to. Parameters, optimisers, sums, norms, softmax and
/// log-probabilities are f32 either way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Precision {
    /// f32, not rounded.
    F32,
    /// bfloat16, 7 bits of mantissa. GPUs only.
    Bf16,
}

impl Precision {
    /// The name used on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::F32, Self::Bf16]
            .into_iter()
            .find(|precision| precision.name() == name)
            .ok_or_else(|| format!("found `{name}`, expected f32 or bf16"))
    }
}

static IS_BF16: AtomicBool = AtomicBool::new(false);

/// Sets the precision of matrix products on GPUs for the whole process.
pub fn set_precision(precision: Precision) {
    IS_BF16.store(precision == Precision::Bf16, Ordering::Relaxed);
}

/// The precision of matrix products on GPUs.
pub fn precision() -> Precision {
    if IS_BF16.load(Ordering::Relaxed) { Precision::Bf16 } else { Precision::F32 }
}
