//! Affine map `y = x W + b`, and the same without b and with W stored transposed.

use std::mem::MaybeUninit;

use super::matrix::{Cut, Matrix, MatrixMut, Shared, cut_product, product};
use super::pieces;
use super::simd::multiversion;

/// Rows of `x` and `g` that one partial sum of `dW` or `db` covers.
const SUMMED: usize = 512;

/// Sizes of a linear layer's operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) rows: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
}

/// A weight as it is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Weight<'a> {
    /// `[inputs, outputs]`.
    Plain(&'a [f32]),
    /// `[outputs, inputs]`.
    Transposed(&'a [f32]),
}

impl<'a> Weight<'a> {
    /// The weight as a matrix of `inputs` x `outputs`.
    fn matrix(self, n: Sizes) -> Matrix<'a> {
        match self {
            Self::Plain(weight) => Matrix::dense(weight, n.inputs, n.outputs),
            Self::Transposed(weight) => Matrix::dense(weight, n.outputs, n.inputs).t(),
        }
    }
}

/// `x W`, added to the bias and the residual if there are any.
pub(crate) fn forward(
    residual: Option<&[f32]>,
    x: &[f32],
    weight: Weight,
    bias: Option<&[f32]>,
    n: Sizes,
) -> Vec<f32> {
    let x = Matrix::dense(x, n.rows, n.inputs);
    let weight = weight.matrix(n);
    if residual.is_none() && bias.is_none() {
        return cut_product(x, weight);
    }
    assert!(bias.is_none_or(|bias| bias.len() == n.outputs), "bias and weight differ in size");
    let cut = Cut::new(n.rows, n.inputs, n.outputs);
    let fill = |out: &mut [MaybeUninit<f32>]| {
        let out = Shared::new(out);
        pieces::each(cut.count(), |i| {
            let (rows, columns) = cut.piece(i);
            for row in rows.clone() {
                let at = row * n.outputs + columns.start..row * n.outputs + columns.end;
                // SAFETY: no other piece has this row's columns.
                let out = unsafe { out.slice(at.clone()) };
                match (residual.map(|residual| &residual[at]), bias.map(|bias| &bias[columns.clone()])) {
                    (Some(residual), Some(bias)) => {
                        for ((out, r), b) in out.iter_mut().zip(residual).zip(bias) {
                            out.write(r + b);
                        }
                    }
                    (Some(only), None) | (None, Some(only)) => drop(out.write_copy_of_slice(only)),
                    (None, None) => out.fill(MaybeUninit::new(0.0)),
                }
            }
            let at = rows.start * n.outputs + columns.start;
            // SAFETY: no other piece has these rows and columns, and all of them were just written.
            let out = unsafe { out.block(at, rows.len(), columns.len(), n.outputs).written() };
            product(out, x.rows(rows), weight.columns(columns), true);
        });
    };
    // SAFETY: the pieces cover `out`, and each writes all of its rows.
    unsafe { pieces::buffer(n.rows * n.outputs, fill) }
}

/// `dx = g W^T`.
pub(crate) fn input_gradient(g: &[f32], weight: Weight, n: Sizes) -> Vec<f32> {
    cut_product(Matrix::dense(g, n.rows, n.outputs), weight.matrix(n).t())
}

/// `dW = x^T g`, summed over blocks of rows in a fixed order.
pub(crate) fn weight_gradient(x: &[f32], g: &[f32], n: Sizes) -> Vec<f32> {
    let (x, g) = (Matrix::dense(x, n.rows, n.inputs), Matrix::dense(g, n.rows, n.outputs));
    if n.rows <= SUMMED {
        return cut_product(x.t(), g);
    }
    let parts = pieces::map(n.rows.div_ceil(SUMMED), |i| {
        let rows = i * SUMMED..((i + 1) * SUMMED).min(n.rows);
        let fill = |out: &mut [MaybeUninit<f32>]| {
            let out = MatrixMut::fresh(out, n.inputs, n.outputs);
            product(out, x.rows(rows.clone()).t(), g.rows(rows.clone()), false);
        };
        // SAFETY: `product` writes all of its result.
        unsafe { pieces::buffer(n.inputs * n.outputs, fill) }
    });
    pieces::sum_in_order(parts, n.inputs * n.outputs)
}

/// `db`: the sum of the rows of `g`, in a fixed order.
pub(crate) fn bias_gradient(g: &[f32], n: Sizes) -> Vec<f32> {
    let piece = SUMMED * n.outputs;
    let parts = pieces::map(n.rows.div_ceil(SUMMED), |i| {
        let mut total = vec![0.0; n.outputs];
        add_rows(&g[i * piece..((i + 1) * piece).min(g.len())], &mut total);
        total
    });
    pieces::sum_in_order(parts, n.outputs)
}

multiversion! {
    /// Adds every row of `g` to `total`.
    fn add_rows(g: &[f32], total: &mut [f32]) = add_rows_body
}

#[inline(always)]
fn add_rows_body<const FMA: bool>(g: &[f32], total: &mut [f32]) {
    for row in g.chunks_exact(total.len()) {
        for (t, g) in total.iter_mut().zip(row) {
            *t += g;
        }
    }
}
