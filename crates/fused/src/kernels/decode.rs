//! Attention of one new token per sequence over a cache.

use super::pieces;
use super::simd::{LANES, dot, exp_sum, max, mul_add, multiversion};
use crate::heads::Heads;

/// Sizes of the cache and of the new token's projections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    pub(crate) heads: Heads,
    pub(crate) capacity: usize,
    pub(crate) head_dim: usize,
}

/// Copies part `part` of packed `q|k|v` rows (1 for keys, 2 for values) into the cache at
/// `position`.
pub(crate) fn store(qkv: &[f32], part: usize, cache: &mut [f32], position: usize, n: Sizes) {
    let Heads { queries, keys } = n.heads;
    let sequence = n.capacity * n.head_dim;
    for (i, cache) in cache.chunks_exact_mut(sequence).enumerate() {
        let column = queries + (part - 1) * keys + i % keys;
        let from = (i / keys * n.heads.packed() + column) * n.head_dim;
        let at = position * n.head_dim;
        cache[at..at + n.head_dim].copy_from_slice(&qkv[from..from + n.head_dim]);
    }
}

/// Attention output `[batch, d]` over positions `0..=position`.
pub(crate) fn attend(qkv: &[f32], keys: &[f32], values: &[f32], position: usize, n: Sizes) -> Vec<f32> {
    let d = n.heads.queries * n.head_dim;
    let seen = position + 1;
    let scale = 1.0 / (n.head_dim as f32).sqrt();
    let mut out = vec![0.0; n.batch * d];
    pieces::chunks(&mut out, d, |sequence, out| {
        pieces::scratch(seen.next_multiple_of(LANES), |scores| {
            for (head, out) in out.chunks_exact_mut(n.head_dim).enumerate() {
                let q = (sequence * n.heads.packed() + head) * n.head_dim;
                let start = (sequence * n.heads.keys + n.heads.key_of(head)) * n.capacity * n.head_dim;
                let cached = start..start + seen * n.head_dim;
                let q = &qkv[q..q + n.head_dim];
                one_head(q, &keys[cached.clone()], &values[cached], scale, scores, out);
            }
        });
    });
    out
}

multiversion! {
    /// Adds one head's attention to `out`; `scores` is scratch, padded to whole vectors.
    fn one_head(q: &[f32], keys: &[f32], values: &[f32], scale: f32, scores: &mut [f32], out: &mut [f32]) = one_head_body
}

#[inline(always)]
fn one_head_body<const FMA: bool>(
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    scale: f32,
    scores: &mut [f32],
    out: &mut [f32],
) {
    let head_dim = q.len();
    let seen = keys.len() / head_dim;
    for (score, key) in scores.iter_mut().zip(keys.chunks_exact(head_dim)) {
        *score = dot::<FMA>(q, key);
    }
    scores[seen..].fill(f32::NEG_INFINITY);
    let top = max(scores);
    let inverse = 1.0 / exp_sum::<FMA>(scores, top, scale);
    for (score, value) in scores.iter().zip(values.chunks_exact(head_dim)) {
        let weight = score * inverse;
        for (out, v) in out.iter_mut().zip(value) {
            *out = mul_add::<FMA>(weight, *v, *out);
        }
    }
}
