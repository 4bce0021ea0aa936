//! Causal multi-head self-attention on packed `q|k|v`, with as many heads of keys and values as of queries or
//! fewer, each of them shared by a group of query heads.
//!
//! One piece of work is one head of one prefix tree forward, and backward the query heads that share
//! one head of keys, so that the gradients of keys and of a shared prefix are added in a fixed order.
//! Scores are computed in bands of rows, each only as wide as its last row can see, so that most of the
//! masked half is never computed.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::matrix::{Matrix, MatrixMut, Shared, product};
use super::pieces;
use super::simd::{LANES, exp, fold, mul_add, multiversion};
use crate::heads::Heads;
use crate::packing::{Packing, Segment};

/// Rows of a band.
const BAND: usize = 32;

/// Sizes of an attention layer's operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) heads: Heads,
    pub(crate) head_dim: usize,
}

impl Sizes {
    /// Columns of the queries, and of the output.
    fn d(self) -> usize {
        self.heads.queries * self.head_dim
    }

    /// Columns of the packed projections.
    fn packed(self) -> usize {
        self.heads.packed() * self.head_dim
    }

    /// The first columns of the key and of the value that a query head reads.
    fn key_and_value(self, head: usize) -> [usize; 2] {
        let key = self.heads.queries + self.heads.key_of(head);
        [key * self.head_dim, (key + self.heads.keys) * self.head_dim]
    }

    fn scale(self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }
}

/// One head of one segment: its rows of q, and contiguous copies of the keys and values that they see, those
/// of the prefix first.
struct Head<'a> {
    q: Matrix<'a>,
    keys: &'a [f32],
    values: &'a [f32],
    segment: &'a Segment,
    n: Sizes,
}

impl<'a> Head<'a> {
    /// Copies keys and values into `memory`, of [`Head::copied`] elements.
    fn new(qkv: &'a [f32], segment: &'a Segment, head: usize, n: Sizes, memory: &'a mut [f32]) -> Self {
        let packed = n.packed();
        let [key_at, value_at] = n.key_and_value(head);
        let rows = segment.prefix.clone().chain(segment.own.clone());
        let (keys, values) = memory.split_at_mut(Self::copied(segment, n) / 2);
        let places = keys.chunks_exact_mut(n.head_dim).zip(values.chunks_exact_mut(n.head_dim));
        for (row, (key, value)) in rows.zip(places) {
            key.copy_from_slice(&qkv[row * packed + key_at..][..n.head_dim]);
            value.copy_from_slice(&qkv[row * packed + value_at..][..n.head_dim]);
        }
        let first = segment.own.start * packed + head * n.head_dim;
        let q = Matrix::new(&qkv[first.min(qkv.len())..], segment.own.len(), n.head_dim, packed);
        Self { q, keys, values, segment, n }
    }

    fn copied(segment: &Segment, n: Sizes) -> usize {
        2 * (segment.prefix.len() + segment.own.len()) * n.head_dim
    }

    /// Keys that come before the segment's own.
    fn before(&self) -> usize {
        self.segment.prefix.len()
    }

    /// Row stride of the score matrices, padded so that every row is whole vectors.
    fn stride(segment: &Segment) -> usize {
        (segment.prefix.len() + segment.own.len()).next_multiple_of(LANES)
    }

    fn bands(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let rows = self.segment.own.len();
        (0..rows).step_by(BAND).map(move |start| start..(start + BAND).min(rows))
    }

