//! The same mathematics in burn's own tensor operations.
//!
//! It serves devices without kernels here (tch) and those whose kernels are switched off, and the tests
//! compare the kernels with it.

#![expect(clippy::needless_pass_by_value, reason = "tensors are handles, passed by value as in burn")]

use burn::tensor::{Bool, Int, Tensor, TensorData, activation, s};

use crate::output_head::OutputHead;
use crate::rotation::{Pairs, Rotation};
use crate::rules::Factors;
use crate::{Heads, Packing, RmsProp};

/// `y = x W + b`.
pub(crate) fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    x.matmul(weight) + bias.unsqueeze()
}

/// Layer normalisation over the last axis, with the biased variance.
pub(crate) fn layer_norm(x: Tensor<2>, gamma: Tensor<1>, beta: Tensor<1>, eps: f64) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(1);
    let variance = (centred.clone() * centred.clone()).mean_dim(1);
    centred / (variance + eps).sqrt() * gamma.unsqueeze() + beta.unsqueeze()
}

/// GPT-2's tanh form of GELU.
pub(crate) fn gelu(x: Tensor<2>) -> Tensor<2> {
    let cube = x.clone() * x.clone() * x.clone();
    let inner = (x.clone() + cube * 0.044_715) * (2.0 / std::f64::consts::PI).sqrt();
    x * 0.5 * (inner.tanh() + 1.0)
}

/// Root-mean-square normalisation over the last axis.
pub(crate) fn rms_norm(x: Tensor<2>, gamma: Tensor<1>, eps: f64) -> Tensor<2> {
    let mean_square = (x.clone() * x.clone()).mean_dim(1);
    x / (mean_square + eps).sqrt() * gamma.unsqueeze()
}

/// Rotary position embedding of the queries and keys of packed `q|k|v`.
pub(crate) fn rope(qkv: Tensor<2>, rotation: &Rotation, heads: Heads) -> Tensor<2> {
    let ([rows, _], head_dim) = (qkv.dims(), rotation.head_dim());
    let rotated = heads.queries + heads.keys;
    let angles = rotation.tensors(&qkv.device()).map(|angles| angles.unsqueeze_dim::<3>(1));
    let values = qkv.clone().slice(s![.., rotated * head_dim..]);
    let heads = qkv.slice(s![.., ..rotated * head_dim]).reshape([rows, rotated, head_dim]);
    let turned = match rotation.pairs() {
        Pairs::Halves => turned_halves(heads, angles),
        Pairs::Neighbours { .. } => turned_neighbours(heads, angles),
    };
    Tensor::cat(vec![turned.reshape([rows, rotated * head_dim]), values], 1)
}

/// Heads `[N, H, head_dim]` whose halves are rotated against each other, by angles `[N, 1, head_dim / 2]`.
fn turned_halves(heads: Tensor<3>, [cos, sin]: [Tensor<3>; 2]) -> Tensor<3> {
    let half = heads.dims()[2] / 2;
    let (a, b) = (heads.clone().slice(s![.., .., ..half]), heads.slice(s![.., .., half..]));
    let low = a.clone() * cos.clone() - b.clone() * sin.clone();
    Tensor::cat(vec![low, b * cos + a * sin], 2)
}

/// Heads `[N, H, head_dim]` whose first neighbours are rotated against each other, by angles
/// `[N, 1, rotated / 2]`.
fn turned_neighbours(heads: Tensor<3>, [cos, sin]: [Tensor<3>; 2]) -> Tensor<3> {
    let ([rows, count, head_dim], [_, _, half]) = (heads.dims(), cos.dims());
    let pairs = heads.clone().slice(s![.., .., ..2 * half]).reshape([rows, count, half, 2]);
    let (a, b) = (pairs.clone().slice(s![.., .., .., ..1]), pairs.slice(s![.., .., .., 1..]));
    let [cos, sin] = [cos, sin].map(|angles| angles.unsqueeze_dim::<4>(3));
    let first = a.clone() * cos.clone() - b.clone() * sin.clone();
    let turned = Tensor::cat(vec![first, b * cos + a * sin], 3).reshape([rows, count, 2 * half]);
    if 2 * half == head_dim {
        return turned;
    }
    Tensor::cat(vec![turned, heads.slice(s![.., .., 2 * half..])], 2)
}

/// The gate of a SwiGLU.
pub(crate) fn swiglu(gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    activation::silu(gate) * up
}

