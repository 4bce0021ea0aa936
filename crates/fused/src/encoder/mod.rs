//! The operations that encoders such as BERT have and GPT-2 has not: attention in both
//! directions and exact GELU.
//!
//! They have kernels on the CPU, and the attention on GPUs too. On every other device, and where the kernels
//! are switched off, [`reference`] computes the same mathematics.

mod kernels;
mod reference;

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use self::kernels::EncoderKernels;
#[cfg(feature = "cube")]
use crate::backend::Kernels;
use crate::packing::Packing;
use crate::switch::{is_cube, is_fused};

/// GELU in its exact form (`gelu` in Hugging Face's configurations), `y = x Phi(x)` with the standard
/// normal's cumulative distribution Phi, element by element. [`crate::gelu`] is the tanh form. On a GPU it
/// is burn's own operations.
pub fn erf_gelu(x: Tensor<2>) -> Tensor<2> {
    let device = x.device();
    if !is_fused(&device) || is_cube(&device) {
        return reference::erf_gelu(x);
    }
    Tensor::from_dispatch(Dispatch::fused_erf_gelu(x.into_dispatch()))
}

/// Multi-head self-attention, `softmax(q k^T / sqrt(head_dim)) v`, in which each position attends to all
/// positions of its sequence, those after it too.
///
/// qkv `[N, 3d]` is packed `q|k|v`; the result is `[N, d]` with the heads side by side. The packing says
/// which rows form sequences: there is no padding and no mask.
///
/// # Panics
/// If `3d` is not a multiple of `3 heads`, if the packing does not have N rows, or if two sequences share a
/// prefix: its rows would have to attend to both.
pub fn bidirectional_attention(qkv: Tensor<2>, packing: &Packing, heads: usize) -> Tensor<2> {
    let [rows, packed] = qkv.dims();
    assert!(
        heads > 0 && packed.is_multiple_of(3 * heads),
        "bidirectional_attention: {packed} columns are not q|k|v of {heads} heads"
    );
    assert!(
        rows == packing.rows(),
        "bidirectional_attention: {rows} rows, but a packing of {}",
        packing.rows()
    );
    let sequences = packing.separate();
    let device = qkv.device();
    if !is_fused(&device) {
        return reference::bidirectional_attention(qkv, &sequences, heads);
    }
    #[cfg(feature = "cube")]
    if is_cube(&device) {
        let packing = packing.in_both_directions();
        let mixed = Dispatch::fused_causal_attention(qkv.into_dispatch(), packing, heads.into());
        return Tensor::from_dispatch(mixed);
    }
    Tensor::from_dispatch(Dispatch::fused_bidirectional_attention(
        qkv.into_dispatch(),
        sequences.into(),
        heads,
    ))
}
