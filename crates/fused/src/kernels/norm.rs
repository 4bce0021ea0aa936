//! Layer normalisation.

use std::mem::MaybeUninit;

use super::pieces;
use super::simd::{dot, mul_add, multiversion, sum};

/// Rows per piece of work.
const ROWS: usize = 64;

/// Gradients of [`forward`].
pub(crate) struct Gradients {
    pub(crate) x: Vec<f32>,
    pub(crate) gamma: Vec<f32>,
    pub(crate) beta: Vec<f32>,
}

/// `(x - mean) / sqrt(var + eps) * gamma + beta` for each row of `gamma.len()` elements.
pub(crate) fn forward(x: &[f32], gamma: &[f32], beta: &[f32], eps: f32) -> Vec<f32> {
    // SAFETY: a piece is whole rows, and `forward_rows` writes every row.
    unsafe {
        pieces::filled(x.len(), ROWS * gamma.len(), |piece, out| {
            forward_rows(&x[piece], gamma, beta, eps, out);
        })
    }
}

/// With `h = (x - mean)/sigma`: `dx = (gamma g - mean(gamma g) - h mean(gamma g h)) / sigma`,
/// `dgamma = sum g h`, `dbeta = sum g`, the sums over rows.
pub(crate) fn backward(x: &[f32], gamma: &[f32], g: &[f32], eps: f32) -> Gradients {
    let d = gamma.len();
    assert_eq!(x.len(), g.len(), "gradient and input differ in size");
    // SAFETY: a piece is whole rows, and `backward_rows` writes every row.
    let (dx, mut gamma) = unsafe {
        pieces::filled_with_sums(x.len(), ROWS * d, 2 * d, |piece, out, sums| {
            let (gamma_sum, beta_sum) = sums.split_at_mut(d);
            backward_rows(&x[piece.clone()], gamma, &g[piece], eps, out, gamma_sum, beta_sum);
        })
    };
    let beta = gamma.split_off(d);
    Gradients { x: dx, gamma, beta }
}

multiversion! {
    fn forward_rows(x: &[f32], gamma: &[f32], beta: &[f32], eps: f32, out: &mut [MaybeUninit<f32>]) = forward_body
}
multiversion! {
    fn backward_rows(
        x: &[f32], gamma: &[f32], g: &[f32], eps: f32,
        out: &mut [MaybeUninit<f32>], gamma_sum: &mut [f32], beta_sum: &mut [f32],
    ) = backward_body
}

/// Writes `x - mean` and returns `1 / sqrt(var + eps)`.
#[inline(always)]
fn centre<const FMA: bool>(x: &[f32], eps: f32, centred: &mut [f32]) -> f32 {
    let d = x.len() as f32;
    let mean = sum(x) / d;
    for (c, x) in centred.iter_mut().zip(x) {
        *c = x - mean;
    }
    1.0 / (dot::<FMA>(centred, centred) / d + eps).sqrt()
}

#[inline(always)]
fn forward_body<const FMA: bool>(
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    eps: f32,
    out: &mut [MaybeUninit<f32>],
) {
    let d = gamma.len();
    let mut centred = vec![0.0; d];
    for (x, out) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
        let inverse = centre::<FMA>(x, eps, &mut centred);
        for (((out, c), gamma), beta) in out.iter_mut().zip(&centred).zip(gamma).zip(beta) {
            out.write(mul_add::<FMA>(c * inverse, *gamma, *beta));
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
    beta_sum: &mut [f32],
) {
    let d = gamma.len();
    let (mut h, mut weighted) = (vec![0.0; d], vec![0.0; d]);
    for ((x, out), g) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)).zip(g.chunks_exact(d)) {
        let inverse = centre::<FMA>(x, eps, &mut h);
        for (((h, w), g), gamma) in h.iter_mut().zip(&mut weighted).zip(g).zip(gamma) {
            *h *= inverse;
            *w = g * gamma;
        }
        for (((gamma_sum, beta_sum), g), h) in gamma_sum.iter_mut().zip(&mut *beta_sum).zip(g).zip(&h) {
            *gamma_sum = mul_add::<FMA>(*g, *h, *gamma_sum);
            *beta_sum += g;
        }
        let mean = sum(&weighted) / d as f32;
        let slope = dot::<FMA>(&weighted, &h) / d as f32;
        for ((out, w), h) in out.iter_mut().zip(&weighted).zip(&h) {
            out.write(inverse * mul_add::<FMA>(-slope, *h, w - mean));
        }
    }
}
