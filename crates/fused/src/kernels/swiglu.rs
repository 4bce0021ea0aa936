//! The gate of a SwiGLU: `silu(a) b` with `silu(a) = a sigmoid(a)`.

use std::mem::MaybeUninit;

use super::matrix::Shared;
use super::pieces;
use super::simd::{exp, mul_add, multiversion};

/// Elements per piece of work.
const PIECE: usize = 16_384;

/// `silu(a) b`.
pub(crate) fn forward(a: &[f32], b: &[f32]) -> Vec<f32> {
    assert_eq!(a.len(), b.len(), "the two factors differ in size");
    // SAFETY: `forward_piece` writes all of its piece.
    unsafe { pieces::filled(a.len(), PIECE, |piece, out| forward_piece(&a[piece.clone()], &b[piece], out)) }
}

/// Gradients of a and b. With `s = sigmoid(a)`: `da = g b s (1 + a (1 - s))`, `db = g a s`.
pub(crate) fn backward(a: &[f32], b: &[f32], g: &[f32]) -> [Vec<f32>; 2] {
    let len = a.len();
    assert!(len == b.len() && len == g.len(), "gradient and factors differ in size");
    let mut db = Vec::new();
    let fill_a = |da: &mut [MaybeUninit<f32>]| {
        let fill_b = |db: &mut [MaybeUninit<f32>]| {
            let db = Shared::new(db);
            pieces::chunks(da, PIECE, |i, da| {
                let piece = i * PIECE..i * PIECE + da.len();
                // SAFETY: the ranges of different pieces do not overlap.
                let db = unsafe { db.slice(piece.clone()) };
                backward_piece(&a[piece.clone()], &b[piece.clone()], &g[piece], da, db);
            });
        };
        // SAFETY: the pieces cover both gradients, and `backward_piece` writes all of its piece.
        db = unsafe { pieces::buffer(len, fill_b) };
    };
    // SAFETY: as above.
    let da = unsafe { pieces::buffer(len, fill_a) };
    [da, db]
}

multiversion! {
    fn forward_piece(a: &[f32], b: &[f32], out: &mut [MaybeUninit<f32>]) = forward_body
}
multiversion! {
    fn backward_piece(
        a: &[f32], b: &[f32], g: &[f32], da: &mut [MaybeUninit<f32>], db: &mut [MaybeUninit<f32>],
    ) = backward_body
}

#[inline(always)]
fn sigmoid<const FMA: bool>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<FMA>(-x))
}

#[inline(always)]
fn forward_body<const FMA: bool>(a: &[f32], b: &[f32], out: &mut [MaybeUninit<f32>]) {
    for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
        out.write(a * sigmoid::<FMA>(a) * b);
    }
}

#[inline(always)]
fn backward_body<const FMA: bool>(
    a: &[f32],
    b: &[f32],
    g: &[f32],
    da: &mut [MaybeUninit<f32>],
    db: &mut [MaybeUninit<f32>],
) {
    for ((((da, db), &a), &b), &g) in da.iter_mut().zip(db).zip(a).zip(b).zip(g) {
        let s = sigmoid::<FMA>(a);
        db.write(g * a * s);
        da.write(g * b * s * mul_add::<FMA>(a, 1.0 - s, 1.0));
    }
}
