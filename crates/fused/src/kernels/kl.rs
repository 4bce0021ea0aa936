//! KL divergence of the next token under two output heads.
//!
//! With `r = ln p - ln q`, `sum p r = sum (p r - p + q)`, since p and q both sum to one. The terms on the
//! right are never negative, and an error of the normalisers drops out of their sum to first order. So
//! policies that are close to each other, whose terms `p r` nearly cancel, keep their precision.

use super::logprob::{Head, Sizes};
use super::matrix::Matrix;
use super::pieces;
use super::simd::{exp, mul_add, multiversion};
use super::vocabulary::{Block, GROUP, Layout, NOTHING, ROWS, WIDTH};

/// Hidden states and output head of one policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy<'a> {
    pub(crate) hidden: &'a [f32],
    pub(crate) head: Head<'a>,
    pub(crate) n: Sizes,
}

/// The results of one row.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    exact: f32,
    k1: f32,
}

/// `ln softmax(z) = (z - top) - log_total`, per lane.
struct Normaliser {
    tops: Vec<f32>,
    log_totals: Vec<f64>,
    /// The same in f32, for the vector code.
    rounded: Vec<f32>,
}

/// `sum p (ln p - ln q)` and `ln p_y - ln q_y` of every row.
pub(crate) fn forward(policy: Policy, reference: Policy, targets: &[usize]) -> (Vec<f32>, Vec<f32>) {
    let mut out = vec![Row::default(); targets.len()];
    pieces::chunks(&mut out, ROWS, |i, out| {
        let start = i * ROWS;
        let layout = Layout::new(out.len(), policy.n.vocab);
        pieces::scratch(2 * layout.len(), |memory| {
            let (p, q) = memory.split_at_mut(layout.len());
            let normalisers = [(policy, &mut *p), (reference, &mut *q)]
                .map(|(policy, memory)| normalise(policy, start..start + out.len(), layout, memory));
            chunk(layout, [p, q], &normalisers, &targets[start..start + out.len()], out);
        });
    });
    out.iter().map(|row| (row.exact, row.k1)).unzip()
}

/// Writes the logits of some rows, and returns what normalises them.
fn normalise(policy: Policy, rows: std::ops::Range<usize>, layout: Layout, memory: &mut [f32]) -> Normaliser {
    let n = policy.n;
    let hidden = Matrix::dense(policy.hidden, n.rows, n.d).rows(rows);
    let head = Matrix::dense(policy.head.weight, n.vocab, n.d);
    for (i, block) in memory.chunks_mut(layout.stride()).enumerate() {
        layout.fill(i, block, hidden, head, policy.head.bias);
    }
    let blocks: Vec<Block> = layout.blocks(memory).collect();
    let tops: Vec<f32> = (0..layout.lanes())
        .map(|lane| blocks.iter().map(|block| block.tops[lane]).fold(f32::MIN, f32::max))
        .collect();
    let log_total = |(lane, &top): (usize, &f32)| {
        let mass = |block: &Block| {
            (f64::from(block.tops[lane]) - f64::from(top)).exp() * block.row_sums(lane).sum::<f64>()
        };
        blocks.iter().map(mass).sum::<f64>().ln()
    };
    let log_totals: Vec<f64> = tops.iter().enumerate().map(log_total).collect();
    let rounded = log_totals.iter().map(|&value| value as f32).collect();
    Normaliser { tops, log_totals, rounded }
}

/// The results of some rows, from both policies' logits.
fn chunk(
    layout: Layout,
    [p, q]: [&[f32]; 2],
    normalisers: &[Normaliser; 2],
    targets: &[usize],
    out: &mut [Row],
) {
    let [p_normaliser, q_normaliser] = normalisers;
    let mut totals = vec![0.0; layout.lanes()];
    for (p, q) in layout.blocks(p).zip(layout.blocks(q)) {
        add_terms(p.logits, q.logits, p_normaliser, q_normaliser, &mut totals);
    }
    let (p, q): (Vec<Block>, Vec<Block>) = layout.blocks(p).zip(layout.blocks(q)).unzip();
    for (row, ((out, total), &target)) in out.iter_mut().zip(totals).zip(targets).enumerate() {
        let (block, at) = layout.find(target);
        let logprob = |blocks: &[Block], normaliser: &Normaliser| {
            f64::from(blocks[block].logits[at + row])
                - f64::from(normaliser.tops[row])
                - normaliser.log_totals[row]
        };
        *out =
            Row { exact: total as f32, k1: (logprob(&p, p_normaliser) - logprob(&q, q_normaliser)) as f32 };
    }
}

