//! The operations on the CPU: burn's flex backend with the kernels of this crate.

use std::sync::Arc;

use burn::backend::flex::{Flex, FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Shape};

use crate::backend::{Gradients, Inference, Kernels, Updates};
use crate::heads::Heads;
use crate::kernels::linear::Weight;
use crate::kernels::{attention, decode, embedding, gelu, kl, linear, logprob, norm, optimizer, sample};
use crate::{AdamW, Packing, RmsProp};

mod llama;

pub(crate) use self::llama::product;

/// The tensor with its elements adjacent in memory, copied only if they are not.
pub(crate) fn contiguous(t: FlexTensor) -> FlexTensor {
    if t.layout().contiguous_offsets().is_some() { t } else { t.to_contiguous() }
}

/// The tensor alone in its buffer, so that `storage_mut` yields its elements and nothing else.
fn whole(t: FlexTensor) -> FlexTensor {
    let elements = t.layout().num_elements();
    let is_whole = t.layout().contiguous_offsets() == Some((0, elements))
        && t.bytes().len() == elements * size_of::<f32>();
    if is_whole { t } else { t.to_contiguous() }
}

/// The elements of a contiguous tensor.
///
/// # Panics
/// If the tensor is not `f32`.
pub(crate) fn floats(t: &FlexTensor) -> &[f32] {
    t.as_slice().unwrap_or_else(|| panic!("fused operations take f32 tensors, found {:?}", t.dtype()))
}

/// Wraps a kernel's result.
pub(crate) fn tensor(data: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(data), Layout::contiguous(shape.into()), DType::F32)
}

/// Sizes of a tensor of `D` axes.
pub(crate) fn dims<const D: usize>(t: &FlexTensor) -> [usize; D] {
    let shape = t.layout().shape();
    std::array::from_fn(|i| shape[i])
}

/// Token ids as indices.
///
/// # Panics
/// If an id is not in `0..bound`.
pub(crate) fn indices(ids: &FlexTensor, bound: usize) -> Vec<usize> {
    fn checked<T: Copy + TryInto<usize> + std::fmt::Debug>(ids: &[T], bound: usize) -> Vec<usize> {
        let index = |&id: &T| match id.try_into() {
            Ok(index) if index < bound => index,
            _ => panic!("token id {id:?} is not in 0..{bound}"),
        };
        ids.iter().map(index).collect()
    }
    let ids = contiguous(ids.clone());
    match ids.dtype() {
        DType::I64 => ids.as_slice::<i64>().map(|ids| checked(ids, bound)),
        DType::I32 => ids.as_slice::<i32>().map(|ids| checked(ids, bound)),
        DType::U32 => ids.as_slice::<u32>().map(|ids| checked(ids, bound)),
        _ => None,
    }
    .unwrap_or_else(|| panic!("token ids must be i64, i32 or u32, found {:?}", ids.dtype()))
}

/// Sizes of a linear layer.
fn linear_sizes(x: &FlexTensor, weight: &FlexTensor) -> linear::Sizes {
    let ([rows, inputs], [_, outputs]) = (dims(x), dims(weight));
    linear::Sizes { rows, inputs, outputs }
}

/// Sizes of an attention layer.
fn attention_sizes(qkv: &FlexTensor, heads: Heads) -> attention::Sizes {
    let [_, packed] = dims(qkv);
    attention::Sizes { heads, head_dim: packed / heads.packed() }
}

/// An output head without a bias as its kernels take it.
fn bare(weight: &FlexTensor) -> logprob::Head<'_> {
    logprob::Head { weight: floats(weight), bias: None }
}

/// Wraps drawn tokens and their log-probabilities.
pub(crate) fn drawn((tokens, logprobs): (Vec<i32>, Vec<f32>)) -> (FlexTensor, FlexTensor) {
    // i32 is the element type of flex's integer tensors.
    let rows = [tokens.len()];
    let layout = Layout::contiguous(Shape::from(rows));
    (FlexTensor::new(Bytes::from_elems(tokens), layout, DType::I32), tensor(logprobs, rows))
}

/// Sizes of an output head.
pub(crate) fn logprob_sizes(hidden: &FlexTensor, head: &FlexTensor) -> logprob::Sizes {
    let ([rows, d], [vocab, _]) = (dims(hidden), dims(head));
    logprob::Sizes { rows, d, vocab }
}

impl Kernels for Flex {
    fn fused_linear(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        let [x, weight, bias] = [x, weight, bias].map(contiguous);
        let n = linear_sizes(&x, &weight);
        let y = linear::forward(None, floats(&x), Weight::Plain(floats(&weight)), Some(floats(&bias)), n);
        tensor(y, [n.rows, n.outputs])
    }

