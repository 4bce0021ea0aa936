//! The keys and values that a decoder remembers while it writes.

use burn::tensor::{Int, Tensor};

/// Keys and values of the positions seen so far, one preallocated pair `[B, H, capacity, d / H]` per block.
#[derive(Debug)]
pub struct KvCache {
    pub(super) layers: Vec<(Tensor<4>, Tensor<4>)>,
    pub(super) position: usize,
}

impl KvCache {
    /// Keeps only the given rows, in that order; sequences that ended leave the decode batch.
    pub fn keep(&mut self, rows: &Tensor<1, Int>) {
        for (keys, values) in &mut self.layers {
            *keys = keys.clone().select(0, rows.clone());
            *values = values.clone().select(0, rows.clone());
        }
    }
}
