//! The operations as an extension of burn's backends, with kernels on flex alone, and their gradients.

use std::ops::Range;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::flex::{Flex, FlexTensor};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, backend_extension};

use crate::autodiff::{Saved, Tracked, record};
use crate::backend::Gradients;
use crate::flex::{contiguous, dims, floats, tensor};
use crate::kernels::{bidirectional, erf_gelu};

/// The rows of each sequence.
pub(crate) type Sequences = Arc<[Range<usize>]>;

/// The operations that have kernels here.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait EncoderKernels: Backend {
    fn fused_erf_gelu(x: FloatTensor<Self>) -> FloatTensor<Self>;
    fn fused_bidirectional_attention(
        qkv: FloatTensor<Self>,
        sequences: Sequences,
        heads: usize,
    ) -> FloatTensor<Self>;
}

/// Their backward passes, of contiguous tensors.
pub(crate) trait EncoderGradients: EncoderKernels + Gradients {
    fn erf_gelu_gradient(x: &FloatTensor<Self>, g: &FloatTensor<Self>) -> FloatTensor<Self>;
    fn bidirectional_attention_gradient(
        qkv: &FloatTensor<Self>,
        sequences: &Sequences,
        heads: usize,
        g: &FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

fn sizes(qkv: &FlexTensor, heads: usize) -> bidirectional::Sizes {
    let [_, packed] = dims(qkv);
    bidirectional::Sizes { heads, head_dim: packed / 3 / heads }
}

impl EncoderKernels for Flex {
    fn fused_erf_gelu(x: FlexTensor) -> FlexTensor {
        let x = contiguous(x);
        tensor(erf_gelu::forward(floats(&x)), x.layout().shape().clone())
    }

    fn fused_bidirectional_attention(qkv: FlexTensor, sequences: Sequences, heads: usize) -> FlexTensor {
        let qkv = contiguous(qkv);
        let ([rows, packed], n) = (dims(&qkv), sizes(&qkv, heads));
        tensor(bidirectional::forward(floats(&qkv), &sequences, n), [rows, packed / 3])
    }
}

impl EncoderGradients for Flex {
    fn erf_gelu_gradient(x: &FlexTensor, g: &FlexTensor) -> FlexTensor {
        tensor(erf_gelu::backward(floats(x), floats(g)), x.layout().shape().clone())
    }

    fn bidirectional_attention_gradient(
        qkv: &FlexTensor,
        sequences: &Sequences,
        heads: usize,
        g: &FlexTensor,
    ) -> FlexTensor {
        let gradient = bidirectional::backward(floats(qkv), floats(g), sequences, sizes(qkv, heads));
        tensor(gradient, qkv.layout().shape().clone())
    }
}

#[derive(Clone, Debug)]
struct GeluSaved<T> {
    x: T,
}

impl<B: EncoderGradients> Saved<B, 1> for GeluSaved<FloatTensor<B>> {
    fn gradients(self, g: FloatTensor<B>, [x]: [bool; 1]) -> [Option<FloatTensor<B>>; 1] {
        [x.then(|| B::erf_gelu_gradient(&self.x, &g))]
    }
}

#[derive(Clone, Debug)]
struct AttentionSaved<T> {
    qkv: T,
    sequences: Sequences,
    heads: usize,
}

impl<B: EncoderGradients> Saved<B, 1> for AttentionSaved<FloatTensor<B>> {
    fn gradients(self, g: FloatTensor<B>, [qkv]: [bool; 1]) -> [Option<FloatTensor<B>>; 1] {
        [qkv.then(|| B::bidirectional_attention_gradient(&self.qkv, &self.sequences, self.heads, &g))]
    }
}

impl<B: EncoderGradients, C: CheckpointStrategy> EncoderKernels for Autodiff<B, C> {
    fn fused_erf_gelu(x: Tracked<B, C>) -> Tracked<B, C> {
        record::<B, C, _, _>([x], |[x]| GeluSaved { x: x.clone() }, |[x]| B::fused_erf_gelu(x))
    }

    fn fused_bidirectional_attention(
        qkv: Tracked<B, C>,
        sequences: Sequences,
        heads: usize,
    ) -> Tracked<B, C> {
        let kept = sequences.clone();
        record::<B, C, _, _>(
            [qkv],
            |[qkv]| AttentionSaved { qkv: qkv.clone(), sequences: kept, heads },
            |[qkv]| B::fused_bidirectional_attention(qkv, sequences, heads),
        )
    }
}
