//! The same mathematics in burn's own tensor operations.
//!
//! It serves devices without kernels here (tch) and those whose kernels are switched off, and the tests
//! compare the kernels with it.

#![expect(clippy::needless_pass_by_value, reason = "tensors are handles, passed by value as in burn")]

use burn::tensor::{Bool, Int, Tensor, TensorData, activation, s};

use crate::rules::Factors;
use crate::{Packing, RmsProp};

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

/// Causal self-attention on packed `q|k|v`: the sequences are padded at the end to `[S, T]`, and the packed
/// rows are read back.
pub(crate) fn causal_attention(qkv: Tensor<2>, packing: &Packing, heads: usize) -> Tensor<2> {
    let ([_, packed], device) = (qkv.dims(), qkv.device());
    let d = packed / 3;
    let head_dim = d / heads;
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
    let split = |i: usize| -> Tensor<4> {
        qkv.clone()
            .slice(s![.., .., i * d..(i + 1) * d])
            .reshape([sequences.len(), time, heads, head_dim])
            .swap_dims(1, 2)
    };
    let (q, k, v) = (split(0), split(1), split(2));
    let scores = q.matmul(k.swap_dims(2, 3)) * (head_dim as f64).powf(-0.5);
    // `tril_mask` is true above the diagonal, which is what `mask_fill` has to hide.
    let future = Tensor::<2, Bool>::tril_mask([time, time], 0, &device);
    let scores = scores.mask_fill(future.unsqueeze(), f32::NEG_INFINITY);
    let weights = activation::softmax(scores, 3);
    weights.matmul(v).swap_dims(1, 2).reshape([sequences.len() * time, d]).select(0, index(place))
}

/// Log-probability of each row's target under the tied output head.
pub(crate) fn target_logprobs(hidden: Tensor<2>, head: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let logits = hidden.matmul(head.transpose());
    activation::log_softmax(logits, 1).gather(1, targets.unsqueeze_dim(1)).squeeze_dim(1)
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
    heads: usize,
) -> (Tensor<2>, Tensor<4>, Tensor<4>) {
    let [batch, packed] = qkv.dims();
    let d = packed / 3;
    let head_dim = d / heads;
    let split = |i: usize| -> Tensor<4> {
        qkv.clone().slice(s![.., i * d..(i + 1) * d]).reshape([batch, heads, 1, head_dim])
    };
    let at = s![.., .., position..=position, ..];
    let keys = keys.slice_assign(at, split(1));
    let values = values.slice_assign(at, split(2));
    let seen = s![.., .., 0..=position, ..];
    let scores = split(0).matmul(keys.clone().slice(seen).swap_dims(2, 3)) * (head_dim as f64).powf(-0.5);
    let out = activation::softmax(scores, 3).matmul(values.clone().slice(seen)).reshape([batch, d]);
    (out, keys, values)
}

/// Exact KL and its estimate k1 per row, a chunk of rows at a time.
pub(crate) fn token_kl(
    hidden: Tensor<2>,
    head: Tensor<2>,
    reference_hidden: Tensor<2>,
    reference_head: Tensor<2>,
    targets: Tensor<1, Int>,
) -> (Tensor<1>, Tensor<1>) {
    const ROWS: usize = 512;
    let [count] = targets.dims();
    let rows = |start: usize| {
        let range = start..(start + ROWS).min(count);
        let logprobs = |hidden: &Tensor<2>, head: &Tensor<2>| {
            activation::log_softmax(
                hidden.clone().slice(s![range.clone(), ..]).matmul(head.clone().transpose()),
                1,
            )
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
pub(crate) fn sample(hidden: Tensor<2>, head: Tensor<2>, uniforms: &[f64]) -> (Tensor<1, Int>, Tensor<1>) {
    let device = hidden.device();
    let [vocab, _] = head.dims();
    let logits: Vec<f32> = hidden.matmul(head.transpose()).into_data().iter().collect();
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
