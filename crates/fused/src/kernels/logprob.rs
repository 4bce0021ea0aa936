//! Log-probabilities of given tokens under a tied output head.
//!
//! With `z = hidden head^T`, `m = max z` and `s = sum exp(z - m)`, a row's result is
//! `z_y - m - ln s`. Training keeps `E = exp(z - m)`, the only buffer of `[rows, vocab]`. The
//! gradient `dz = g (onehot(y) - E / s)` is never written down: with `c = -g / s`,
//! `dhidden = c (E head) + g head_y` and `dhead = E^T (c hidden)`, plus `g hidden` in row y.
//! Over a large vocabulary E is made again, a few rows at a time.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::matrix::{Matrix, MatrixMut, Shared, product};
use super::pieces;
use super::simd::{exp_sum, max, multiversion};

/// Largest vocabulary for which training keeps E.
const KEPT_VOCAB: usize = 16_384;
/// Vocabulary entries per block where E is made again.
const BLOCK: usize = 4096;
/// Rows per chunk where E is made again.
const CHUNK: usize = 128;

/// Sizes of the operands: hidden `[rows, d]`, head `[vocab, d]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) rows: usize,
    pub(crate) d: usize,
    pub(crate) vocab: usize,
}

/// What one row's softmax comes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    target: f32,
    max: f32,
    total: f32,
}

impl Row {
    const EMPTY: Self = Self { target: 0.0, max: f32::NEG_INFINITY, total: 0.0 };

    fn logprob(&self) -> f32 {
        self.target - self.max - self.total.ln()
    }

    /// Takes in a block of logits with largest element `max` and `total = sum exp(z - max)`.
    fn merge(&mut self, max: f32, total: f32) {
        let top = if max > self.max { max } else { self.max };
        // An empty row's `-inf` must not meet another `-inf`: exp(0) of it would be NaN.
        let before = if self.total > 0.0 { self.total * (self.max - top).exp() } else { self.total };
        self.total = before + total * (max - top).exp();
        self.max = top;
    }
}

/// What the backward pass needs besides the inputs.
#[derive(Debug)]
pub(crate) struct Saved {
    rows: Vec<Row>,
    /// E `[rows, vocab]`, unless the vocabulary is large.
    exponentials: Option<Vec<f32>>,
}

/// The inputs, as the backward pass takes them again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs<'a> {
    pub(crate) hidden: &'a [f32],
    pub(crate) head: &'a [f32],
    pub(crate) targets: &'a [usize],
    pub(crate) n: Sizes,
}

impl<'a> Inputs<'a> {
    fn hidden(&self) -> Matrix<'a> {
        Matrix::dense(self.hidden, self.n.rows, self.n.d)
    }

    fn head(&self) -> Matrix<'a> {
        Matrix::dense(self.head, self.n.vocab, self.n.d)
    }

    fn head_row(&self, token: usize) -> &'a [f32] {
        &self.head[token * self.n.d..(token + 1) * self.n.d]
    }
}

/// Log-probabilities of the targets, keeping nothing.
pub(crate) fn forward(inputs: Inputs) -> Vec<f32> {
    let rows = softmax_rows(inputs, None);
    rows.iter().map(Row::logprob).collect()
}

/// Log-probabilities of the targets, and what the backward pass needs.
///
/// The numbers are those of [`forward`], to the bit.
pub(crate) fn forward_saving(inputs: Inputs) -> (Vec<f32>, Saved) {
    let n = inputs.n;
    let mut rows = Vec::new();
    let exponentials = if n.vocab <= KEPT_VOCAB {
        let fill = |out: &mut [MaybeUninit<f32>]| {
            rows = softmax_rows(inputs, Some(&Shared::new(out)));
        };
        // SAFETY: `softmax_rows` writes a row of E for each row.
        Some(unsafe { pieces::buffer(n.rows * n.vocab, fill) })
    } else {
        rows = softmax_rows(inputs, None);
        None
    };
    (rows.iter().map(Row::logprob).collect(), Saved { rows, exponentials })
}