/// Heads `from..from + count` of packed rows `[.., packed]`, as `[S, count, T, head_dim]`, each of them
/// repeated for the heads that share it.
fn split_heads(packed: &Tensor<3>, from: usize, count: usize, head_dim: usize, repeat: usize) -> Tensor<4> {
    let [sequences, time, _] = packed.dims();
    let heads: Tensor<4> = packed
        .clone()
        .slice(s![.., .., from * head_dim..(from + count) * head_dim])
        .reshape([sequences, time, count, head_dim])
        .swap_dims(1, 2);
    shared(heads, repeat)
}

/// Every head `[S, H, T, head_dim]` followed by its copies.
fn shared(heads: Tensor<4>, repeat: usize) -> Tensor<4> {
    let [sequences, count, time, head_dim] = heads.dims();
    if repeat == 1 {
        return heads;
    }
    heads.unsqueeze_dim::<5>(2).repeat_dim(2, repeat).reshape([sequences, count * repeat, time, head_dim])
}

/// Causal self-attention on packed `q|k|v`: the sequences are padded at the end to `[S, T]`, and the packed
/// rows are read back.
pub(crate) fn causal_attention(qkv: Tensor<2>, packing: &Packing, heads: Heads) -> Tensor<2> {
    let ([_, packed], device) = (qkv.dims(), qkv.device());
    let Heads { queries, keys } = heads;
    let head_dim = packed / heads.packed();
    let d = queries * head_dim;
    let sequences = packing.sequences();
    let time = sequences.iter().map(Vec::len).max().unwrap_or(0);
    if time == 0 {
        return Tensor::zeros([0, d], &device);
    }
    let mut padded = vec![0_i32; sequences.len() * time];
    let mut place = vec![0_i32; packing.rows()];
    for (rows, (s, padded)) in sequences.iter().zip(padded.chunks_exact_mut(time).enumerate()) {
        for (t, &row) in rows.iter().enumerate() {
            padded[t] = row as i32;
            place[row] = (s * time + t) as i32;
        }
    }
    let index = |values: Vec<i32>| {
        let count = values.len();
        Tensor::<1, Int>::from_data(TensorData::new(values, [count]), &device)
    };
    let qkv = qkv.select(0, index(padded)).reshape([sequences.len(), time, packed]);
    let q = split_heads(&qkv, 0, queries, head_dim, 1);
    let [k, v] =
        [queries, queries + keys].map(|from| split_heads(&qkv, from, keys, head_dim, queries / keys));
    let scores = q.matmul(k.swap_dims(2, 3)) * (head_dim as f64).powf(-0.5);
    // `tril_mask` is true above the diagonal, which is what `mask_fill` has to hide.
    let future = Tensor::<2, Bool>::tril_mask([time, time], 0, &device);
    let scores = scores.mask_fill(future.unsqueeze(), f32::NEG_INFINITY);
    let weights = activation::softmax(scores, 3);
    weights.matmul(v).swap_dims(1, 2).reshape([sequences.len() * time, d]).select(0, index(place))
}

/// Log-probability of each row's target under the output head.
pub(crate) fn target_logprobs(hidden: Tensor<2>, head: OutputHead, targets: Tensor<1, Int>) -> Tensor<1> {
    activation::log_softmax(head.logits(hidden), 1).gather(1, targets.unsqueeze_dim(1)).squeeze_dim(1)
}

/// Rows of a table.
pub(crate) fn embedding(table: Tensor<2>, ids: Tensor<1, Int>) -> Tensor<2> {
    table.select(0, ids)
}

/// One AdamW step.
pub(crate) fn adamw(
    parameter: Tensor<1>,
    gradient: Tensor<1>,
    [first, second]: [Tensor<1>; 2],
    rule: Factors,
) -> (Tensor<1>, [Tensor<1>; 2]) {
    let g = gradient * rule.gradient_scale;
    let first = first * rule.beta1 + g.clone() * (1.0 - rule.beta1);
    let second = second * rule.beta2 + g.square() * (1.0 - rule.beta2);
    let step = first.clone() * rule.rate / (second.clone().sqrt() * rule.root + rule.epsilon);
    (parameter * rule.keep - step, [first, second])
}

