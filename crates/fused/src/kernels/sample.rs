//! Drawing the next token of every row by inverting its cumulative distribution.
//!
//! A row's tokens lie on the interval `[0, total)`, each as long as its weight; the token at
//! `uniform * total` is drawn. The search goes down from blocks to groups to tokens.

use super::logprob::{Head, Sizes};
use super::matrix::Matrix;
use super::pieces;
use super::vocabulary::{Block, Layout, ROWS, exact_weight};

/// Tokens and their log-probabilities in nats, one per row.
pub(crate) fn forward(hidden: &[f32], head: Head, uniforms: &[f64], n: Sizes) -> (Vec<i32>, Vec<f32>) {
    let hidden = Matrix::dense(hidden, n.rows, n.d);
    let weight = Matrix::dense(head.weight, n.vocab, n.d);
    let mut drawn = (Vec::with_capacity(n.rows), Vec::with_capacity(n.rows));
    for (i, uniforms) in uniforms.chunks(ROWS).enumerate() {
        let hidden = hidden.rows(i * ROWS..i * ROWS + uniforms.len());
        let layout = Layout::new(uniforms.len(), n.vocab);
        pieces::scratch(layout.len(), |memory| {
            pieces::chunks(memory, layout.stride(), |i, block| {
                layout.fill(i, block, hidden, weight, head.bias);
            });
            let blocks: Vec<Block> = layout.blocks(memory).collect();
            drawn.extend(
                uniforms.iter().enumerate().map(|(row, &uniform)| draw(layout, &blocks, row, uniform)),
            );
        });
    }
    drawn
}

fn draw(layout: Layout, blocks: &[Block], row: usize, uniform: f64) -> (i32, f32) {
    let top = blocks.iter().map(|block| block.tops[row]).fold(f32::MIN, f32::max);
    let scale = |block: &Block| (f64::from(block.tops[row]) - f64::from(top)).exp();
    let mass = |block: &Block| scale(block) * block.row_sums(row).sum::<f64>();
    let total: f64 = blocks.iter().map(mass).sum();
    let (i, left) = invert(blocks.iter().map(mass), uniform * total);
    let block = blocks[i];
    let (group, left) = invert(block.row_sums(row), left / scale(&block));
    let weights = block.row_logits(row, group).map(|logit| exact_weight(logit - block.tops[row]));
    let (token, _) = invert(weights, left);
    let token = Layout::token(i, group) + token;
    let logit = block.logits[layout.find(token).1 + row];
    (token as i32, (f64::from(logit) - f64::from(top) - total.ln()) as f32)
}

/// The part that contains the point `left`, and the point's offset within it.
///
/// Rounding can leave a sliver after the last part with any weight: that part takes it, at its end.
fn invert(weights: impl Iterator<Item = f64>, mut left: f64) -> (usize, f64) {
    let mut chosen = 0;
    for (i, weight) in weights.enumerate() {
        if weight > 0.0 {
            if left < weight {
                return (i, left);
            }
            chosen = i;
            left -= weight;
        }
    }
    (chosen, f64::INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inversion_finds_the_part_and_the_place() {
        let weights = [0.0, 1.0, 0.0, 2.0, 0.0];
        let at = |left| invert(weights.into_iter(), left);
        assert_eq!([at(0.0), at(0.5), at(1.0), at(2.5)], [(1, 0.0), (1, 0.5), (3, 0.0), (3, 1.5)]);
        // The sliver goes to the last part that has a weight.
        assert_eq!([at(3.0), at(f64::INFINITY)], [(3, f64::INFINITY); 2]);
    }
}
