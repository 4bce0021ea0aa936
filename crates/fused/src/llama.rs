//! What a Llama's blocks need beside the operations of a GPT-2: a norm without mean and shift, rotary
//! positions and a gate. Their products are those of [`crate::product`].

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::backend::HostKernels;
use crate::heads::Heads;
use crate::reference;
use crate::rotation::Rotation;
use crate::switch::is_fused_on_host;

/// Root-mean-square normalisation of each row, `y = x / sqrt(mean(x^2) + eps) * gamma` (Zhang and Sennrich
/// 2019): x and y `[N, d]`, gamma `[d]`.
///
/// # Panics
/// If the shapes do not agree.
pub fn rms_norm(x: Tensor<2>, gamma: Tensor<1>, eps: f64) -> Tensor<2> {
    let ([_, d], [scales]) = (x.dims(), gamma.dims());
    assert!(d == scales, "rms_norm: x has {d} columns, gamma {scales}");
    if !is_fused_on_host(&x.device()) {
        return reference::rms_norm(x, gamma, eps);
    }
    Tensor::from_dispatch(Dispatch::fused_rms_norm(x.into_dispatch(), gamma.into_dispatch(), eps))
}

/// Rotary position embedding (Su et al. 2021) of the queries and keys of packed `q|k|v`: each pair `(a, b)`
/// of a head's elements i and `head_dim / 2 + i` becomes `(a cos - b sin, b cos + a sin)`, by the angle that
/// the [`Rotation`] has for the row and i. Values are passed on.
///
/// qkv and the result are `[N, (queries + 2 keys) head_dim]`.
///
/// # Panics
/// If the shapes do not agree.
pub fn rope(qkv: Tensor<2>, rotation: &Rotation, heads: impl Into<Heads>) -> Tensor<2> {
    let ([rows, packed], heads) = (qkv.dims(), heads.into());
    assert!(
        rows == rotation.rows() && packed == heads.packed() * rotation.head_dim(),
        "rope: {rows} rows of {packed} columns, but a rotation of {} rows and {} + 2 x {} heads of {} columns",
        rotation.rows(),
        heads.queries,
        heads.keys,
        rotation.head_dim()
    );
    if !is_fused_on_host(&qkv.device()) {
        return reference::rope(qkv, rotation, heads);
    }
    Tensor::from_dispatch(Dispatch::fused_rope(qkv.into_dispatch(), rotation.clone(), heads))
}

/// The gate of a SwiGLU (Shazeer 2020), `silu(gate) up` with `silu(x) = x / (1 + e^-x)`, element
/// by element: all `[N, d]`.
///
/// # Panics
/// If the shapes do not agree.
pub fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    assert!(gate.dims() == up.dims(), "swiglu: the gate is {:?}, its factor {:?}", gate.dims(), up.dims());
    if !is_fused_on_host(&gate.device()) {
        return reference::swiglu(gate, up);
    }
    Tensor::from_dispatch(Dispatch::fused_swiglu(gate.into_dispatch(), up.into_dispatch()))
}
