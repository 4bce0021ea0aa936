//! Softmax over a vocabulary for a few rows at a time, one row per vector lane.
//!
//! The logits `head hidden^T`, plus the bias if there is one, are laid out `[vocab, lanes]`: the
//! vocabulary runs down and the rows run across. The product then reads `head` where it lies (with
//! the rows running down, `gemm` packs all of `head` again for every few rows), and maxima and sums
//! of a row never cross lanes.

use super::matrix::{Matrix, MatrixMut, product};
use super::simd::{self, multiversion};

/// Most rows that are processed together.
pub(crate) const ROWS: usize = 64;
/// Tokens per block: one product, and one maximum per row.
const BLOCK: usize = 512;
/// Tokens whose weights are summed in f32. The sums of groups are added in f64.
pub(crate) const GROUP: usize = 32;
/// Rows are padded to whole vectors of this width.
pub(crate) const WIDTH: usize = 16;
/// A logit that is below its block's maximum by more than this has no weight.
pub(crate) const NOTHING: f32 = -87.0;

/// How the logits of `rows` rows over `vocab` tokens lie in memory: block after block, each with its maxima
/// `[lanes]`, its groups' sums `[BLOCK / GROUP, lanes]` and its logits `[<= BLOCK, lanes]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    vocab: usize,
    rows: usize,
    lanes: usize,
}

/// One block of logits with their reductions, each `[.., lanes]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a> {
    /// Largest logit of each row; the lowest finite number where all are `-inf`.
    pub(crate) tops: &'a [f32],
    /// `sum exp(z - top)` over each group.
    pub(crate) sums: &'a [f32],
    pub(crate) logits: &'a [f32],
}

impl Layout {
    pub(crate) fn new(rows: usize, vocab: usize) -> Self {
        Self { vocab, rows, lanes: rows.next_multiple_of(WIDTH) }
    }

    /// Rows, padded to whole vectors.
    pub(crate) fn lanes(self) -> usize {
        self.lanes
    }

    fn header(self) -> usize {
        (1 + BLOCK / GROUP) * self.lanes
    }

    /// Elements from block to block.
    pub(crate) fn stride(self) -> usize {
        self.header() + BLOCK * self.lanes
    }

    /// Elements in all.
    pub(crate) fn len(self) -> usize {
        self.vocab.div_ceil(BLOCK) * self.header() + self.vocab * self.lanes
    }

    /// The blocks, in order.
    pub(crate) fn blocks(self, memory: &[f32]) -> impl Iterator<Item = Block<'_>> {
        memory.chunks(self.stride()).map(move |block| {
            let (header, logits) = block.split_at(self.header());
            let (tops, sums) = header.split_at(self.lanes);
            let groups = (logits.len() / self.lanes).div_ceil(GROUP);
            Block { tops, sums: &sums[..groups * self.lanes], logits }
        })
    }

    /// Index of the block that holds `token`, and the token's offset in that block's logits.
    pub(crate) fn find(self, token: usize) -> (usize, usize) {
        (token / BLOCK, token % BLOCK * self.lanes)
    }

    /// Writes block `i`: the logits of its tokens for all rows, their maxima and their sums.
    pub(crate) fn fill(
        self,
        i: usize,
        block: &mut [f32],
        hidden: Matrix,
        head: Matrix,
        bias: Option<&[f32]>,
    ) {
        let (header, logits) = block.split_at_mut(self.header());
        let (tops, sums) = header.split_at_mut(self.lanes);
        let tokens = logits.len() / self.lanes;
        let head = head.rows(i * BLOCK..i * BLOCK + tokens);
        product(MatrixMut::new(logits, tokens, self.rows, self.lanes), head, hidden.t(), false);
        if let Some(bias) = bias {
            for (z, b) in logits.chunks_exact_mut(self.lanes).zip(&bias[i * BLOCK..]) {
                for z in z {
                    *z += b;
                }
            }
        }
        reduce(logits, tops, sums);
    }

    /// The token that starts group `group` of block `block`.
    pub(crate) fn token(block: usize, group: usize) -> usize {
        block * BLOCK + group * GROUP
    }
}

impl<'a> Block<'a> {
    /// Sums of one row's groups.
    pub(crate) fn row_sums(self, row: usize) -> impl Iterator<Item = f64> + use<'a> {
        let lanes = self.tops.len();
        self.sums.chunks_exact(lanes).map(move |sums| f64::from(sums[row]))
    }

    /// One row's logits of one group.
    pub(crate) fn row_logits(self, row: usize, group: usize) -> impl Iterator<Item = f32> + use<'a> {
        let lanes = self.tops.len();
        self.logits.chunks_exact(lanes).skip(group * GROUP).take(GROUP).map(move |logits| logits[row])
    }
}

