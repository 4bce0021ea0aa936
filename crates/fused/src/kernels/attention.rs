//! Causal multi-head self-attention on packed `q|k|v`.
//!
//! One piece of work is one head of one sequence. Scores are made in bands of rows, each only as
//! wide as its last row may look back, so that most of the masked half is never computed.

use std::mem::MaybeUninit;

use super::matrix::{Matrix, MatrixMut, Shared, product};
use super::pieces;
use super::simd::{LANES, dot, exp_sum, max, mul_add, multiversion};

/// Rows of a band.
const BAND: usize = 32;

/// Sizes of an attention layer's operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    pub(crate) time: usize,
    pub(crate) heads: usize,
    pub(crate) head_dim: usize,
}

impl Sizes {
    fn d(self) -> usize {
        self.heads * self.head_dim
    }

    fn scale(self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// Row stride of the score matrices, padded so that every row is whole vectors.
    fn stride(self) -> usize {
        self.time.next_multiple_of(LANES)
    }

    fn bands(self) -> impl Iterator<Item = std::ops::Range<usize>> {
        (0..self.time).step_by(BAND).map(move |start| start..(start + BAND).min(self.time))
    }

    /// Offset of head `piece % heads` of sequence `piece / heads` in rows of `width` elements.
    fn offset(self, piece: usize, width: usize) -> usize {
        piece / self.heads * self.time * width + piece % self.heads * self.head_dim
    }
}

/// `[time, head_dim]` views of one head's q, k and v.
fn packed(qkv: &[f32], piece: usize, n: Sizes) -> [Matrix<'_>; 3] {
    let offset = n.offset(piece, 3 * n.d());
    [0, 1, 2].map(|i| Matrix::new(&qkv[offset + i * n.d()..], n.time, n.head_dim, 3 * n.d()))
}

/// `softmax(mask(q k^T) / sqrt(head_dim)) v`, `[batch, time, d]`.
pub(crate) fn forward(qkv: &[f32], n: Sizes) -> Vec<f32> {
    let (d, stride) = (n.d(), n.stride());
    let fill = |out: &mut [MaybeUninit<f32>]| {
        let out = Shared::new(out);
        pieces::each(n.batch * n.heads, |piece| {
            let [q, k, v] = packed(qkv, piece, n);
            pieces::scratch(n.time * stride, |weights| {
                probabilities(q, k, weights, n);
                for band in n.bands() {
                    let weights = Matrix::new(&weights[band.start * stride..], band.len(), band.end, stride);
                    let offset = n.offset(piece, d) + band.start * d;
                    // SAFETY: a piece writes only its head's columns of its sequence's rows.
                    let out = unsafe { out.block(offset, band.len(), n.head_dim, d) };
                    product(out, weights, v.rows(0..band.end), false);
                }
            });
        });
    };
    // SAFETY: heads, sequences and bands cover the whole output.
    unsafe { pieces::buffer(n.batch * n.time * d, fill) }
}

/// Gradient with respect to `qkv`, given that of the output. The weights P are computed again.
///
/// `dV = P^T dO`, `dP = dO V^T`, `dS = P (dP - rowsum(P dP)) / sqrt(head_dim)`, `dQ = dS K`,
/// `dK = dS^T Q`.
pub(crate) fn backward(qkv: &[f32], g: &[f32], n: Sizes) -> Vec<f32> {
    let (d, stride) = (n.d(), n.stride());
    assert_eq!(g.len() * 3, qkv.len(), "gradient and input differ in size");
    let fill = |out: &mut [MaybeUninit<f32>]| {
        let out = Shared::new(out);
        pieces::each(n.batch * n.heads, |piece| {
            let g = Matrix::new(&g[n.offset(piece, d)..], n.time, n.head_dim, d);
            pieces::scratch(2 * n.time * stride, |memory| {
                let (weights, scores) = memory.split_at_mut(n.time * stride);
                head_backward(packed(qkv, piece, n), g, weights, scores, &out, n.offset(piece, 3 * d), n);
            });
        });
    };
    // SAFETY: heads and sequences cover the whole gradient, and each writes dq, dk and dv.
    unsafe { pieces::buffer(qkv.len(), fill) }
}

/// Backward of one head; `weights` and `scores` are scratch.
fn head_backward(
    [q, k, v]: [Matrix; 3],
    g: Matrix,
    weights: &mut [f32],
    scores: &mut [f32],
    out: &Shared,
    offset: usize,
    n: Sizes,
) {
    let (d, stride) = (n.d(), n.stride());
    probabilities(q, k, weights, n);
    // SAFETY: each band and each of dq, dk, dv is its own block of this piece's columns.
    let block = |part: usize, band: &std::ops::Range<usize>| unsafe {
        out.block(offset + band.start * 3 * d + part * d, band.len(), n.head_dim, 3 * d)
    };
    for band in n.bands() {
        let rows = band.start * stride..band.end * stride;
        let scores = &mut scores[rows.clone()];
        let out = MatrixMut::new(scores, band.len(), band.end, stride);
        product(out, g.rows(band.clone()), v.rows(0..band.end).t(), false);
        softmax_backward(&weights[rows], scores, band.start, stride, n.scale());
        let scores = Matrix::new(scores, band.len(), band.end, stride);
        product(block(0, &band), scores, k.rows(0..band.end), false);
    }
    // Column c of P and dS is zero above row c, so each band of keys starts at its own row.
    for band in n.bands() {
        let below = band.start..n.time;
        let start = band.start * (stride + 1);
        let scores = Matrix::new(&scores[start..], below.len(), band.len(), stride);
        product(block(1, &band), scores.t(), q.rows(below.clone()), false);
        let weights = Matrix::new(&weights[start..], below.len(), band.len(), stride);
        product(block(2, &band), weights.t(), g.rows(below), false);
    }
}

/// Writes the attention weights of one head, zero above the diagonal.
fn probabilities(q: Matrix, k: Matrix, weights: &mut [f32], n: Sizes) {
    let stride = n.stride();
    for band in n.bands() {
        let weights = &mut weights[band.start * stride..band.end * stride];
        let out = MatrixMut::new(weights, band.len(), band.end, stride);
        product(out, q.rows(band.clone()), k.rows(0..band.end).t(), false);
        softmax(weights, band.start, stride, n.scale());
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

#[inline(always)]
fn softmax_body<const FMA: bool>(rows: &mut [f32], first: usize, stride: usize, scale: f32) {
    for (i, row) in rows.chunks_exact_mut(stride).enumerate() {
        let seen = first + i + 1;
        let padded = seen.next_multiple_of(LANES);
        // Whole vectors: what lies beyond the diagonal becomes e^-87, far below rounding.
        row[seen..padded].fill(f32::NEG_INFINITY);
        let top = max(&row[..padded]);
        let total = exp_sum::<FMA>(&mut row[..padded], top, scale);
        let inverse = 1.0 / total;
        for w in &mut row[..padded] {
            *w *= inverse;
        }
        row[seen..].fill(0.0);
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
        let padded = seen.next_multiple_of(LANES);
        // Beyond the diagonal there may be anything, even NaN, from the band or from before.
        scores[seen..].fill(0.0);
        let mean = dot::<FMA>(&weights[..padded], &scores[..padded]);
        for (s, w) in scores[..padded].iter_mut().zip(&weights[..padded]) {
            *s = w * scale * mul_add::<FMA>(-1.0, mean, *s);
        }
    }
}
