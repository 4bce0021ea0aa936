//! Decoding with a cache against attention over the whole sequence.

#![expect(clippy::unwrap_used, reason = "tests may panic")]

mod support;

use burn::tensor::{Tensor, s};
use fused::Heads;
use support::{distance, switched, wave};

const BATCH: usize = 3;
const TIME: usize = 37;

/// Decodes a whole sequence token by token and puts the outputs together.
fn decoded(qkv: &Tensor<3>, heads: Heads, head_dim: usize) -> Vec<f32> {
    let (d, packed) = (heads.queries * head_dim, heads.packed() * head_dim);
    let cache = Tensor::<4>::zeros([BATCH, heads.keys, TIME + 2, head_dim], &qkv.device());
    let (mut keys, mut values) = (cache.clone(), cache);
    let mut rows = Vec::new();
    for t in 0..TIME {
        let token = qkv.clone().slice(s![.., t..=t, ..]).reshape([BATCH, packed]);
        let (out, k, v) = fused::decode_attention(token, keys, values, t, heads);
        (keys, values) = (k, v);
        rows.push(out.reshape([BATCH, 1, d]));
    }
    Tensor::cat(rows, 1).into_data().try_to_vec::<f32>().unwrap()
}

#[test]
fn decoding_equals_attention_over_the_sequence() {
    let grouped = |queries, keys| Heads { queries, keys };
    for (heads, head_dim) in
        [(grouped(1, 1), 1), (grouped(3, 3), 5), (grouped(2, 2), 32), (grouped(6, 2), 8), (grouped(3, 1), 5)]
    {
        let packed = heads.packed() * head_dim;
        let data = wave(BATCH * TIME * packed, 1.0, 0.0);
        let qkv =
            Tensor::<1>::from_floats(data.as_slice(), &support::device()).reshape([BATCH, TIME, packed]);
        for enabled in [true, false] {
            let _guard = switched(enabled);
            let flat = qkv.clone().reshape([BATCH * TIME, packed]);
            let whole = fused::causal_attention(flat, &fused::Packing::equal(BATCH, TIME), heads);
            let whole = whole.into_data().try_to_vec::<f32>().unwrap();
            let d = distance(&decoded(&qkv, heads, head_dim), &whole);
            assert!(d < 1e-5, "fused {enabled}, {heads:?} of {head_dim}: differ by {d}");
        }
    }
}

#[test]
fn a_cache_with_another_owner_is_left_alone() {
    let _guard = switched(true);
    let qkv = Tensor::<2>::ones([2, 6], &support::device());
    let cache = Tensor::<4>::zeros([2, 1, 4, 2], &support::device());
    let (_, keys, values) = fused::decode_attention(qkv, cache.clone(), cache.clone(), 1, 1);
    assert!(cache.into_data().try_to_vec::<f32>().unwrap().iter().all(|&v| v == 0.0));
    for cache in [keys, values] {
        // One position of two elements for each of two sequences.
        assert!((cache.sum().into_scalar::<f32>() - 4.0).abs() < 1e-6);
    }
}

#[test]
#[should_panic(expected = "position 4 is not in a cache of 4 positions")]
fn a_full_cache_is_refused() {
    let cache = Tensor::<4>::zeros([2, 1, 4, 2], &support::device());
    let qkv = Tensor::<2>::ones([2, 6], &support::device());
    let _ = fused::decode_attention(qkv, cache.clone(), cache, 4, 1);
}
