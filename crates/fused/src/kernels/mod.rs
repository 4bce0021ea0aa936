//! The kernels: slices in, slices out, and no tensors.
//!
//! Outputs are written into uninitialised memory (`MaybeUninit`), because clearing a buffer that is about to
//! be overwritten costs as much as many of these kernels do.

#![expect(
    clippy::inline_always,
    reason = "a body takes on its caller's instruction set only when inlined into it"
)]

pub(crate) mod attention;
pub(crate) mod bidirectional;
pub(crate) mod decode;
pub(crate) mod embedding;
pub(crate) mod erf_gelu;
pub(crate) mod gelu;
pub(crate) mod kl;
pub(crate) mod linear;
pub(crate) mod logprob;
pub(crate) mod matrix;
pub(crate) mod norm;
pub(crate) mod optimizer;
pub(crate) mod pieces;
pub(crate) mod rms_norm;
pub(crate) mod rope;
pub(crate) mod sample;
pub(crate) mod simd;
pub(crate) mod swiglu;
pub(crate) mod thin;
pub(crate) mod vocabulary;
