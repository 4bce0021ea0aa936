//! The keys and values that a decoder remembers while it writes.

use burn::tensor::{Int, Tensor};
use fused::Heads;

/// Keys and values of the positions seen so far, one preallocated pair
/// `[B, heads of keys, capacity, head_dim]` per block.
#[derive(Debug)]
pub struct KvCache {
    pub(super) layers: Vec<(Tensor<4>, Tensor<4>)>,
    pub(super) position: usize,
}

impl KvCache {
    /// The keys and values of a block's packed `q|k|v` `[B T, (queries + 2 keys) head_dim]`, for B sequences
    /// of T positions, with room for `capacity`.
    pub(super) fn of_prompts(
        qkv: &Tensor<2>,
        [batch, time]: [usize; 2],
        heads: Heads,
        capacity: usize,
    ) -> (Tensor<4>, Tensor<4>) {
        let [rows, packed] = qkv.dims();
        let head_dim = packed / heads.packed();
        let part = |from: usize| {
            let columns = from * head_dim..(from + heads.keys) * head_dim;
            let split = qkv.clone().slice([0..rows, columns]).reshape([batch, time, heads.keys, head_dim]);
            Tensor::zeros([batch, heads.keys, capacity, head_dim], &qkv.device())
                .slice_assign([0..batch, 0..heads.keys, 0..time, 0..head_dim], split.swap_dims(1, 2))
        };
        (part(heads.queries), part(heads.queries + heads.keys))
    }

    /// Keeps only the given rows, in that order; sequences that ended leave the decode batch.
    pub fn keep(&mut self, rows: &Tensor<1, Int>) {
        for (keys, values) in &mut self.layers {
            *keys = keys.clone().select(0, rows.clone());
            *values = values.clone().select(0, rows.clone());
        }
    }
}