/// Computes logits in chunks of rows and blocks of vocabulary, and reduces them; writes E to
/// `keep`, which is for vocabularies of one block.
fn softmax_rows(inputs: Inputs, keep: Option<&Shared>) -> Vec<Row> {
    let n = inputs.n;
    let width = n.vocab.clamp(1, KEPT_VOCAB);
    // About a million logits, which stay in the cache; not so few rows that packing `head` for
    // the product becomes the work.
    let chunk = ((1 << 20) / width).clamp(128, 258);
    let mut rows = vec![Row::EMPTY; n.rows];
    pieces::chunks(&mut rows, chunk, |i, rows| {
        let range = i * chunk..i * chunk + rows.len();
        let hidden = inputs.hidden().rows(range.clone());
        let targets = &inputs.targets[range.clone()];
        if let Some(keep) = keep {
            // SAFETY: chunks of rows do not overlap.
            let out = unsafe { keep.slice(range.start * width..range.end * width) };
            product(MatrixMut::fresh(out, rows.len(), width), hidden, inputs.head().t(), false);
            // SAFETY: the product has written all of `out`.
            reduce(unsafe { pieces::written(out) }, 0..width, targets, rows);
        } else {
            pieces::scratch(rows.len() * width, |memory| {
                for start in (0..n.vocab).step_by(width) {
                    let block = start..(start + width).min(n.vocab);
                    let logits = &mut memory[..rows.len() * block.len()];
                    let out = MatrixMut::new(logits, rows.len(), block.len(), block.len());
                    product(out, hidden, inputs.head().rows(block.clone()).t(), false);
                    reduce(logits, block, targets, rows);
                }
            });
        }
    });
    rows
}

multiversion! {
    /// Takes a block of logits into each row's softmax and leaves `exp(z - max)` in its place.
    fn reduce(logits: &mut [f32], block: Range<usize>, targets: &[usize], rows: &mut [Row]) = reduce_body
}
multiversion! {
    /// Replaces logits by `exp(z - max)` of each row.
    fn exponentials(logits: &mut [f32], width: usize, rows: &[Row]) = exponentials_body
}

#[inline(always)]
fn reduce_body<const FMA: bool>(
    logits: &mut [f32],
    block: Range<usize>,
    targets: &[usize],
    rows: &mut [Row],
) {
    for ((z, &target), row) in logits.chunks_exact_mut(block.len()).zip(targets).zip(rows) {
        if block.contains(&target) {
            row.target = z[target - block.start];
        }
        let top = max(z);
        let total = exp_sum::<FMA>(z, top, 1.0);
        row.merge(top, total);
    }
}

#[inline(always)]
fn exponentials_body<const FMA: bool>(logits: &mut [f32], width: usize, rows: &[Row]) {
    for (z, row) in logits.chunks_exact_mut(width).zip(rows) {
        exp_sum::<FMA>(z, row.max, 1.0);
    }
}

/// Gradients of the hidden states and of the head, those that `needs` asks for.
pub(crate) fn backward(inputs: Inputs, saved: &Saved, g: &[f32], needs: [bool; 2]) -> [Option<Vec<f32>>; 2] {
    assert_eq!(g.len(), inputs.n.rows, "gradient and rows differ in number");
    let scaled = scaled_hidden(inputs, &saved.rows, g);
    let [mut hidden, mut head] = match &saved.exponentials {
        Some(e) => {
            let e = Matrix::dense(e, inputs.n.rows, inputs.n.vocab);
            [needs[0].then(|| kept_hidden(inputs, e)), needs[1].then(|| kept_head(inputs.n, e, &scaled))]
        }
        None => remade(inputs, &saved.rows, &scaled, needs),
    };
    if let Some(hidden) = &mut hidden {
        for (i, out) in hidden.chunks_exact_mut(inputs.n.d).enumerate() {
            let c = -g[i] / saved.rows[i].total;
            for (out, w) in out.iter_mut().zip(inputs.head_row(inputs.targets[i])) {
                *out = *out * c + g[i] * w;
            }
        }
    }
    if let Some(head) = &mut head {
        let d = inputs.n.d;
        for ((h, &target), g) in inputs.hidden.chunks_exact(d).zip(inputs.targets).zip(g) {
            for (out, h) in head[target * d..(target + 1) * d].iter_mut().zip(h) {
                *out += g * h;
            }
        }
    }
    [hidden, head]
}

