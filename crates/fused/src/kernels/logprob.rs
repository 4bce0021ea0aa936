//! Log-probabilities of given tokens under an output head.
//!
//! With `z = hidden head^T + bias`, `m = max z` and `s = sum exp(z - m)`, a row's result is `z_y - m - ln s`.
//! Training keeps `E = exp(z - m)`, the only buffer of `[rows, vocab]`. The gradient
//! `dz = g (onehot(y) - E / s)` is never stored: with `c = -g / s`, `dhidden = c (E head) + g head_y`,
//! `dhead = E^T (c hidden)`, plus `g hidden` in row y, and `dbias = E^T c`, plus g at y. Where E would be
//! very large it is not kept but recomputed, a few rows at a time.

mod backward;

use std::mem::MaybeUninit;
use std::ops::Range;

pub(crate) use self::backward::backward;
use super::matrix::{Matrix, MatrixMut, Shared, product};
use super::pieces;
use super::simd::{exp_sum, max, multiversion};

/// Most elements of E that training keeps: 128 MiB.
const KEPT: usize = 1 << 25;
/// Vocabulary entries that the forward pass reduces at a time.
const REDUCED: usize = 16_384;

/// An output head: its weight `[vocab, d]`, and its bias `[vocab]` if it has one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub(crate) weight: &'a [f32],
    pub(crate) bias: Option<&'a [f32]>,
}

impl<'a> Head<'a> {
    /// Some of its tokens.
    fn tokens(self, range: Range<usize>) -> Tokens<'a> {
        Tokens { bias: self.bias.map(|bias| &bias[range.clone()]), range }
    }
}

/// A range of tokens with their biases.
struct Tokens<'a> {
    range: Range<usize>,
    bias: Option<&'a [f32]>,
}

impl Tokens<'_> {
    /// Adds the biases to a row of logits.
    #[inline(always)]
    fn add_bias(&self, z: &mut [f32]) {
        if let Some(bias) = self.bias {
            for (z, b) in z.iter_mut().zip(bias) {
                *z += b;
            }
        }
    }
}

/// Sizes of the operands: hidden `[rows, d]`, head `[vocab, d]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) rows: usize,
    pub(crate) d: usize,
    pub(crate) vocab: usize,
}

/// What one row's softmax is computed from.
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

    /// Merges a block of logits with largest element `max` and `total = sum exp(z - max)`.
    fn merge(&mut self, max: f32, total: f32) {
        let top = if max > self.max { max } else { self.max };
        // An empty row has nothing to rescale, and `-inf - -inf` would be NaN.
        let before = if self.total > 0.0 { self.total * (self.max - top).exp() } else { self.total };
        self.total = before + total * (max - top).exp();
        self.max = top;
    }
}

/// What the backward pass needs besides the inputs.
#[derive(Debug)]
pub(crate) struct Saved {
    rows: Vec<Row>,
    /// E `[rows, vocab]`, unless it is too large.
    exponentials: Option<Vec<f32>>,
}

/// The inputs, which the backward pass takes again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs<'a> {
    pub(crate) hidden: &'a [f32],
    pub(crate) head: Head<'a>,
    pub(crate) targets: &'a [usize],
    pub(crate) n: Sizes,
}

impl<'a> Inputs<'a> {
    fn hidden(&self) -> Matrix<'a> {
        Matrix::dense(self.hidden, self.n.rows, self.n.d)
    }

    fn head(&self) -> Matrix<'a> {
        Matrix::dense(self.head.weight, self.n.vocab, self.n.d)
    }

    fn head_row(&self, token: usize) -> &'a [f32] {
        &self.head.weight[token * self.n.d..(token + 1) * self.n.d]
    }
}

/// Log-probabilities of the targets, keeping nothing.
pub(crate) fn forward(inputs: Inputs) -> Vec<f32> {
    let rows = softmax_rows(inputs, None);
    rows.iter().map(Row::logprob).collect()
}

/// Log-probabilities of the targets, and what the backward pass needs.
///
/// The log-probabilities are bit-identical to those of [`forward`].
pub(crate) fn forward_saving(inputs: Inputs) -> (Vec<f32>, Saved) {
    saving_up_to(KEPT, inputs)
}

