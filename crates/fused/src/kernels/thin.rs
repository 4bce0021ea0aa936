//! Products of few rows with a weight stored `[outputs, inputs]`, as when each sequence decodes one token.
//!
//! Both operands are read along their rows, as they lie, and the weight once: a product with packed operands
//! would spend more time packing the weight than multiplying.

use std::mem::MaybeUninit;

use super::linear::Sizes;
use super::matrix::Shared;
use super::pieces;
use super::simd::{mul_add, multiversion};

/// More rows than this are faster with packed operands.
pub(crate) const ROWS: usize = 32;

/// Outputs of a piece of work, so many that the rows of x, which every piece reads, count for little.
const PIECE: usize = 192;
/// Width of the sums.
const WIDE: usize = 16;
/// Rows that are multiplied together, ...
const R: usize = 2;
/// ... and outputs: eight sums, as many as hide the latency of an addition.
const C: usize = 4;

/// `x W^T`, added to the residual and the bias if there are any.
pub(crate) fn forward(
    residual: Option<&[f32]>,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    n: Sizes,
) -> Vec<f32> {
    assert!(n.inputs > 0, "rows without columns");
    assert!(x.len() == n.rows * n.inputs && weight.len() == n.outputs * n.inputs, "sizes differ");
    assert!(residual.is_none_or(|residual| residual.len() == n.rows * n.outputs), "sizes differ");
    assert!(bias.is_none_or(|bias| bias.len() == n.outputs), "sizes differ");
    let fill = |out: &mut [MaybeUninit<f32>]| {
        let out = Shared::new(out);
        pieces::each(n.outputs.div_ceil(PIECE), |piece| {
            let outputs = piece * PIECE..((piece + 1) * PIECE).min(n.outputs);
            pieces::scratch(n.rows * outputs.len(), |sums| {
                multiply(x, &weight[outputs.start * n.inputs..outputs.end * n.inputs], n.inputs, sums);
                for (row, sums) in sums.chunks_exact_mut(outputs.len()).enumerate() {
                    if let Some(bias) = bias {
                        sums.iter_mut().zip(&bias[outputs.clone()]).for_each(|(sum, b)| *sum += b);
                    }
                    let at = row * n.outputs + outputs.start..row * n.outputs + outputs.end;
                    // SAFETY: no other piece has these columns.
                    let out = unsafe { out.slice(at.clone()) };
                    match residual {
                        None => drop(out.write_copy_of_slice(sums)),
                        Some(residual) => {
                            for ((out, r), sum) in out.iter_mut().zip(&residual[at]).zip(&*sums) {
                                out.write(r + sum);
                            }
                        }
                    }
                }
            });
        });
    };
    // SAFETY: the pieces cover all columns, and each writes its columns of all rows.
    unsafe { pieces::buffer(n.rows * n.outputs, fill) }
}

multiversion! {
    /// Writes the products of every row of x with every row of the weight, row by row.
    fn multiply(x: &[f32], weight: &[f32], inputs: usize, out: &mut [f32]) = multiply_body
}

#[inline(always)]
fn multiply_body<const FMA: bool>(x: &[f32], weight: &[f32], inputs: usize, out: &mut [f32]) {
    let (rows, outputs) = (x.len() / inputs, weight.len() / inputs);
    // The last rows and outputs are multiplied in a block that repeats them: its extra sums are not kept.
    for o in (0..outputs).step_by(C) {
        let weights: [&[f32]; C] = std::array::from_fn(|c| {
            let at = (o + c).min(outputs - 1) * inputs;
            &weight[at..at + inputs]
        });
        for r in (0..rows).step_by(R) {
            let xs: [&[f32]; R] = std::array::from_fn(|i| {
                let at = (r + i).min(rows - 1) * inputs;
                &x[at..at + inputs]
            });
            let sums = block::<FMA>(xs, weights);
            for (i, sums) in sums.iter().enumerate().take(rows - r) {
                let kept = C.min(outputs - o);
                out[(r + i) * outputs + o..][..kept].copy_from_slice(&sums[..kept]);
            }
        }
    }
}

/// The inner products of two rows with four. The sums are variables of their own, which stay in registers.
#[inline(always)]
fn block<const FMA: bool>(x: [&[f32]; R], weight: [&[f32]; C]) -> [[f32; C]; R] {
    let [(x0, x0_rest), (x1, x1_rest)] = x.map(|row| row.as_chunks::<WIDE>());
    let [(w0, w0_rest), (w1, w1_rest), (w2, w2_rest), (w3, w3_rest)] =
        weight.map(|row| row.as_chunks::<WIDE>());
    let (mut s00, mut s01, mut s02, mut s03) = ([0.0; WIDE], [0.0; WIDE], [0.0; WIDE], [0.0; WIDE]);
    let (mut s10, mut s11, mut s12, mut s13) = ([0.0; WIDE], [0.0; WIDE], [0.0; WIDE], [0.0; WIDE]);
    let chunks = x0.iter().zip(x1).zip(w0.iter().zip(w1)).zip(w2.iter().zip(w3));
    for (((x0, x1), (w0, w1)), (w2, w3)) in chunks {
        for i in 0..WIDE {
            s00[i] = mul_add::<FMA>(x0[i], w0[i], s00[i]);
            s01[i] = mul_add::<FMA>(x0[i], w1[i], s01[i]);
            s02[i] = mul_add::<FMA>(x0[i], w2[i], s02[i]);
            s03[i] = mul_add::<FMA>(x0[i], w3[i], s03[i]);
            s10[i] = mul_add::<FMA>(x1[i], w0[i], s10[i]);
            s11[i] = mul_add::<FMA>(x1[i], w1[i], s11[i]);
            s12[i] = mul_add::<FMA>(x1[i], w2[i], s12[i]);
            s13[i] = mul_add::<FMA>(x1[i], w3[i], s13[i]);
        }
    }
    let sums = [[s00, s01, s02, s03], [s10, s11, s12, s13]];
    let (x_rest, w_rest) = ([x0_rest, x1_rest], [w0_rest, w1_rest, w2_rest, w3_rest]);
    std::array::from_fn(|r| {
        std::array::from_fn(|c| {
            let tail = x_rest[r].iter().zip(w_rest[c]).map(|(x, w)| x * w).sum::<f32>();
            total(sums[r][c]) + tail
        })
    })
}

/// The sum of the lanes, by halves.
#[inline(always)]
fn total(lanes: [f32; WIDE]) -> f32 {
    let a: [f32; 8] = std::array::from_fn(|i| lanes[i] + lanes[i + 8]);
    let a: [f32; 4] = std::array::from_fn(|i| a[i] + a[i + 4]);
    (a[0] + a[2]) + (a[1] + a[3])
}
