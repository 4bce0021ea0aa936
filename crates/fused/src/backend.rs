//! The operations as an extension of burn's backends. Flex (the CPU) and Cube (every GPU) have kernels for
//! them.

use std::fmt::Debug;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};

use crate::{AdamW, Heads, Packing, RmsProp, Rotation};

/// The operations that have kernels here.
#[backend_extension(Flex, Cube: cfg(feature = "cube"), Autodiff)]
pub(crate) trait Kernels: Backend {
    fn fused_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    fn fused_linear_add(
        residual: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;
    fn fused_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;
    fn fused_causal_attention(qkv: FloatTensor<Self>, packing: Packing, heads: Heads) -> FloatTensor<Self>;
    fn fused_target_logprobs(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self>;
    fn fused_embedding(table: FloatTensor<Self>, ids: IntTensor<Self>) -> FloatTensor<Self>;
}

/// The operations that have kernels on the CPU only.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait HostKernels: Backend {
    fn fused_product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self>;
    fn fused_product_add(
        residual: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    fn fused_rms_norm(x: FloatTensor<Self>, gamma: FloatTensor<Self>, eps: f64) -> FloatTensor<Self>;
    fn fused_rope(qkv: FloatTensor<Self>, rotation: Rotation, heads: Heads) -> FloatTensor<Self>;
    fn fused_swiglu(gate: FloatTensor<Self>, up: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// Operations of sampling and evaluation, which have no gradient and so no place on an autodiff backend.
#[backend_extension(Flex, Cube: cfg(feature = "cube"))]
pub(crate) trait Inference: Backend {
    fn fused_decode_attention(
        qkv: FloatTensor<Self>,
        keys: FloatTensor<Self>,
        values: FloatTensor<Self>,
        position: usize,
        heads: Heads,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    fn fused_token_kl(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        reference_hidden: FloatTensor<Self>,
        reference_head: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    fn fused_sample(
        hidden: FloatTensor<Self>,
        head: FloatTensor<Self>,
        uniforms: &[f64],
    ) -> (IntTensor<Self>, FloatTensor<Self>);
}

/// Parameter updates, outside of any autodiff graph. The Cube backend has its own, which update all tensors
/// at once.
#[backend_extension(Flex)]
pub(crate) trait Updates: Backend {
    fn fused_adamw(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        rule: AdamW,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    fn fused_rmsprop(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        second: FloatTensor<Self>,
        rule: RmsProp,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    fn fused_sum_of_squares(x: FloatTensor<Self>) -> FloatTensor<Self>;
}

/// The backward passes that `autodiff` records: from the gradient of an operation's output, the gradients of
/// those inputs that `needs` marks. All tensors are contiguous.
pub(crate) trait Gradients: Kernels {
    /// What [`Kernels::fused_target_logprobs`] keeps for its backward pass.
    type Softmax: Clone + Debug + Send + 'static;

    /// The tensor with its elements adjacent in memory, copied only if they are not.
    fn contiguous(tensor: FloatTensor<Self>) -> FloatTensor<Self>;
    fn linear_gradients(
        x: &FloatTensor<Self>,
        weight: &FloatTensor<Self>,
        g: &FloatTensor<Self>,
        needs: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3];
    fn layer_norm_gradients(
        x: &FloatTensor<Self>,
        gamma: &FloatTensor<Self>,
        eps: f64,
        g: &FloatTensor<Self>,
        needs: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3];
    fn gelu_gradient(x: &FloatTensor<Self>, g: &FloatTensor<Self>) -> FloatTensor<Self>;
    fn causal_attention_gradient(
        qkv: &FloatTensor<Self>,
        packing: &Packing,
        heads: Heads,
        g: &FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    fn target_logprobs_saving(
        hidden: &FloatTensor<Self>,
        head: &FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> (FloatTensor<Self>, Self::Softmax);
    fn target_logprobs_gradients(
        hidden: &FloatTensor<Self>,
        head: &FloatTensor<Self>,
        softmax: Self::Softmax,
        g: &FloatTensor<Self>,
        needs: [bool; 2],
    ) -> [Option<FloatTensor<Self>>; 2];
    fn embedding_gradient(ids: &IntTensor<Self>, rows: usize, g: &FloatTensor<Self>) -> FloatTensor<Self>;
}

/// [`Gradients`] of the operations of [`HostKernels`].
pub(crate) trait HostGradients: HostKernels + Gradients {
    fn product_gradients(
        x: &FloatTensor<Self>,
        weight: &FloatTensor<Self>,
        g: &FloatTensor<Self>,
        needs: [bool; 2],
    ) -> [Option<FloatTensor<Self>>; 2];
    fn rms_norm_gradients(
        x: &FloatTensor<Self>,
        gamma: &FloatTensor<Self>,
        eps: f64,
        g: &FloatTensor<Self>,
        needs: [bool; 2],
    ) -> [Option<FloatTensor<Self>>; 2];
    fn rope_gradient(rotation: &Rotation, heads: Heads, g: &FloatTensor<Self>) -> FloatTensor<Self>;
    fn swiglu_gradients(
        gate: &FloatTensor<Self>,
        up: &FloatTensor<Self>,
        g: &FloatTensor<Self>,
        needs: [bool; 2],
    ) -> [Option<FloatTensor<Self>>; 2];
}