/// Weight of a logit that is `x <= 0` away from its block's maximum.
#[inline(always)]
pub(crate) fn weight<const FMA: bool>(x: f32) -> f32 {
    // `exp` never returns zero, but the weight of -inf has to be zero. NaN passes through.
    if x < NOTHING { 0.0 } else { simd::exp::<FMA>(x) }
}

/// [`weight`] of one logit in f64.
pub(crate) fn exact_weight(x: f32) -> f64 {
    if x < NOTHING { 0.0 } else { f64::from(x).exp() }
}

multiversion! {
    /// Each row's largest logit, and the sums of its weights over groups.
    fn reduce(logits: &[f32], tops: &mut [f32], sums: &mut [f32]) = reduce_body
}

#[inline(always)]
fn reduce_body<const FMA: bool>(logits: &[f32], tops: &mut [f32], sums: &mut [f32]) {
    let lanes = tops.len();
    tops.fill(f32::MIN);
    for z in logits.chunks_exact(lanes) {
        for (z, top) in z.as_chunks::<WIDTH>().0.iter().zip(tops.as_chunks_mut::<WIDTH>().0) {
            for i in 0..WIDTH {
                top[i] = if z[i] > top[i] { z[i] } else { top[i] };
            }
        }
    }
    for (group, sums) in logits.chunks(GROUP * lanes).zip(sums.chunks_exact_mut(lanes)) {
        sums.fill(0.0);
        for z in group.chunks_exact(lanes) {
            let columns = z.as_chunks::<WIDTH>().0.iter().zip(tops.as_chunks::<WIDTH>().0);
            for ((z, top), sum) in columns.zip(sums.as_chunks_mut::<WIDTH>().0) {
                for i in 0..WIDTH {
                    sum[i] += weight::<FMA>(z[i] - top[i]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "maxima are exact")]
    use super::*;

    #[test]
    fn blocks_hold_products_maxima_and_sums() {
        let bias: Vec<f32> = (0..BLOCK + 37).map(|i| (i as f32 * 0.3).cos()).collect();
        for bias in [None, Some(bias.as_slice())] {
            check_blocks(bias);
        }
    }

    fn check_blocks(bias: Option<&[f32]>) {
        let (rows, d, vocab) = (3, 2, BLOCK + 37);
        let hidden: Vec<f32> = (0..rows * d).map(|i| i as f32 - 2.0).collect();
        let head: Vec<f32> = (0..vocab * d).map(|i| (i as f32).sin()).collect();
        let layout = Layout::new(rows, vocab);
        let mut memory = vec![f32::NAN; layout.len()];
        let (hidden_matrix, head_matrix) = (Matrix::dense(&hidden, rows, d), Matrix::dense(&head, vocab, d));
        for (i, block) in memory.chunks_mut(layout.stride()).enumerate() {
            layout.fill(i, block, hidden_matrix, head_matrix, bias);
        }
        let blocks: Vec<Block> = layout.blocks(&memory).collect();
        assert_eq!(blocks.len(), 2);
        for row in 0..rows {
            let logit = |token: usize| {
                let products =
                    (0..d).map(|k| f64::from(hidden[row * d + k]) * f64::from(head[token * d + k]));
                products.sum::<f64>() + bias.map_or(0.0, |bias| f64::from(bias[token]))
            };
            for token in 0..vocab {
                let (block, at) = layout.find(token);
                assert!((f64::from(blocks[block].logits[at + row]) - logit(token)).abs() < 1e-5);
            }
            for (i, block) in blocks.iter().enumerate() {
                let tokens = i * BLOCK..((i + 1) * BLOCK).min(vocab);
                let groups = tokens.len().div_ceil(GROUP);
                let logits: Vec<f32> = (0..groups).flat_map(|group| block.row_logits(row, group)).collect();
                assert_eq!(logits.len(), tokens.len());
                assert_eq!(block.tops[row], logits.iter().copied().fold(f32::MIN, f32::max));
                let expected: f64 = tokens.map(|t| (logit(t) - f64::from(block.tops[row])).exp()).sum();
                assert!((block.row_sums(row).sum::<f64>() / expected - 1.0).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn nothing_weighs_nothing() {
        assert_eq!(weight::<true>(f32::NEG_INFINITY), 0.0);
        assert_eq!(exact_weight(f32::NEG_INFINITY), 0.0);
        assert_eq!((weight::<true>(0.0), exact_weight(0.0)), (1.0, 1.0));
        assert!(weight::<true>(f32::NAN).is_nan() && exact_weight(f32::NAN).is_nan());
    }
}