    fn fused_linear_add(
        residual: FlexTensor,
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
    ) -> FlexTensor {
        let [residual, x, weight, bias] = [residual, x, weight, bias].map(contiguous);
        let n = linear_sizes(&x, &weight);
        let (residual, weight) = (Some(floats(&residual)), Weight::Plain(floats(&weight)));
        let y = linear::forward(residual, floats(&x), weight, Some(floats(&bias)), n);
        tensor(y, [n.rows, n.outputs])
    }

    fn fused_layer_norm(x: FlexTensor, gamma: FlexTensor, beta: FlexTensor, eps: f64) -> FlexTensor {
        let [x, gamma, beta] = [x, gamma, beta].map(contiguous);
        let y = norm::forward(floats(&x), floats(&gamma), floats(&beta), eps as f32);
        tensor(y, x.layout().shape().clone())
    }

    fn fused_gelu(x: FlexTensor) -> FlexTensor {
        let x = contiguous(x);
        tensor(gelu::forward(floats(&x)), x.layout().shape().clone())
    }

    fn fused_causal_attention(qkv: FlexTensor, packing: Packing, heads: Heads) -> FlexTensor {
        let qkv = contiguous(qkv);
        let n = attention_sizes(&qkv, heads);
        let width = heads.queries * n.head_dim;
        tensor(attention::forward(floats(&qkv), &packing, n), [packing.rows(), width])
    }

    fn fused_target_logprobs(hidden: FlexTensor, head: FlexTensor, targets: FlexTensor) -> FlexTensor {
        let [hidden, head] = [hidden, head].map(contiguous);
        let n = logprob_sizes(&hidden, &head);
        let targets = indices(&targets, n.vocab);
        let inputs = logprob::Inputs { hidden: floats(&hidden), head: bare(&head), targets: &targets, n };
        tensor(logprob::forward(inputs), [n.rows])
    }

    fn fused_embedding(table: FlexTensor, ids: FlexTensor) -> FlexTensor {
        let table = contiguous(table);
        let [rows, d] = dims(&table);
        let ids = indices(&ids, rows);
        tensor(embedding::forward(floats(&table), &ids, d), [ids.len(), d])
    }
}

impl Inference for Flex {
    fn fused_decode_attention(
        qkv: FlexTensor,
        keys: FlexTensor,
        values: FlexTensor,
        position: usize,
        heads: Heads,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let qkv = contiguous(qkv);
        let (mut keys, mut values) = (whole(keys), whole(values));
        let [batch, _, capacity, head_dim] = dims(&keys);
        let n = decode::Sizes { batch, heads, capacity, head_dim };
        decode::store(floats(&qkv), 1, keys.storage_mut(), position, n);
        decode::store(floats(&qkv), 2, values.storage_mut(), position, n);
        let out = decode::attend(floats(&qkv), floats(&keys), floats(&values), position, n);
        (tensor(out, [batch, heads.queries * head_dim]), keys, values)
    }

    fn fused_token_kl(
        hidden: FlexTensor,
        head: FlexTensor,
        reference_hidden: FlexTensor,
        reference_head: FlexTensor,
        targets: FlexTensor,
    ) -> (FlexTensor, FlexTensor) {
        let [hidden, head] = [hidden, head].map(contiguous);
        let [reference_hidden, reference_head] = [reference_hidden, reference_head].map(contiguous);
        let n = logprob_sizes(&hidden, &head);
        let targets = indices(&targets, n.vocab);
        let policy = kl::Policy { hidden: floats(&hidden), head: bare(&head), n };
        let reference = kl::Policy {
            hidden: floats(&reference_hidden),
            head: bare(&reference_head),
            n: logprob_sizes(&reference_hidden, &reference_head),
        };
        let (exact, k1) = kl::forward(policy, reference, &targets);
        (tensor(exact, [n.rows]), tensor(k1, [n.rows]))
    }

    fn fused_sample(hidden: FlexTensor, head: FlexTensor, uniforms: &[f64]) -> (FlexTensor, FlexTensor) {
        let [hidden, head] = [hidden, head].map(contiguous);
        let n = logprob_sizes(&hidden, &head);
        drawn(sample::forward(floats(&hidden), bare(&head), uniforms, n))
    }
}