    fn rows(&self, data: &'a [f32], range: Range<usize>) -> Matrix<'a> {
        let width = self.n.head_dim;
        Matrix::dense(&data[range.start * width..range.end * width], range.len(), width)
    }

    /// Writes the attention weights, zero above the diagonal.
    fn probabilities(&self, weights: &mut [f32]) {
        let (stride, before) = (Self::stride(self.segment), self.before());
        for band in self.bands() {
            let seen = before + band.end;
            let weights = &mut weights[band.start * stride..band.end * stride];
            let out = MatrixMut::new(weights, band.len(), seen, stride);
            product(out, self.q.rows(band.clone()), self.rows(self.keys, 0..seen).t(), false);
            softmax(weights, before + band.start, stride, self.n.scale());
        }
    }
}

/// `softmax(mask(q k^T) / sqrt(head_dim)) v`, `[N, d]`.
pub(crate) fn forward(qkv: &[f32], packing: &Packing, n: Sizes) -> Vec<f32> {
    let d = n.d();
    let fill = |out: &mut [MaybeUninit<f32>]| {
        let out = Shared::new(out);
        pieces::each(packing.trees().len() * n.heads.queries, |piece| {
            let (tree, head) = (&packing.trees()[piece / n.heads.queries], piece % n.heads.queries);
            for segment in tree.segments() {
                let stride = Head::stride(&segment);
                let scores = segment.own.len() * stride;
                pieces::scratch(scores + Head::copied(&segment, n), |memory| {
                    let (weights, copies) = memory.split_at_mut(scores);
                    let parts = Head::new(qkv, &segment, head, n, copies);
                    parts.probabilities(weights);
                    for band in parts.bands() {
                        let seen = parts.before() + band.end;
                        let weights = Matrix::new(&weights[band.start * stride..], band.len(), seen, stride);
                        let offset = (segment.own.start + band.start) * d + head * n.head_dim;
                        // SAFETY: a piece writes only its head's columns of its tree's rows.
                        let out = unsafe { out.block(offset, band.len(), n.head_dim, d) };
                        product(out, weights, parts.rows(parts.values, 0..seen), false);
                    }
                });
            }
        });
    };
    // SAFETY: heads, prefix trees, segments and bands cover the whole output.
    unsafe { pieces::buffer(packing.rows() * d, fill) }
}

/// Gradient with respect to `qkv`, given that of the output. The weights P are recomputed.
///
/// `dV = P^T dO`, `dP = dO V^T`, `dS = P (dP - rowsum(P dP)) / sqrt(head_dim)`, `dQ = dS K`,
/// `dK = dS^T Q`.
pub(crate) fn backward(qkv: &[f32], g: &[f32], packing: &Packing, n: Sizes) -> Vec<f32> {
    assert_eq!(g.len() * n.packed(), qkv.len() * n.d(), "gradient and input differ in size");
    let fill = |out: &mut [MaybeUninit<f32>]| {
        let out = Shared::new(out);
        pieces::each(packing.trees().len() * n.heads.keys, |piece| {
            let (tree, key) = (&packing.trees()[piece / n.heads.keys], piece % n.heads.keys);
            for segment in tree.segments() {
                let scores = segment.own.len() * Head::stride(&segment);
                let copied = Head::copied(&segment, n);
                for head in n.heads.queries_of(key) {
                    pieces::scratch(2 * (scores + copied), |memory| {
                        let (scores, copies) = memory.split_at_mut(2 * scores);
                        let (copies, gradients) = copies.split_at_mut(copied);
                        let parts = Head::new(qkv, &segment, head, n, copies);
                        segment_backward(&parts, g, head, scores, gradients, &out);
                    });
                }
            }
        });
    };
    // SAFETY: heads, prefix trees and segments cover the whole gradient, and each writes dq of its own rows,
    // and dk and dv of these with the first head of its group.
    unsafe { pieces::buffer(qkv.len(), fill) }
}

/// Backward of one head of one segment; `memory` and `gradients` are scratch.
fn segment_backward(
    parts: &Head,
    g: &[f32],
    head: usize,
    memory: &mut [f32],
    gradients: &mut [f32],
    out: &Shared,
) {
    let (n, before, stride) = (parts.n, parts.before(), Head::stride(parts.segment));
    let packed = n.packed();
    let (d, start) = (n.d(), parts.segment.own.start);
    let (weights, scores) = memory.split_at_mut(memory.len() / 2);
    let g = Matrix::new(&g[(start * d + head * n.head_dim).min(g.len())..], parts.q.len(), n.head_dim, d);
    parts.probabilities(weights);
    for band in parts.bands() {
        let seen = before + band.end;
        let rows = band.start * stride..band.end * stride;
        let scores = &mut scores[rows.clone()];
        let gradient = MatrixMut::new(scores, band.len(), seen, stride);
        product(gradient, g.rows(band.clone()), parts.rows(parts.values, 0..seen).t(), false);
        softmax_backward(&weights[rows], scores, before + band.start, stride, n.scale());
        let scores = Matrix::new(scores, band.len(), seen, stride);
        let offset = (start + band.start) * packed + head * n.head_dim;
        // SAFETY: a piece writes only its heads' columns of its tree's rows.
        let dq = unsafe { out.block(offset, band.len(), n.head_dim, packed) };
        product(dq, scores, parts.rows(parts.keys, 0..seen), false);
    }
    // Each of the segment's own keys is seen only from its own row on, so the rows of a band of keys start
    // with the band.
    let (dk, dv) = gradients.split_at_mut(gradients.len() / 2);
    for band in parts.bands() {
        let keys = if band.start == 0 { 0 } else { before + band.start }..before + band.end;
        let below = band.start..parts.q.len();
        let place = band.start * stride + keys.start;
        for (gradient, weights, x) in [(&mut *dk, &*scores, parts.q), (&mut *dv, &*weights, g)] {
            let out = &mut gradient[keys.start * n.head_dim..keys.end * n.head_dim];
            let out = MatrixMut::new(out, keys.len(), n.head_dim, n.head_dim);
            let weights = Matrix::new(&weights[place..], below.len(), keys.len(), stride);
            product(out, weights.t(), x.rows(below.clone()), false);
        }
    }
    let is_first = n.heads.queries_of(n.heads.key_of(head)).start == head;
    for (column, gradient) in n.key_and_value(head).into_iter().zip([dk, dv]) {
        let (prefix, own) = gradient.split_at(before * n.head_dim);
        let row = |row: usize| {
            let at = row * packed + column;
            // SAFETY: as above; one row at a time.
            unsafe { out.slice(at..at + n.head_dim) }
        };
        let add = |at: usize, values: &[f32]| {
            // SAFETY: the callers add to rows that were written before.
            let sum = unsafe { pieces::written(row(at)) };
            for (sum, value) in sum.iter_mut().zip(values) {
                *sum += value;
            }
        };
        for (at, values) in parts.segment.own.clone().zip(own.chunks_exact(n.head_dim)) {
            // The first head of a group writes, the others add to what it wrote.
            if is_first {
                row(at).write_copy_of_slice(values);
            } else {
                add(at, values);
            }
        }
        // The prefix is a segment of its own, and its gradients were written first.
        for (at, values) in parts.segment.prefix.clone().zip(prefix.chunks_exact(n.head_dim)) {
            add(at, values);
        }
    }
}

multiversion! {
    /// Softmax of rows `first, first + 1, ...`, each over the columns up to its own index.
    fn softmax(rows: &mut [f32], first: usize, stride: usize, scale: f32) = softmax_body
}
multiversion! {
    /// Turns the gradient of the weights into that of the scores before scaling.
    fn softmax_backward(weights: &[f32], scores: &mut [f32], first: usize, stride: usize, scale: f32) = softmax_backward_body
}

// Columns beyond the diagonal may hold anything, even NaN. They are masked in registers, because a store of a
// few elements would stall the wide load that reads them next. Up to the end of the row they come out as
// zeros.

#[inline(always)]
fn softmax_body<const FMA: bool>(rows: &mut [f32], first: usize, stride: usize, scale: f32) {
    for (i, row) in rows.chunks_exact_mut(stride).enumerate() {
        let seen = first + i + 1;
        let (chunks, _) = row.as_chunks_mut::<LANES>();
        let (chunks, unseen) = chunks.split_at_mut(seen.div_ceil(LANES));
        let mut top = [f32::NEG_INFINITY; LANES];
        for (c, chunk) in chunks.iter().enumerate() {
            for i in 0..LANES {
                let x = if c * LANES + i < seen { chunk[i] } else { f32::NEG_INFINITY };
                top[i] = if x > top[i] { x } else { top[i] };
            }
        }
        let top = fold(&top, |a, b| if b > a { b } else { a });
        let mut total = [0.0; LANES];
        for (c, chunk) in chunks.iter_mut().enumerate() {
            for i in 0..LANES {
                let e = exp::<FMA>((chunk[i] - top) * scale);
                chunk[i] = if c * LANES + i < seen { e } else { 0.0 };
                total[i] += chunk[i];
            }
        }
        let inverse = 1.0 / fold(&total, |a, b| a + b);
        for chunk in chunks {
            for w in chunk {
                *w *= inverse;
            }
        }
        unseen.as_flattened_mut().fill(0.0);
    }
}

#[inline(always)]
fn softmax_backward_body<const FMA: bool>(
    weights: &[f32],
    scores: &mut [f32],
    first: usize,
    stride: usize,
    scale: f32,
) {
    let rows = weights.chunks_exact(stride).zip(scores.chunks_exact_mut(stride));
    for (i, (weights, scores)) in rows.enumerate() {
        let seen = first + i + 1;
        let (weights, _) = weights.as_chunks::<LANES>();
        let (scores, _) = scores.as_chunks_mut::<LANES>();
        let (scores, unseen) = scores.split_at_mut(seen.div_ceil(LANES));
        let mut total = [0.0; LANES];
        for (c, (s, w)) in scores.iter_mut().zip(weights).enumerate() {
            for i in 0..LANES {
                s[i] = if c * LANES + i < seen { s[i] } else { 0.0 };
                total[i] = mul_add::<FMA>(w[i], s[i], total[i]);
            }
        }
        let mean = fold(&total, |a, b| a + b);
        for (s, w) in scores.iter_mut().zip(weights) {
            for i in 0..LANES {
                s[i] = w[i] * scale * (s[i] - mean);
            }
        }
        unseen.as_flattened_mut().fill(0.0);
    }
}