multiversion! {
    /// Adds a block's terms to each lane's total.
    fn add_terms(p: &[f32], q: &[f32], p_normaliser: &Normaliser, q_normaliser: &Normaliser, totals: &mut [f64]) = add_terms_body
}

#[inline(always)]
fn add_terms_body<const FMA: bool>(
    p: &[f32],
    q: &[f32],
    p_normaliser: &Normaliser,
    q_normaliser: &Normaliser,
    totals: &mut [f64],
) {
    let lanes = totals.len();
    for column in 0..lanes / WIDTH {
        let vector = |row: &[f32]| row.as_chunks::<WIDTH>().0[column];
        let [p_top, p_total] = [&p_normaliser.tops, &p_normaliser.rounded].map(|v| vector(v));
        let [q_top, q_total] = [&q_normaliser.tops, &q_normaliser.rounded].map(|v| vector(v));
        for (p, q) in p.chunks(GROUP * lanes).zip(q.chunks(GROUP * lanes)) {
            let mut sums = [0f32; WIDTH];
            for (p, q) in p.chunks_exact(lanes).zip(q.chunks_exact(lanes)) {
                let (p, q) = (vector(p), vector(q));
                for i in 0..WIDTH {
                    sums[i] += term::<FMA>((p[i] - p_top[i]) - p_total[i], (q[i] - q_top[i]) - q_total[i]);
                }
            }
            for (total, sum) in totals[column * WIDTH..].iter_mut().zip(sums) {
                *total += f64::from(sum);
            }
        }
    }
}

/// `p r - p + q` with `r = ln p - ln q`, which is `p (e^-r - 1 + r)`.
#[inline(always)]
fn term<const FMA: bool>(log_p: f32, log_q: f32) -> f32 {
    let r = log_p - log_q;
    let (p, q) = (exp::<FMA>(log_p), exp::<FMA>(log_q));
    // The series of `(e^-r - 1 + r) / r^2`: for small r the closed form is all rounding.
    let mut series = 1.0 / 40_320.0;
    for factorial in [5040.0, 720.0, 120.0, 24.0, 6.0, 2.0] {
        series = mul_add::<FMA>(series, -r, 1.0 / factorial);
    }
    let near = p * (r * r * series);
    let far = mul_add::<FMA>(p, r, q - p);
    // As p goes to 0 so does `p r`, even where r is infinite. NaN passes through both comparisons.
    let far = if log_p < NOTHING { q } else { far };
    if r.abs() < 0.5 { near } else { far }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_match_f64() {
        for i in -4000..4000 {
            let r = f64::from(i) * 2e-3;
            let (log_p, log_q) = (-9.0_f32, (-9.0 - r) as f32);
            let exact_r = f64::from(log_p) - f64::from(log_q);
            let expected = f64::from(log_p).exp() * ((-exact_r).exp_m1() + exact_r);
            for got in [term::<true>(log_p, log_q), term::<false>(log_p, log_q)] {
                assert!(
                    (f64::from(got) - expected).abs() <= 5e-6 * expected,
                    "r = {exact_r}: {got}, {expected}"
                );
            }
        }
    }

    #[test]
    fn limits_of_terms() {
        let infinity = f32::INFINITY;
        assert!(term::<true>(-3.0, -3.0) == 0.0);
        assert!(term::<true>(-infinity, -infinity) < 1e-37);
        assert!((term::<true>(-infinity, 0.0) - 1.0).abs() < 1e-6);
        assert!(term::<true>(-1.0, -infinity).total_cmp(&infinity).is_eq());
        assert!(term::<true>(f32::NAN, -1.0).is_nan() && term::<true>(-1.0, f32::NAN).is_nan());
        assert!(term::<true>(-100.0, f32::NAN).is_nan());
    }
}