/// `c hidden` with `c = -g / s`.
fn scaled_hidden(inputs: Inputs, rows: &[Row], g: &[f32]) -> Vec<f32> {
    let mut scaled = inputs.hidden.to_vec();
    for ((row, state), g) in scaled.chunks_exact_mut(inputs.n.d).zip(rows).zip(g) {
        let c = -g / state.total;
        for h in row {
            *h *= c;
        }
    }
    scaled
}

/// `E head`.
fn kept_hidden(inputs: Inputs, e: Matrix) -> Vec<f32> {
    let n = inputs.n;
    let piece = pieces::rows(n.rows);
    let fill = |out: &mut [MaybeUninit<f32>]| {
        pieces::chunks(out, piece * n.d, |i, out| {
            let rows = out.len() / n.d;
            let e = e.rows(i * piece..i * piece + rows);
            product(MatrixMut::fresh(out, rows, n.d), e, inputs.head(), false);
        });
    };
    // SAFETY: the pieces cover `out`, and `product` writes all of its result.
    unsafe { pieces::buffer(n.rows * n.d, fill) }
}

/// `E^T (c hidden)`.
fn kept_head(n: Sizes, e: Matrix, scaled: &[f32]) -> Vec<f32> {
    let scaled = Matrix::dense(scaled, n.rows, n.d);
    let tokens = n.vocab.div_ceil(4).next_multiple_of(64);
    let fill = |out: &mut [MaybeUninit<f32>]| {
        pieces::chunks(out, tokens * n.d, |i, out| {
            let count = out.len() / n.d;
            let e = e.columns(i * tokens..i * tokens + count).t();
            product(MatrixMut::fresh(out, count, n.d), e, scaled, false);
        });
    };
    // SAFETY: the pieces cover `out`, and `product` writes all of its result.
    unsafe { pieces::buffer(n.vocab * n.d, fill) }
}

/// `E head` and `E^T (c hidden)`, making E again for a chunk of rows at a time.
fn remade(inputs: Inputs, rows: &[Row], scaled: &[f32], needs: [bool; 2]) -> [Option<Vec<f32>>; 2] {
    const ROWS: usize = 32;
    let n = inputs.n;
    let scaled = Matrix::dense(scaled, n.rows, n.d);
    let mut hidden = needs[0].then(|| vec![0.0; n.rows * n.d]);
    let mut head = needs[1].then(|| vec![0.0; n.vocab * n.d]);
    let mut memory = vec![0.0; CHUNK.min(n.rows) * n.vocab];
    for start in (0..n.rows).step_by(CHUNK) {
        let chunk = start..(start + CHUNK).min(n.rows);
        let count = chunk.len();
        // E is laid out block by block, each `[count, width]`, so that blocks are slices.
        let e = &mut memory[..count * n.vocab];
        pieces::chunks(e, count * BLOCK, |i, e| {
            let width = e.len() / count;
            let tokens = i * BLOCK..i * BLOCK + width;
            let out = MatrixMut::new(e, count, width, width);
            product(out, inputs.hidden().rows(chunk.clone()), inputs.head().rows(tokens).t(), false);
            exponentials(e, width, &rows[chunk.clone()]);
        });
        let e = &*e;
        if let Some(hidden) = &mut hidden {
            let out = &mut hidden[chunk.start * n.d..chunk.end * n.d];
            pieces::chunks(out, ROWS * n.d, |i, out| {
                let part = i * ROWS..i * ROWS + out.len() / n.d;
                for (block, e) in e.chunks(count * BLOCK).enumerate() {
                    let width = e.len() / count;
                    let head = inputs.head().rows(block * BLOCK..block * BLOCK + width);
                    let e = Matrix::dense(e, count, width).rows(part.clone());
                    product(MatrixMut::new(out, part.len(), n.d, n.d), e, head, true);
                }
            });
        }
        if let Some(head) = &mut head {
            pieces::chunks(head, BLOCK * n.d, |i, out| {
                let width = out.len() / n.d;
                let block = i * BLOCK * count;
                let e = Matrix::dense(&e[block..block + width * count], count, width).t();
                product(MatrixMut::new(out, width, n.d, n.d), e, scaled.rows(chunk.clone()), true);
            });
        }
    }
    [hidden, head]
}
