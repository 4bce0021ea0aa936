//! The hot tensor operations of decoders such as GPT-2 and Llama, each with its analytic backward pass.
//!
//! burn's autodiff composes a layer norm or an attention from a dozen primitives, and each of them reads and
//! writes the whole activation. For a small model on the CPU, this memory traffic and not the arithmetic
//! takes most of a training step; on a GPU, the kernel launches do. Here every operation makes one pass over
//! its inputs forward and one or two backward: on the CPU (burn's flex backend) in plain loops that the
//! compiler vectorises, with matrix products by `gemm`; on a GPU (feature `cube`, which `wgpu` and `cuda`
//! switch on) in CubeCL kernels, which GPT-2's operations have.
//!
//! On any other device, or when [`set_enabled`] or the environment variable `FUSED=0` has switched the
//! kernels off, each function computes the same mathematics with burn's own operations. On the CPU, results
//! are bit-identical for any number of threads: work is always cut into the same pieces, and partial sums are
//! added in the same order. On a GPU, results repeat bit for bit except for the gradient of [`embedding`],
//! which is summed atomically.
//!
//! Tensors are `f32`. Every function checks its shapes and panics with those it found, as burn's own
//! operations do.

mod affine;
mod autodiff;
mod backend;
mod biased;
#[cfg(feature = "cube")]
mod cube;
mod encoder;
mod flex;
mod heads;
mod host;
mod kernels;
mod llama;
mod next_token;
mod optimizer;
mod output_head;
mod packing;
mod precision;
mod reference;
mod rotation;
mod rules;
mod switch;

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};

pub use crate::affine::{affine, affine_add, product, product_add};
use crate::backend::{Inference, Kernels};
pub use crate::encoder::{bidirectional_attention, erf_gelu};
pub use crate::heads::Heads;
pub use crate::host::host;
pub use crate::llama::{rms_norm, rope, swiglu};
pub use crate::next_token::{sample, target_logprobs, token_kl};
pub use crate::optimizer::{adamw, rmsprop, sum_of_squares};
pub use crate::output_head::OutputHead;
pub use crate::packing::Packing;
pub use crate::precision::{Precision, precision, set_precision};
pub use crate::rotation::Rotation;
pub use crate::rules::{AdamW, RmsProp, Updated, Weight};
use crate::switch::is_cube;
pub use crate::switch::{is_fused, set_enabled};

/// Caches compiled GPU kernels in the user's cache folder for later processes. Call it before opening a GPU.
#[cfg(feature = "cube")]
pub fn keep_kernels() {
    cube::keep_kernels();
}

