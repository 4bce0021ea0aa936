//! Multi-head self-attention on packed `q|k|v` in which every row of a sequence sees all of them.
//!
//! One piece of work is one head of one sequence. Scores are computed and used in bands of rows, so that a
//! band stays in the cache whatever the length of the sequence.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::matrix::{Matrix, MatrixMut, Shared, product};
use super::pieces;
use super::simd::{dot, exp_sum, max, multiversion};

/// Rows of a band.
const BAND: usize = 64;

/// Sizes of an attention layer's operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
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
}

/// One head of one sequence: its rows of q, and contiguous copies of its keys and values.
struct Head<'a> {
    q: Matrix<'a>,
    keys: Matrix<'a>,
    values: Matrix<'a>,
    n: Sizes,
}

impl<'a> Head<'a> {
    /// Copies keys and values into `memory`, of [`Head::copied`] elements.
    fn new(qkv: &'a [f32], rows: &Range<usize>, head: usize, n: Sizes, memory: &'a mut [f32]) -> Self {
        let (d, count) = (n.d(), rows.len());
        let (keys, values) = memory.split_at_mut(count * n.head_dim);
        let places = keys.chunks_exact_mut(n.head_dim).zip(values.chunks_exact_mut(n.head_dim));
        for (row, (key, value)) in rows.clone().zip(places) {
            let at = row * 3 * d + head * n.head_dim;
            key.copy_from_slice(&qkv[at + d..][..n.head_dim]);
            value.copy_from_slice(&qkv[at + 2 * d..][..n.head_dim]);
        }
        let first = rows.start * 3 * d + head * n.head_dim;
        Self {
            q: Matrix::new(&qkv[first..], count, n.head_dim, 3 * d),
            keys: Matrix::dense(keys, count, n.head_dim),
            values: Matrix::dense(values, count, n.head_dim),
            n,
        }
    }

    fn copied(rows: &Range<usize>, n: Sizes) -> usize {
        2 * rows.len() * n.head_dim
    }

    /// Bands of the sequence's rows, counted from its first.
    fn bands(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let rows = self.q.len();
        (0..rows).step_by(BAND).map(move |start| start..(start + BAND).min(rows))
    }

    /// Writes the attention weights of a band of rows.
    fn probabilities(&self, band: Range<usize>, weights: &mut [f32]) {
        let keys = self.keys.len();
        product(MatrixMut::new(weights, band.len(), keys, keys), self.q.rows(band), self.keys.t(), false);
        softmax(weights, keys, self.n.scale());
    }
}

/// Elements of a band's scores.
fn band_of(rows: &Range<usize>) -> usize {
    BAND.min(rows.len()) * rows.len()
}

/// `softmax(q k^T / sqrt(head_dim)) v`, `[N, d]`; `sequences` are the rows of each sequence, which
/// together are all N rows.
pub(crate) fn forward(qkv: &[f32], sequences: &[Range<usize>], n: Sizes) -> Vec<f32> {
    let d = n.d();
    let fill = |out: &mut [MaybeUninit<f32>]| {
        let out = Shared::new(out);
        pieces::each(sequences.len() * n.heads, |piece| {
            let (rows, head) = (&sequences[piece / n.heads], piece % n.heads);
            let scores = band_of(rows);
            pieces::scratch(scores + Head::copied(rows, n), |memory| {
                let (scores, copies) = memory.split_at_mut(scores);
                let parts = Head::new(qkv, rows, head, n, copies);
                for band in parts.bands() {
                    let weights = &mut scores[..band.len() * rows.len()];
                    parts.probabilities(band.clone(), weights);
                    let offset = (rows.start + band.start) * d + head * n.head_dim;
                    // SAFETY: a piece writes only its head's columns of its sequence's rows.
                    let out = unsafe { out.block(offset, band.len(), n.head_dim, d) };
                    product(out, Matrix::dense(weights, band.len(), rows.len()), parts.values, false);
                }
            });
        });
    };
    // SAFETY: heads, sequences and bands cover the whole output.
    unsafe { pieces::buffer(qkv.len() / 3, fill) }
}

