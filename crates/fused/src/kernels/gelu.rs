//! GELU in GPT-2's tanh form.
//!
//! `x/2 (1 + tanh u) = x sigmoid(2u)` with `u = sqrt(2/pi) (x + 0.044715 x^3)`: one exponential.

use std::mem::MaybeUninit;

use super::pieces;
use super::simd::{exp, mul_add, multiversion};

/// Elements per piece of work.
const PIECE: usize = 16_384;
/// `2 sqrt(2/pi)`.
const SLOPE: f32 = 1.595_769;
const CUBIC: f32 = 0.044_715;
/// Beyond this, `sigmoid(2u)` is 0 or 1 to f32 precision, and cubes of larger x could overflow.
const SATURATED: f32 = 10.0;

/// `gelu(x)`.
pub(crate) fn forward(x: &[f32]) -> Vec<f32> {
    // SAFETY: `forward_piece` writes all of its piece.
    unsafe { pieces::filled(x.len(), PIECE, |piece, out| forward_piece(&x[piece], out)) }
}

/// `g gelu'(x)`.
pub(crate) fn backward(x: &[f32], g: &[f32]) -> Vec<f32> {
    assert_eq!(x.len(), g.len(), "gradient and input differ in size");
    // SAFETY: `backward_piece` writes all of its piece.
    unsafe { pieces::filled(x.len(), PIECE, |piece, out| backward_piece(&x[piece.clone()], &g[piece], out)) }
}

multiversion! {
    fn forward_piece(x: &[f32], out: &mut [MaybeUninit<f32>]) = forward_body
}
multiversion! {
    fn backward_piece(x: &[f32], g: &[f32], out: &mut [MaybeUninit<f32>]) = backward_body
}

#[inline(always)]
fn clamp(x: f32) -> f32 {
    let x = if x < -SATURATED { -SATURATED } else { x };
    if x > SATURATED { SATURATED } else { x }
}

#[inline(always)]
fn forward_body<const FMA: bool>(x: &[f32], out: &mut [MaybeUninit<f32>]) {
    for (out, &x) in out.iter_mut().zip(x) {
        let c = clamp(x);
        let z = SLOPE * c * mul_add::<FMA>(CUBIC * c, c, 1.0);
        out.write(x / (1.0 + exp::<FMA>(-z)));
    }
}

#[inline(always)]
fn backward_body<const FMA: bool>(x: &[f32], g: &[f32], out: &mut [MaybeUninit<f32>]) {
    for ((out, &x), &g) in out.iter_mut().zip(x).zip(g) {
        let c = clamp(x);
        let z = SLOPE * c * mul_add::<FMA>(CUBIC * c, c, 1.0);
        let s = 1.0 / (1.0 + exp::<FMA>(-z));
        let dz = SLOPE * mul_add::<FMA>(3.0 * CUBIC * c, c, 1.0);
        out.write(g * mul_add::<FMA>(c * s * (1.0 - s), dz, s));
    }
}