/// Affine map `y = x W + b`: x `[N, in]`, W `[in, out]` (GPT-2's `Conv1D` layout), b `[out]`,
/// y `[N, out]`.
///
/// # Panics
/// If the shapes do not agree.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    let ([_, inputs], [rows, outputs], [biases]) = (x.dims(), weight.dims(), bias.dims());
    assert!(
        inputs == rows && outputs == biases,
        "linear: x has {inputs} columns, the weight is {rows} x {outputs}, the bias has {biases}"
    );
    if !is_fused(&x.device()) {
        return reference::linear(x, weight, bias);
    }
    Tensor::from_dispatch(Dispatch::fused_linear(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// The product of every row with one vector: x `[N, d]`, vector `[1, d]`, result `[N]`.
///
/// On the CPU this is burn's own product, which is fast enough for one column. On a GPU it is [`product`],
/// because burn would round the factors to TF32.
///
/// # Panics
/// If the shapes do not agree.
pub fn project(x: Tensor<2>, vector: Tensor<2>) -> Tensor<1> {
    let ([_, columns], [rows, d]) = (x.dims(), vector.dims());
    assert!(rows == 1 && columns == d, "project: x has {columns} columns, the vector is {rows} x {d}");
    let device = x.device();
    if is_cube(&device) && is_fused(&device) {
        return product(x, vector).squeeze_dim(1);
    }
    x.matmul(vector.transpose()).squeeze_dim(1)
}

/// [`linear`] added to a residual stream, `y = r + x W + b`: r and y `[N, out]`.
///
/// # Panics
/// If the shapes do not agree.
pub fn linear_add(residual: Tensor<2>, x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    let ([rows, inputs], [_, outputs]) = (x.dims(), weight.dims());
    assert!(
        weight.dims() == [inputs, outputs] && bias.dims() == [outputs] && residual.dims() == [rows, outputs],
        "linear_add: x is {rows} x {inputs}, the weight {:?}, the bias {:?}, the residual {:?}",
        weight.dims(),
        bias.dims(),
        residual.dims()
    );
    if !is_fused(&x.device()) {
        return residual + reference::linear(x, weight, bias);
    }
    Tensor::from_dispatch(Dispatch::fused_linear_add(
        residual.into_dispatch(),
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// Layer normalisation of each row, `y = (x - mean) / sqrt(var + eps) * gamma + beta`, with the
/// biased variance (Ba et al. 2016): x `[N, d]`, gamma and beta `[d]`, y `[N, d]`.
///
/// # Panics
/// If the shapes do not agree.
pub fn layer_norm(x: Tensor<2>, gamma: Tensor<1>, beta: Tensor<1>, eps: f64) -> Tensor<2> {
    let ([_, d], [scales], [shifts]) = (x.dims(), gamma.dims(), beta.dims());
    assert!(d == scales && d == shifts, "layer_norm: x has {d} columns, gamma {scales}, beta {shifts}");
    if !is_fused(&x.device()) {
        return reference::layer_norm(x, gamma, beta, eps);
    }
    Tensor::from_dispatch(Dispatch::fused_layer_norm(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        eps,
    ))
}

/// GPT-2's GELU, the tanh form (`gelu_new` in Hugging Face's configurations):
/// `y = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`, element by element.
pub fn gelu(x: Tensor<2>) -> Tensor<2> {
    if !is_fused(&x.device()) {
        return reference::gelu(x);
    }
    Tensor::from_dispatch(Dispatch::fused_gelu(x.into_dispatch()))
}

/// Multi-head causal self-attention, `softmax(q k^T / sqrt(head_dim)) v`: each position attends to itself and
/// to the positions before it in its sequence.
///
/// qkv `[N, (queries + 2 keys) head_dim]` is packed `q|k|v`, for GPT-2 `[N, 3d]` as its `c_attn` gives it;
/// the result is `[N, queries head_dim]` with the heads side by side. The packing says which rows form
/// sequences: there is no padding and no mask, and a prefix that several sequences share is stored once.
///
/// # Panics
/// If the columns are not those of so many heads, or if the packing does not have N rows.
pub fn causal_attention(qkv: Tensor<2>, packing: &Packing, heads: impl Into<Heads>) -> Tensor<2> {
    let ([rows, packed], heads) = (qkv.dims(), heads.into());
    assert_heads("causal_attention", packed, heads);
    assert!(rows == packing.rows(), "causal_attention: {rows} rows, but a packing of {}", packing.rows());
    if !is_fused(&qkv.device()) {
        return reference::causal_attention(qkv, packing, heads);
    }
    Tensor::from_dispatch(Dispatch::fused_causal_attention(qkv.into_dispatch(), packing.clone(), heads))
}

/// Looks up rows of a table: table `[V, d]`, ids `[N]` in `0..V`, result `[N, d]`.
///
/// # Panics
/// On the CPU, if an id is not in `0..V`. On a GPU such an id counts as `V - 1`.
pub fn embedding(table: Tensor<2>, ids: Tensor<1, Int>) -> Tensor<2> {
    if !is_fused(&table.device()) {
        return reference::embedding(table, ids);
    }
    Tensor::from_dispatch(Dispatch::fused_embedding(table.into_dispatch(), ids.into_dispatch()))
}

/// Attention of one new token per sequence over a preallocated cache, for sampling.
///
/// qkv `[B, (queries + 2 keys) head_dim]` is the new token's packed `q|k|v`; keys and values
/// `[B, keys, Tmax, head_dim]` are the caches. Writes the new key and value at `position` (in place when the
/// caches have no other owner), attends to `0..=position`, and returns the attention output
/// `[B, queries head_dim]` and the caches. It has no gradient: call it on a device without autodiff.
///
/// # Panics
/// If the shapes do not agree, or `position` is beyond the cache.
pub fn decode_attention(
    qkv: Tensor<2>,
    keys: Tensor<4>,
    values: Tensor<4>,
    position: usize,
    heads: impl Into<Heads>,
) -> (Tensor<2>, Tensor<4>, Tensor<4>) {
    let ([batch, packed], heads) = (qkv.dims(), heads.into());
    assert_heads("decode_attention", packed, heads);
    let [_, _, capacity, _] = keys.dims();
    assert!(
        position < capacity,
        "decode_attention: position {position} is not in a cache of {capacity} positions"
    );
    let cache = [batch, heads.keys, capacity, packed / heads.packed()];
    assert!(
        keys.dims() == cache && values.dims() == cache,
        "decode_attention: expected caches of {cache:?}, found {:?} and {:?}",
        keys.dims(),
        values.dims()
    );
    let device = qkv.device();
    if device.is_autodiff() || !is_fused(&device) {
        return reference::decode_attention(qkv, keys, values, position, heads);
    }
    let (out, keys, values) = Dispatch::fused_decode_attention(
        qkv.into_dispatch(),
        keys.into_dispatch(),
        values.into_dispatch(),
        position,
        heads,
    );
    (Tensor::from_dispatch(out), Tensor::from_dispatch(keys), Tensor::from_dispatch(values))
}

fn assert_heads(operation: &str, packed: usize, Heads { queries, keys }: Heads) {
    assert!(
        keys > 0 && queries > 0 && queries.is_multiple_of(keys),
        "{operation}: {queries} heads of queries do not share {keys} of keys"
    );
    assert!(
        packed.is_multiple_of(queries + 2 * keys),
        "{operation}: {packed} columns are not q|k|v of {queries} heads"
    );
}
