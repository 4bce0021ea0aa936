//! The gradients of log-probabilities.

use std::mem::MaybeUninit;

use super::super::matrix::{Matrix, MatrixMut, cut_product, product};
use super::super::pieces;
use super::super::simd::{exp_sum, multiversion};
use super::{Inputs, Row, Saved, Sizes, Tokens};

/// Vocabulary entries per block where E is recomputed.
const BLOCK: usize = 4096;
/// Rows per chunk where E is recomputed.
const CHUNK: usize = 128;

/// Gradients of the hidden states, of the head's weight and of its bias, those that `needs` asks for.
pub(crate) fn backward(inputs: Inputs, saved: &Saved, g: &[f32], needs: [bool; 3]) -> [Option<Vec<f32>>; 3] {
    assert_eq!(g.len(), inputs.n.rows, "gradient and rows differ in number");
    let c: Vec<f32> = g.iter().zip(&saved.rows).map(|(g, row)| -g / row.total).collect();
    let scaled = scaled_hidden(inputs, &c);
    let [mut hidden, mut head, mut bias] = match &saved.exponentials {
        Some(e) => {
            let e = Matrix::dense(e, inputs.n.rows, inputs.n.vocab);
            [
                needs[0].then(|| cut_product(e, inputs.head())),
                needs[1].then(|| kept_head(inputs.n, e, &scaled)),
                needs[2].then(|| cut_product(Matrix::dense(&c, 1, c.len()), e)),
            ]
        }
        None => remade(inputs, &saved.rows, [&scaled, &c], needs),
    };
    if let Some(hidden) = &mut hidden {
        for (i, out) in hidden.chunks_exact_mut(inputs.n.d).enumerate() {
            for (out, w) in out.iter_mut().zip(inputs.head_row(inputs.targets[i])) {
                *out = *out * c[i] + g[i] * w;
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
    if let Some(bias) = &mut bias {
        for (&target, g) in inputs.targets.iter().zip(g) {
            bias[target] += g;
        }
    }
    [hidden, head, bias]
}

/// `c hidden`.
fn scaled_hidden(inputs: Inputs, c: &[f32]) -> Vec<f32> {
    let mut scaled = inputs.hidden.to_vec();
    for (row, c) in scaled.chunks_exact_mut(inputs.n.d).zip(c) {
        for h in row {
            *h *= c;
        }
    }
    scaled
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

multiversion! {
    /// Adds the bias of a block to its logits and replaces them by `exp(z - max)` of each row.
    fn exponentials(logits: &mut [f32], block: &Tokens, rows: &[Row]) = exponentials_body
}

#[inline(always)]
fn exponentials_body<const FMA: bool>(logits: &mut [f32], block: &Tokens, rows: &[Row]) {
    for (z, row) in logits.chunks_exact_mut(block.range.len()).zip(rows) {
        block.add_bias(z);
        exp_sum::<FMA>(z, row.max, 1.0);
    }
}

/// `E head`, `E^T (c hidden)` and `E^T c`, recomputing E for a chunk of rows at a time.
fn remade(inputs: Inputs, rows: &[Row], [scaled, c]: [&[f32]; 2], needs: [bool; 3]) -> [Option<Vec<f32>>; 3] {
    const ROWS: usize = 32;
    let n = inputs.n;
    let scaled = Matrix::dense(scaled, n.rows, n.d);
    let mut hidden = needs[0].then(|| vec![0.0; n.rows * n.d]);
    let mut head = needs[1].then(|| vec![0.0; n.vocab * n.d]);
    let mut bias = needs[2].then(|| vec![0.0; n.vocab]);
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
            product(out, inputs.hidden().rows(chunk.clone()), inputs.head().rows(tokens.clone()).t(), false);
            exponentials(e, &inputs.head.tokens(tokens), &rows[chunk.clone()]);
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
        if let Some(bias) = &mut bias {
            for (out, e) in bias.chunks_mut(BLOCK).zip(e.chunks(count * BLOCK)) {
                let (width, c) = (out.len(), Matrix::dense(&c[chunk.clone()], 1, count));
                product(MatrixMut::new(out, 1, width, width), c, Matrix::dense(e, count, width), true);
            }
        }
    }
    [hidden, head, bias]
}

#[cfg(test)]
mod tests {
    use super::super::{Head, KEPT, REDUCED, forward, saving_up_to};
    use super::*;

    /// Both ways through the backward pass, over one block and over several of each kind.
    #[test]
    fn gradients_are_the_same_whether_e_is_kept_or_made_again() {
        for [rows, d, vocab] in [[1, 1, 1], [131, 5, 37], [3, 4, BLOCK + 3], [5, 3, REDUCED + 21]] {
            let wave = |count: usize, speed: f32| -> Vec<f32> {
                (0..count).map(|i| (i as f32 * speed).sin() * 2.0).collect()
            };
            let (hidden, weight, g) = (wave(rows * d, 0.7), wave(vocab * d, 1.3), wave(rows, 2.1));
            let bias = wave(vocab, 0.9);
            let targets: Vec<usize> = (0..rows).map(|i| (i * 7919 + vocab - 1) % vocab).collect();
            let n = Sizes { rows, d, vocab };
            for bias in [None, Some(bias.as_slice())] {
                let head = Head { weight: &weight, bias };
                let inputs = Inputs { hidden: &hidden, head, targets: &targets, n };
                let (kept, made) = (saving_up_to(KEPT, inputs), saving_up_to(0, inputs));
                assert!(kept.1.exponentials.is_some() && made.1.exponentials.is_none());
                assert_eq!(kept.0, forward(inputs));
                assert_eq!(kept.0, made.0);
                let needs = [true, true, bias.is_some()];
                let [kept, made] = [kept, made].map(|(_, saved)| backward(inputs, &saved, &g, needs));
                for ((kept, made), need) in kept.iter().zip(&made).zip(needs) {
                    assert_eq!((kept.is_some(), made.is_some()), (need, need));
                    let pairs = kept.iter().flatten().zip(made.iter().flatten());
                    let distance = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(distance < 1e-5, "{rows} x {d} x {vocab}: differ by {distance}");
                }
            }
        }
    }
}
