//! Affine map `y = x W + b`.

use std::mem::MaybeUninit;

use super::matrix::{Matrix, MatrixMut, Shared, product};
use super::pieces;

/// Rows of `y` or `dx` per piece of work.
const ROWS: usize = 256;
/// Columns of `dW` per piece of work, at least.
const COLUMNS: usize = 192;

/// Sizes of a linear layer's operands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) rows: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
}

/// `x W + b`.
pub(crate) fn forward(x: &[f32], weight: &[f32], bias: &[f32], n: Sizes) -> Vec<f32> {
    let x = Matrix::dense(x, n.rows, n.inputs);
    let weight = Matrix::dense(weight, n.inputs, n.outputs);
    assert_eq!(bias.len(), n.outputs, "bias and weight differ in size");
    let fill = |out: &mut [MaybeUninit<f32>]| {
        pieces::chunks(out, ROWS * n.outputs, |i, out| {
            let rows = out.len() / n.outputs;
            for row in out.chunks_exact_mut(n.outputs) {
                row.write_copy_of_slice(bias);
            }
            // SAFETY: the loop above has written every row.
            let out = unsafe { pieces::written(out) };
            let out = MatrixMut::new(out, rows, n.outputs, n.outputs);
            product(out, x.rows(i * ROWS..i * ROWS + rows), weight, true);
        });
    };
    // SAFETY: the pieces cover `out`, and each writes all of its rows.
    unsafe { pieces::buffer(n.rows * n.outputs, fill) }
}

/// `dx = g W^T`.
pub(crate) fn input_gradient(g: &[f32], weight: &[f32], n: Sizes) -> Vec<f32> {
    let g = Matrix::dense(g, n.rows, n.outputs);
    let weight = Matrix::dense(weight, n.inputs, n.outputs).t();
    let fill = |out: &mut [MaybeUninit<f32>]| {
        pieces::chunks(out, ROWS * n.inputs, |i, out| {
            let rows = out.len() / n.inputs;
            let out = MatrixMut::fresh(out, rows, n.inputs);
            product(out, g.rows(i * ROWS..i * ROWS + rows), weight, false);
        });
    };
    // SAFETY: the pieces cover `out`, and `product` writes all of its result.
    unsafe { pieces::buffer(n.rows * n.inputs, fill) }
}

/// `dW = x^T g`.
pub(crate) fn weight_gradient(x: &[f32], g: &[f32], n: Sizes) -> Vec<f32> {
    let x = Matrix::dense(x, n.rows, n.inputs).t();
    let g = Matrix::dense(g, n.rows, n.outputs).t();
    // At most four pieces: each packs all of x again.
    let width = COLUMNS.max(n.outputs.div_ceil(4).next_multiple_of(16));
    let fill = |out: &mut [MaybeUninit<f32>]| {
        let out = Shared::new(out);
        pieces::each(n.outputs.div_ceil(width), |i| {
            let columns = i * width..((i + 1) * width).min(n.outputs);
            // SAFETY: pieces write different columns.
            let out = unsafe { out.block(columns.start, n.inputs, columns.len(), n.outputs) };
            product(out, x, g.rows(columns).t(), false);
        });
    };
    // SAFETY: the pieces cover all columns, and `product` writes all of its result.
    unsafe { pieces::buffer(n.inputs * n.outputs, fill) }
}

/// `db`: the sum of the rows of `g`, in a fixed order.
pub(crate) fn bias_gradient(g: &[f32], n: Sizes) -> Vec<f32> {
    let piece = ROWS * n.outputs;
    let parts = pieces::map(n.rows.div_ceil(ROWS), |i| {
        let mut total = vec![0.0; n.outputs];
        for row in g[i * piece..((i + 1) * piece).min(g.len())].chunks_exact(n.outputs) {
            for (t, g) in total.iter_mut().zip(row) {
                *t += g;
            }
        }
        total
    });
    pieces::sum_in_order(parts, n.outputs)
}