impl Updates for Flex {
    fn fused_adamw(
        parameter: FlexTensor,
        gradient: FlexTensor,
        first: FlexTensor,
        second: FlexTensor,
        rule: AdamW,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let [parameter, gradient] = [parameter, gradient].map(contiguous);
        let [mut first, mut second] = [first, second].map(whole);
        let (p, g) = (floats(&parameter), floats(&gradient));
        let updated = optimizer::adamw(p, g, first.storage_mut(), second.storage_mut(), rule);
        (tensor(updated, dims::<1>(&parameter)), first, second)
    }

    fn fused_rmsprop(
        parameter: FlexTensor,
        gradient: FlexTensor,
        second: FlexTensor,
        rule: RmsProp,
    ) -> (FlexTensor, FlexTensor) {
        let [parameter, gradient] = [parameter, gradient].map(contiguous);
        let mut second = whole(second);
        let updated = optimizer::rmsprop(floats(&parameter), floats(&gradient), second.storage_mut(), rule);
        (tensor(updated, dims::<1>(&parameter)), second)
    }

    fn fused_sum_of_squares(x: FlexTensor) -> FlexTensor {
        tensor(vec![optimizer::sum_of_squares(floats(&contiguous(x))) as f32], [1])
    }
}

impl Gradients for Flex {
    /// The targets, and what the forward pass saved of the softmax.
    type Softmax = (Vec<usize>, Arc<logprob::Saved>);

    fn contiguous(tensor: FlexTensor) -> FlexTensor {
        contiguous(tensor)
    }

    fn linear_gradients(
        x: &FlexTensor,
        weight: &FlexTensor,
        g: &FlexTensor,
        needs: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let n = linear_sizes(x, weight);
        let g = floats(g);
        let dx = || linear::input_gradient(g, Weight::Plain(floats(weight)), n);
        let dw = || linear::weight_gradient(floats(x), g, n);
        [
            needs[0].then(|| tensor(dx(), [n.rows, n.inputs])),
            needs[1].then(|| tensor(dw(), [n.inputs, n.outputs])),
            needs[2].then(|| tensor(linear::bias_gradient(g, n), [n.outputs])),
        ]
    }

    fn layer_norm_gradients(
        x: &FlexTensor,
        gamma: &FlexTensor,
        eps: f64,
        g: &FlexTensor,
        needs: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let [rows, d] = dims(x);
        let grads = norm::backward(floats(x), floats(gamma), floats(g), eps as f32);
        [
            needs[0].then(|| tensor(grads.x, [rows, d])),
            needs[1].then(|| tensor(grads.gamma, [d])),
            needs[2].then(|| tensor(grads.beta, [d])),
        ]
    }

    fn gelu_gradient(x: &FlexTensor, g: &FlexTensor) -> FlexTensor {
        tensor(gelu::backward(floats(x), floats(g)), x.layout().shape().clone())
    }

    fn causal_attention_gradient(
        qkv: &FlexTensor,
        packing: &Packing,
        heads: Heads,
        g: &FlexTensor,
    ) -> FlexTensor {
        let n = attention_sizes(qkv, heads);
        tensor(attention::backward(floats(qkv), floats(g), packing, n), qkv.layout().shape().clone())
    }

    fn target_logprobs_saving(
        hidden: &FlexTensor,
        head: &FlexTensor,
        targets: FlexTensor,
    ) -> (FlexTensor, Self::Softmax) {
        let n = logprob_sizes(hidden, head);
        let targets = indices(&targets, n.vocab);
        let inputs = logprob::Inputs { hidden: floats(hidden), head: bare(head), targets: &targets, n };
        let (logprobs, softmax) = logprob::forward_saving(inputs);
        (tensor(logprobs, [n.rows]), (targets, Arc::new(softmax)))
    }

    fn target_logprobs_gradients(
        hidden: &FlexTensor,
        head: &FlexTensor,
        (targets, softmax): Self::Softmax,
        g: &FlexTensor,
        needs: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let n = logprob_sizes(hidden, head);
        let inputs = logprob::Inputs { hidden: floats(hidden), head: bare(head), targets: &targets, n };
        let [dh, dw, _] = logprob::backward(inputs, &softmax, floats(g), [needs[0], needs[1], false]);
        [dh.map(|h| tensor(h, [n.rows, n.d])), dw.map(|h| tensor(h, [n.vocab, n.d]))]
    }

    fn embedding_gradient(ids: &FlexTensor, rows: usize, g: &FlexTensor) -> FlexTensor {
        let [_, d] = dims(g);
        tensor(embedding::backward(floats(g), &indices(ids, rows), rows, d), [rows, d])
    }
}
