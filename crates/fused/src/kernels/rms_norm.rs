//! Root-mean-square normalisation.

use std::mem::MaybeUninit;

use super::pieces;
use super::simd::{dot, mul_add, multiversion};

/// Rows per piece of work.
const ROWS: usize = 64;

/// `x / sqrt(mean(x^2) + eps) * gamma` for each row of `gamma.len()` elements.
pub(crate) fn forward(x: &[f32], gamma: &[f32], eps: f32) -> Vec<f32> {
    // SAFETY: a piece is whole rows, and `forward_rows` writes every row.
    unsafe {
        pieces::filled(x.len(), ROWS * gamma.len(), |piece, out| forward_rows(&x[piece], gamma, eps, out))
    }
}

/// Gradients of x and gamma. With `r = 1 / sqrt(mean(x^2) + eps)` and `h = x r`:
/// `dx = r (gamma g - h mean(gamma g h))`, `dgamma = sum g h` over rows.
pub(crate) fn backward(x: &[f32], gamma: &[f32], g: &[f32], eps: f32) -> (Vec<f32>, Vec<f32>) {
    let d = gamma.len();
    assert_eq!(x.len(), g.len(), "gradient and input differ in size");
    // SAFETY: a piece is whole rows, and `backward_rows` writes every row.
    unsafe {
        pieces::filled_with_sums(x.len(), ROWS * d, d, |piece, out, sum| {
            backward_rows(&x[piece.clone()], gamma, &g[piece], eps, out, sum);
        })
    }
}

multiversion! {
    fn forward_rows(x: &[f32], gamma: &[f32], eps: f32, out: &mut [MaybeUninit<f32>]) = forward_body
}
multiversion! {
    fn backward_rows(
        x: &[f32], gamma: &[f32], g: &[f32], eps: f32, out: &mut [MaybeUninit<f32>], gamma_sum: &mut [f32],
    ) = backward_body
}

/// `1 / sqrt(mean(x^2) + eps)`.
#[inline(always)]
fn inverse_root<const FMA: bool>(x: &[f32], eps: f32) -> f32 {
    1.0 / (dot::<FMA>(x, x) / x.len() as f32 + eps).sqrt()
}

#[inline(always)]
fn forward_body<const FMA: bool>(x: &[f32], gamma: &[f32], eps: f32, out: &mut [MaybeUninit<f32>]) {
    let d = gamma.len();
    for (x, out) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
        let inverse = inverse_root::<FMA>(x, eps);
        for ((out, x), gamma) in out.iter_mut().zip(x).zip(gamma) {
            out.write(x * inverse * gamma);
        }
    }
}

#[inline(always)]
fn backward_body<const FMA: bool>(
    x: &[f32],
    gamma: &[f32],
    g: &[f32],
    eps: f32,
    out: &mut [MaybeUninit<f32>],
    gamma_sum: &mut [f32],
) {
    let d = gamma.len();
    let mut weighted = vec![0.0; d];
    for ((x, out), g) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)).zip(g.chunks_exact(d)) {
        let inverse = inverse_root::<FMA>(x, eps);
        for (((w, g), gamma), (sum, x)) in
            weighted.iter_mut().zip(g).zip(gamma).zip(gamma_sum.iter_mut().zip(x))
        {
            *w = g * gamma;
            *sum = mul_add::<FMA>(*g, x * inverse, *sum);
        }
        // h mean(gamma g h) = x r^2 mean(gamma g x).
        let slope = dot::<FMA>(&weighted, x) / d as f32 * inverse * inverse;
        for ((out, w), x) in out.iter_mut().zip(&weighted).zip(x) {
            out.write(inverse * mul_add::<FMA>(-slope, *x, *w));
        }
    }
}
