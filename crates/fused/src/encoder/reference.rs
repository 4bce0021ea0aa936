//! The same mathematics in burn's own tensor operations, as in [`crate::reference`].

use std::ops::Range;

use burn::tensor::{Bool, Int, Tensor, TensorData, activation, s};

/// `x Phi(x)`.
pub(super) fn erf_gelu(x: Tensor<2>) -> Tensor<2> {
    let cumulative = ((x.clone() * std::f64::consts::FRAC_1_SQRT_2).erf() + 1.0) * 0.5;
    x * cumulative
}

/// Self-attention on packed `q|k|v` without a causal mask: the sequences are padded at the end to `[S, T]`, a
/// mask hides the keys of the padding, and the packed rows are read back.
pub(super) fn bidirectional_attention(qkv: Tensor<2>, sequences: &[Range<usize>], heads: usize) -> Tensor<2> {
    let ([rows, packed], device) = (qkv.dims(), qkv.device());
    let (d, count) = (packed / 3, sequences.len());
    let head_dim = d / heads;
    let time = sequences.iter().map(Range::len).max().unwrap_or(0);
    if time == 0 {
        return Tensor::zeros([0, d], &device);
    }
    let mut padded = vec![0_i32; count * time];
    let mut is_padding = vec![true; count * time];
    let mut place = vec![0_i32; rows];
    for (s, rows) in sequences.iter().enumerate() {
        for (t, row) in rows.clone().enumerate() {
            padded[s * time + t] = row as i32;
            is_padding[s * time + t] = false;
            place[row] = (s * time + t) as i32;
        }
    }
    let index = |values: Vec<i32>| {
        let count = values.len();
        Tensor::<1, Int>::from_data(TensorData::new(values, [count]), &device)
    };
    let qkv = qkv.select(0, index(padded)).reshape([count, time, packed]);
    let split = |i: usize| -> Tensor<4> {
        qkv.clone()
            .slice(s![.., .., i * d..(i + 1) * d])
            .reshape([count, time, heads, head_dim])
            .swap_dims(1, 2)
    };
    let (q, k, v) = (split(0), split(1), split(2));
    let scores = q.matmul(k.swap_dims(2, 3)) * (head_dim as f64).powf(-0.5);
    let hidden = TensorData::new(is_padding, [count, 1, 1, time]);
    let hidden = Tensor::<4, Bool>::from_data(hidden, &device).expand([count, heads, time, time]);
    let weights = activation::softmax(scores.mask_fill(hidden, f32::NEG_INFINITY), 3);
    weights.matmul(v).swap_dims(1, 2).reshape([count * time, d]).select(0, index(place))
}
