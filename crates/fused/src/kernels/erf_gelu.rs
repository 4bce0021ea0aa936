//! GELU in its exact form, `x Phi(x)` with the standard normal's cumulative distribution Phi (Hendrycks and
//! Gimpel 2016).
//!
//! `Phi(-|x|) = erfc(z)/2` with `z = |x|/sqrt(2)`, and `erfc(z) = e^(-z^2) t Q(t)` with `t = 1/(1 + p z)`,
//! the form of Abramowitz and Stegun 7.1.26. Q has degree 7 here, fitted to the smallest largest relative
//! error on `0 <= z <= 9`, which is `9e-8` before rounding; so small values far below zero keep their digits
//! too, and the exponential serves the derivative `Phi(x) + x phi(x)` as well.

use std::mem::MaybeUninit;

use super::pieces;
use super::simd::{exp, mul_add, multiversion};

/// Elements per piece of work.
const PIECE: usize = 16_384;
/// `p` of Abramowitz and Stegun 7.1.26.
const P: f32 = 0.327_591_1;
/// Coefficients of Q, the constant first.
const Q: [f32; 8] = [
    0.185_076_71,
    0.180_392_97,
    0.207_864_28,
    0.019_229_587,
    0.464_524_3,
    -0.417_810_02,
    0.503_441_6,
    -0.142_719_28,
];
/// Beyond this z, Phi is 0 or 1 to f32 precision, and the exponential would be subnormal.
const SATURATED: f32 = 9.0;
/// `1 / sqrt(2 pi)`.
const DENSITY: f32 = 0.398_942_3;

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

/// `Phi(x)` and `e^(-x^2/2)`.
#[inline(always)]
fn normal<const FMA: bool>(x: f32) -> (f32, f32) {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    // A comparison in this direction lets NaN through.
    let z = if z > SATURATED { SATURATED } else { z };
    let t = 1.0 / mul_add::<FMA>(P, z, 1.0);
    let mut q = Q[7];
    q = mul_add::<FMA>(q, t, Q[6]);
    q = mul_add::<FMA>(q, t, Q[5]);
    q = mul_add::<FMA>(q, t, Q[4]);
    q = mul_add::<FMA>(q, t, Q[3]);
    q = mul_add::<FMA>(q, t, Q[2]);
    q = mul_add::<FMA>(q, t, Q[1]);
    q = mul_add::<FMA>(q, t, Q[0]);
    let e = exp::<FMA>(-z * z);
    let tail = 0.5 * e * t * q;
    (if x > 0.0 { 1.0 - tail } else { tail }, e)
}

#[inline(always)]
fn forward_body<const FMA: bool>(x: &[f32], out: &mut [MaybeUninit<f32>]) {
    for (out, &x) in out.iter_mut().zip(x) {
        out.write(x * normal::<FMA>(x).0);
    }
}

#[inline(always)]
fn backward_body<const FMA: bool>(x: &[f32], g: &[f32], out: &mut [MaybeUninit<f32>]) {
    for ((out, &x), &g) in out.iter_mut().zip(x).zip(g) {
        let (cumulative, e) = normal::<FMA>(x);
        out.write(g * mul_add::<FMA>(x * DENSITY, e, cumulative));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(x, Phi(x))` from tables of the normal distribution to ten digits; far below zero the relative error
    /// counts.
    const TABLE: [(f32, f64); 7] = [
        (0.0, 0.5),
        (0.5, 0.691_462_461_3),
        (1.0, 0.841_344_746_1),
        (3.0, 0.998_650_102_0),
        (-1.0, 0.158_655_253_9),
        (-3.0, 1.349_898_032e-3),
        (-6.0, 9.865_876_450e-10),
    ];

    fn check<const FMA: bool>() {
        for (x, want) in TABLE {
            let found = f64::from(normal::<FMA>(x).0);
            assert!((found - want).abs() < 4e-6 * want, "Phi({x}) is {found}, the tables have {want}");
        }
    }

    #[test]
    fn the_normal_distribution_is_that_of_the_tables() {
        check::<true>();
        check::<false>();
        assert!(normal::<true>(f32::NAN).0.is_nan());
        assert!(normal::<true>(1e30).0.total_cmp(&1.0).is_eq());
        assert!(normal::<true>(-1e30).0 < 1e-35);
    }
}
