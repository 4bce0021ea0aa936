//! Rotary position embedding of packed `q|k|v`.

use std::mem::MaybeUninit;

use super::pieces;
use super::simd::{mul_add, multiversion};
use crate::rotation::{Pairs, Rotation};

/// Rows per piece of work.
const ROWS: usize = 32;

/// Sizes of the packed rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// Heads that are rotated: those of queries and keys, which come first.
    pub(crate) rotated: usize,
    /// Columns of a row.
    pub(crate) packed: usize,
    pub(crate) head_dim: usize,
}

/// Rotates the queries and keys of every row and copies its values; `sign` is 1, or -1 for the inverse
/// rotation.
pub(crate) fn rotate(x: &[f32], rotation: &Rotation, sign: f32, n: Sizes) -> Vec<f32> {
    let fill = |out: &mut [MaybeUninit<f32>]| {
        pieces::chunks(out, ROWS * n.packed, |i, out| {
            let rows = x[i * ROWS * n.packed..].chunks_exact(n.packed).zip(out.chunks_exact_mut(n.packed));
            for (row, (x, out)) in rows.enumerate() {
                let (cos, sin) = rotation.row(i * ROWS + row);
                let rotated = n.rotated * n.head_dim;
                let (turned, kept) = out.split_at_mut(rotated);
                match rotation.pairs() {
                    Pairs::Halves => rotate_row(&x[..rotated], cos, sin, sign, turned),
                    Pairs::Neighbours { head_dim } => {
                        rotate_neighbours(&x[..rotated], head_dim, cos, sin, sign, turned);
                    }
                }
                kept.write_copy_of_slice(&x[rotated..]);
            }
        });
    };
    // SAFETY: the pieces cover `out`, which is whole rows, and every row is rotated or copied whole.
    unsafe { pieces::buffer(x.len(), fill) }
}

multiversion! {
    /// Rotates the neighbours that begin the heads of one row, one pair for each element of `cos` and `sin`,
    /// and copies the rest of each head.
    fn rotate_neighbours(
        x: &[f32],
        head_dim: usize,
        cos: &[f32],
        sin: &[f32],
        sign: f32,
        out: &mut [MaybeUninit<f32>],
    ) = rotate_neighbours_body
}

#[inline(always)]
fn rotate_neighbours_body<const FMA: bool>(
    x: &[f32],
    head_dim: usize,
    cos: &[f32],
    sin: &[f32],
    sign: f32,
    out: &mut [MaybeUninit<f32>],
) {
    for (x, out) in x.chunks_exact(head_dim).zip(out.chunks_exact_mut(head_dim)) {
        let ((x, kept), (out, rest)) = (x.split_at(2 * cos.len()), out.split_at_mut(2 * cos.len()));
        let pairs = x.as_chunks::<2>().0.iter().zip(out.as_chunks_mut::<2>().0);
        for ((cos, sin), ([a, b], out)) in cos.iter().zip(sin).zip(pairs) {
            let sin = sign * sin;
            out[0].write(mul_add::<FMA>(-b, sin, a * cos));
            out[1].write(mul_add::<FMA>(*a, sin, b * cos));
        }
        rest.write_copy_of_slice(kept);
    }
}

multiversion! {
    /// Rotates the heads of one row; `cos` and `sin` have half a head's elements.
    fn rotate_row(x: &[f32], cos: &[f32], sin: &[f32], sign: f32, out: &mut [MaybeUninit<f32>]) = rotate_body
}

#[inline(always)]
fn rotate_body<const FMA: bool>(
    x: &[f32],
    cos: &[f32],
    sin: &[f32],
    sign: f32,
    out: &mut [MaybeUninit<f32>],
) {
    let half = cos.len();
    let heads = x.chunks_exact(2 * half).zip(out.chunks_exact_mut(2 * half));
    for (x, out) in heads {
        let ((first, second), (low, high)) = (x.split_at(half), out.split_at_mut(half));
        let turns = cos.iter().zip(sin).zip(first.iter().zip(second));
        for (((cos, sin), (a, b)), (low, high)) in turns.zip(low.iter_mut().zip(high)) {
            let sin = sign * sin;
            low.write(mul_add::<FMA>(-b, sin, a * cos));
            high.write(mul_add::<FMA>(*a, sin, b * cos));
        }
    }
}