/// Gradient with respect to `qkv`, given that of the output. The weights P are recomputed.
///
/// `dV = P^T dO`, `dP = dO V^T`, `dS = P (dP - rowsum(P dP)) / sqrt(head_dim)`, `dQ = dS K`, `dK = dS^T Q`;
/// dK and dV are sums over the bands, in their order.
pub(crate) fn backward(qkv: &[f32], g: &[f32], sequences: &[Range<usize>], n: Sizes) -> Vec<f32> {
    assert_eq!(g.len() * 3, qkv.len(), "gradient and input differ in size");
    let fill = |out: &mut [MaybeUninit<f32>]| {
        let out = Shared::new(out);
        pieces::each(sequences.len() * n.heads, |piece| {
            let (rows, head) = (&sequences[piece / n.heads], piece % n.heads);
            let (scores, copied) = (band_of(rows), Head::copied(rows, n));
            pieces::scratch(2 * (scores + copied), |memory| {
                let (scores, copies) = memory.split_at_mut(2 * scores);
                let (copies, gradients) = copies.split_at_mut(copied);
                let parts = Head::new(qkv, rows, head, n, copies);
                head_backward(&parts, (g, rows), head, scores, gradients, &out);
            });
        });
    };
    // SAFETY: heads and sequences cover the whole gradient, and each writes dq, dk and dv of its own rows.
    unsafe { pieces::buffer(qkv.len(), fill) }
}

/// Backward of one head of one sequence; `memory` and `gradients` are scratch.
fn head_backward(
    parts: &Head,
    (g, rows): (&[f32], &Range<usize>),
    head: usize,
    memory: &mut [f32],
    gradients: &mut [f32],
    out: &Shared,
) {
    let (n, count) = (parts.n, rows.len());
    let (d, width) = (n.d(), n.head_dim);
    let (weights, scores) = memory.split_at_mut(memory.len() / 2);
    let (dk, dv) = gradients.split_at_mut(gradients.len() / 2);
    let g = Matrix::new(&g[rows.start * d + head * width..], count, width, d);
    for band in parts.bands() {
        let size = band.len() * count;
        let (weights, scores) = (&mut weights[..size], &mut scores[..size]);
        parts.probabilities(band.clone(), weights);
        let of_band = g.rows(band.clone());
        product(MatrixMut::new(scores, band.len(), count, count), of_band, parts.values.t(), false);
        softmax_backward(weights, scores, count, n.scale());
        let (weights, scores) = (&*weights, &*scores);
        let (weights, scores) =
            (Matrix::dense(weights, band.len(), count), Matrix::dense(scores, band.len(), count));
        let offset = (rows.start + band.start) * 3 * d + head * width;
        // SAFETY: a piece writes only its head's columns of its sequence's rows.
        let dq = unsafe { out.block(offset, band.len(), width, 3 * d) };
        product(dq, scores, parts.keys, false);
        let further = band.start > 0;
        product(MatrixMut::new(dv, count, width, width), weights.t(), of_band, further);
        product(MatrixMut::new(dk, count, width, width), scores.t(), parts.q.rows(band), further);
    }
    for (part, gradient) in [(1, dk), (2, dv)] {
        for (row, values) in rows.clone().zip(gradient.chunks_exact(width)) {
            let at = row * 3 * d + part * d + head * width;
            // SAFETY: as above; one row at a time.
            unsafe { out.slice(at..at + width) }.write_copy_of_slice(values);
        }
    }
}

multiversion! {
    /// Softmax of rows of `width` scores, scaled first.
    fn softmax(rows: &mut [f32], width: usize, scale: f32) = softmax_body
}
multiversion! {
    /// Turns the gradient of the weights into that of the scores before scaling.
    fn softmax_backward(weights: &[f32], scores: &mut [f32], width: usize, scale: f32) = softmax_backward_body
}

#[inline(always)]
fn softmax_body<const FMA: bool>(rows: &mut [f32], width: usize, scale: f32) {
    for row in rows.chunks_exact_mut(width) {
        let top = max(row);
        let inverse = 1.0 / exp_sum::<FMA>(row, top, scale);
        for weight in row {
            *weight *= inverse;
        }
    }
}

#[inline(always)]
fn softmax_backward_body<const FMA: bool>(weights: &[f32], scores: &mut [f32], width: usize, scale: f32) {
    for (weights, scores) in weights.chunks_exact(width).zip(scores.chunks_exact_mut(width)) {
        let mean = dot::<FMA>(weights, scores);
        for (score, weight) in scores.iter_mut().zip(weights) {
            *score = weight * scale * (*score - mean);
        }
    }
}
