//! Optimiser steps: one pass over a parameter, its gradient and its moments.

use std::mem::MaybeUninit;

use super::pieces;
use super::simd::{dot, mul_add, multiversion};
use crate::rules::{AdamW, Factors, RmsProp};

/// Elements per piece of work.
const PIECE: usize = 16_384;

/// A piece of a parameter, of its gradient and of `N` moments, with room for the new parameter.
struct Piece<'a, const N: usize> {
    old: &'a [f32],
    gradient: &'a [f32],
    moments: [&'a mut [f32]; N],
    new: &'a mut [MaybeUninit<f32>],
}

/// Cuts a parameter's arrays into pieces and runs `work` on each; returns the new parameter.
fn update<const N: usize>(
    parameter: &[f32],
    gradient: &[f32],
    moments: [&mut [f32]; N],
    work: impl Fn(&mut Piece<N>) + Sync + Send,
) -> Vec<f32> {
    let len = parameter.len();
    assert!(
        gradient.len() == len && moments.iter().all(|moment| moment.len() == len),
        "parameter, gradient and moments differ in size"
    );
    let fill = |out: &mut [MaybeUninit<f32>]| {
        let mut moments = moments.map(|moment| moment.chunks_mut(PIECE));
        let mut all: Vec<Piece<N>> = parameter
            .chunks(PIECE)
            .zip(gradient.chunks(PIECE))
            .zip(out.chunks_mut(PIECE))
            .map(|((old, gradient), new)| Piece {
                old,
                gradient,
                moments: moments.each_mut().map(|chunks| chunks.next().unwrap_or_default()),
                new,
            })
            .collect();
        pieces::chunks(&mut all, 1, |_, piece| piece.iter_mut().for_each(&work));
    };
    // SAFETY: the pieces cover `out`, and each `work` below writes all of its piece.
    unsafe { pieces::buffer(len, fill) }
}

/// See [`crate::adamw`].
pub(crate) fn adamw(
    parameter: &[f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    rule: AdamW,
) -> Vec<f32> {
    let rule = rule.factors();
    update(parameter, gradient, [first, second], |piece| {
        let [first, second] = &mut piece.moments;
        adamw_piece(piece.old, piece.gradient, first, second, piece.new, rule);
    })
}

/// See [`crate::rmsprop`].
pub(crate) fn rmsprop(parameter: &[f32], gradient: &[f32], second: &mut [f32], rule: RmsProp) -> Vec<f32> {
    update(parameter, gradient, [second], |piece| {
        let [second] = &mut piece.moments;
        rmsprop_piece(piece.old, piece.gradient, second, piece.new, rule);
    })
}

/// Sum of squares, added up in pieces of fixed size.
pub(crate) fn sum_of_squares(x: &[f32]) -> f64 {
    let parts = pieces::map(x.len().div_ceil(PIECE), |i| {
        f64::from(squares(&x[i * PIECE..((i + 1) * PIECE).min(x.len())]))
    });
    parts.iter().sum()
}

multiversion! {
    fn adamw_piece(
        old: &[f32], gradient: &[f32], first: &mut [f32], second: &mut [f32],
        new: &mut [MaybeUninit<f32>], rule: Factors,
    ) = adamw_body
}
multiversion! {
    fn rmsprop_piece(
        old: &[f32], gradient: &[f32], second: &mut [f32], new: &mut [MaybeUninit<f32>], rule: RmsProp,
    ) = rmsprop_body
}
multiversion! {
    fn squares(x: &[f32]) -> f32 = squares_body
}

#[inline(always)]
fn squares_body<const FMA: bool>(x: &[f32]) -> f32 {
    dot::<FMA>(x, x)
}

#[inline(always)]
fn adamw_body<const FMA: bool>(
    old: &[f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    new: &mut [MaybeUninit<f32>],
    rule: Factors,
) {
    let moments = first.iter_mut().zip(second);
    for (((new, old), gradient), (m, v)) in new.iter_mut().zip(old).zip(gradient).zip(moments) {
        let g = gradient * rule.gradient_scale;
        *m = mul_add::<FMA>(1.0 - rule.beta1, g, rule.beta1 * *m);
        *v = mul_add::<FMA>((1.0 - rule.beta2) * g, g, rule.beta2 * *v);
        let step = rule.rate * *m / mul_add::<FMA>(v.sqrt(), rule.root, rule.epsilon);
        new.write(mul_add::<FMA>(*old, rule.keep, -step));
    }
}

#[inline(always)]
fn rmsprop_body<const FMA: bool>(
    old: &[f32],
    gradient: &[f32],
    second: &mut [f32],
    new: &mut [MaybeUninit<f32>],
    rule: RmsProp,
) {
    for (((new, old), gradient), v) in new.iter_mut().zip(old).zip(gradient).zip(second) {
        let g = gradient * rule.gradient_scale;
        *v = mul_add::<FMA>((1.0 - rule.alpha) * g, g, rule.alpha * *v);
        new.write(old - rule.learning_rate * g / (v.sqrt() + rule.epsilon));
    }
}
