//! Rows of a table.

use std::mem::MaybeUninit;

/// The rows `ids` of a table with rows of `d` elements.
pub(crate) fn forward(table: &[f32], ids: &[usize], d: usize) -> Vec<f32> {
    let fill = |out: &mut [MaybeUninit<f32>]| {
        for (out, &id) in out.chunks_exact_mut(d).zip(ids) {
            out.write_copy_of_slice(&table[id * d..(id + 1) * d]);
        }
    };
    // SAFETY: there is one id for each row of `out`, and each row is copied whole.
    unsafe { super::pieces::buffer(ids.len() * d, fill) }
}

/// Adds each row of `g` to the row of its id, in order.
///
/// It runs on one thread, so the rows are added in order; it takes a fraction of a percent of a training
/// step.
pub(crate) fn backward(g: &[f32], ids: &[usize], table_rows: usize, d: usize) -> Vec<f32> {
    let mut out = vec![0.0; table_rows * d];
    for (g, &id) in g.chunks_exact(d).zip(ids) {
        for (out, g) in out[id * d..(id + 1) * d].iter_mut().zip(g) {
            *out += g;
        }
    }
    out
}