/// One RMSprop step.
pub(crate) fn rmsprop(
    parameter: Tensor<1>,
    gradient: Tensor<1>,
    second: Tensor<1>,
    rule: RmsProp,
) -> (Tensor<1>, Tensor<1>) {
    let g = gradient * rule.gradient_scale;
    let second = second * rule.alpha + g.clone().square() * (1.0 - rule.alpha);
    let step = g * rule.learning_rate / (second.clone().sqrt() + rule.epsilon);
    (parameter - step, second)
}

/// Attention of one new token per sequence over the cache.
pub(crate) fn decode_attention(
    qkv: Tensor<2>,
    keys: Tensor<4>,
    values: Tensor<4>,
    position: usize,
    heads: Heads,
) -> (Tensor<2>, Tensor<4>, Tensor<4>) {
    let [batch, packed] = qkv.dims();
    let head_dim = packed / heads.packed();
    let (d, repeat) = (heads.queries * head_dim, heads.queries / heads.keys);
    let qkv = qkv.unsqueeze_dim::<3>(1);
    let part = |from: usize, count: usize| split_heads(&qkv, from, count, head_dim, 1);
    let at = s![.., .., position..=position, ..];
    let keys = keys.slice_assign(at, part(heads.queries, heads.keys));
    let values = values.slice_assign(at, part(heads.queries + heads.keys, heads.keys));
    let seen = |cache: &Tensor<4>| shared(cache.clone().slice(s![.., .., 0..=position, ..]), repeat);
    let scores = part(0, heads.queries).matmul(seen(&keys).swap_dims(2, 3)) * (head_dim as f64).powf(-0.5);
    let out = activation::softmax(scores, 3).matmul(seen(&values)).reshape([batch, d]);
    (out, keys, values)
}

/// Exact KL and its estimate k1 per row, a chunk of rows at a time.
pub(crate) fn token_kl(
    hidden: Tensor<2>,
    head: OutputHead,
    reference_hidden: Tensor<2>,
    reference_head: OutputHead,
    targets: Tensor<1, Int>,
) -> (Tensor<1>, Tensor<1>) {
    const ROWS: usize = 512;
    let [count] = targets.dims();
    let rows = |start: usize| {
        let range = start..(start + ROWS).min(count);
        let logprobs = |hidden: &Tensor<2>, head: &OutputHead| {
            activation::log_softmax(head.clone().logits(hidden.clone().slice(s![range.clone(), ..])), 1)
        };
        let p = logprobs(&hidden, &head);
        let ratio = p.clone() - logprobs(&reference_hidden, &reference_head);
        let targets: Tensor<2, Int> = targets.clone().slice(s![range.clone()]).unsqueeze_dim(1);
        let k1: Tensor<1> = ratio.clone().gather(1, targets).squeeze_dim(1);
        ((p.exp() * ratio).sum_dim(1).squeeze_dim(1), k1)
    };
    let (exact, k1) = (0..count.max(1)).step_by(ROWS).map(rows).unzip();
    (Tensor::cat(exact, 0), Tensor::cat(k1, 0))
}

/// Draws one token per row. The search runs on the host, in f64: a cumulative sum in f32 would be as coarse
/// as a rare token's probability.
pub(crate) fn sample(hidden: Tensor<2>, head: OutputHead, uniforms: &[f64]) -> (Tensor<1, Int>, Tensor<1>) {
    let device = hidden.device();
    let [vocab, _] = head.weight.dims();
    let logits: Vec<f32> = head.logits(hidden).into_data().iter().collect();
    let draw = |(logits, &uniform): (&[f32], &f64)| {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weights: Vec<f32> = logits.iter().map(|&logit| (logit - max).exp()).collect();
        let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        let mut left = uniform * total;
        // Rounding can leave a sliver after the last index with any weight: that index takes it.
        let mut chosen = 0;
        for (index, &weight) in weights.iter().enumerate() {
            if weight > 0.0 {
                chosen = index;
                left -= f64::from(weight);
                if left < 0.0 {
                    break;
                }
            }
        }
        (chosen as i32, (f64::from(logits[chosen] - max) - total.ln()) as f32)
    };
    let (tokens, logprobs): (Vec<i32>, Vec<f32>) = logits.chunks_exact(vocab).zip(uniforms).map(draw).unzip();
    let rows = [uniforms.len()];
    (
        Tensor::from_data(TensorData::new(tokens, rows), &device),
        Tensor::from_data(TensorData::new(logprobs, rows), &device),
    )
}