fn saving_up_to(kept: usize, inputs: Inputs) -> (Vec<f32>, Saved) {
    let n = inputs.n;
    let mut rows = Vec::new();
    let exponentials = if n.rows * n.vocab <= kept {
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

/// Computes logits in chunks of rows and blocks of vocabulary, and reduces them; writes E to `keep` if asked
/// for.
fn softmax_rows(inputs: Inputs, keep: Option<&Shared>) -> Vec<Row> {
    let n = inputs.n;
    let width = n.vocab.clamp(1, REDUCED);
    // About a million logits, which stay in cache, and enough rows that packing `head` for the product does
    // not dominate.
    let chunk = ((1 << 20) / width).clamp(128, 258);
    let blocks = || (0..n.vocab).step_by(width).map(|start| start..(start + width).min(n.vocab));
    let mut rows = vec![Row::EMPTY; n.rows];
    pieces::chunks(&mut rows, chunk, |i, rows| {
        let range = i * chunk..i * chunk + rows.len();
        let hidden = inputs.hidden().rows(range.clone());
        let targets = &inputs.targets[range.clone()];
        let mut tops = vec![0.0; rows.len()];
        if let Some(keep) = keep {
            let start = range.start * n.vocab;
            let mut all_tops = Vec::new();
            for block in blocks() {
                // SAFETY: chunks of rows do not overlap.
                let out = unsafe { keep.block(start + block.start, rows.len(), block.len(), n.vocab) };
                product(out, hidden, inputs.head().rows(block).t(), false);
            }
            // SAFETY: as above, and the products have written all of it.
            let e = unsafe { pieces::written(keep.slice(start..range.end * n.vocab)) };
            for block in blocks() {
                reduce(e, n.vocab, block.start, &inputs.head.tokens(block), targets, rows, &mut tops);
                all_tops.extend_from_slice(&tops);
            }
            if n.vocab > width {
                rescale(e, n.vocab, width, &all_tops, rows);
            }
        } else {
            pieces::scratch(rows.len() * width, |memory| {
                for block in blocks() {
                    let logits = &mut memory[..rows.len() * block.len()];
                    let out = MatrixMut::new(logits, rows.len(), block.len(), block.len());
                    product(out, hidden, inputs.head().rows(block.clone()).t(), false);
                    reduce(logits, block.len(), 0, &inputs.head.tokens(block), targets, rows, &mut tops);
                }
            });
        }
    });
    rows
}

multiversion! {
    /// Adds the bias of a block to its logits, merges them into each row's softmax and replaces them by
    /// `exp(z - top)`, where `tops` receives the block's largest logit per row. Rows are `stride` apart, and
    /// the block begins at `offset` in each.
    fn reduce(
        logits: &mut [f32],
        stride: usize,
        offset: usize,
        block: &Tokens,
        targets: &[usize],
        rows: &mut [Row],
        tops: &mut [f32],
    ) = reduce_body
}
multiversion! {
    /// Rescales each block's `exp(z - top)` to the row's `exp(z - max)`; `tops` has one value per row, block
    /// after block.
    fn rescale(e: &mut [f32], vocab: usize, width: usize, tops: &[f32], rows: &[Row]) = rescale_body
}

#[inline(always)]
fn reduce_body<const FMA: bool>(
    logits: &mut [f32],
    stride: usize,
    offset: usize,
    block: &Tokens,
    targets: &[usize],
    rows: &mut [Row],
    tops: &mut [f32],
) {
    let rows = rows.iter_mut().zip(tops);
    for ((z, &target), (row, top)) in logits.chunks_mut(stride).zip(targets).zip(rows) {
        let z = &mut z[offset..offset + block.range.len()];
        block.add_bias(z);
        if block.range.contains(&target) {
            row.target = z[target - block.range.start];
        }
        *top = max(z);
        let total = exp_sum::<FMA>(z, *top, 1.0);
        row.merge(*top, total);
    }
}

#[inline(always)]
fn rescale_body<const FMA: bool>(e: &mut [f32], vocab: usize, width: usize, tops: &[f32], rows: &[Row]) {
    for (i, (e, row)) in e.chunks_exact_mut(vocab).zip(rows).enumerate() {
        for (block, e) in e.chunks_mut(width).enumerate() {
            let factor = (tops[block * rows.len() + i] - row.max).exp();
            for e in e {
                *e *= factor;
            }
        }
    }
}
