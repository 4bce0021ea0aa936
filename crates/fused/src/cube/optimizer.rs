//! Kernels of the optimisers.

use cubecl::prelude::*;

use super::rows::cube_sum;

/// Units of a cube of [`add_squares`].
pub(super) const UNITS: usize = 256;
/// Its cubes, each with a partial sum of its own.
pub(crate) const PARTS: usize = 64;

/// Adds squares to partial sums, one per cube, in place.
#[cube(launch_unchecked)]
pub(super) fn add_squares(x: &[f32], parts: &mut [f32], count: usize) {
    let mut sum = 0.0f32;
    let mut i = ABSOLUTE_POS;
    while i < count {
        sum += x[i] * x[i];
        i += UNITS * PARTS;
    }
    let sum = cube_sum(sum, UNITS);
    if UNIT_POS == 0 {
        parts[CUBE_POS] += sum;
    }
}

/// The sum of all values, by one cube.
#[cube(launch_unchecked)]
pub(super) fn total(parts: &[f32], out: &mut [f32], count: usize) {
    let mut sum = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < count {
        sum += parts[i];
        i += UNITS;
    }
    let sum = cube_sum(sum, UNITS);
    if UNIT_POS == 0 {
        out[0] = sum;
    }
}

/// One AdamW step; the moments are updated in place.
#[cube(launch_unchecked)]
#[allow(clippy::too_many_arguments, reason = "a kernel's arguments are its buffers and its constants")]
pub(super) fn adamw(
    parameter: &[f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
    out: &mut [f32],
    count: usize,
    gradient_scale: f32,
    beta1: f32,
    beta2: f32,
    keep: f32,
    rate: f32,
    root: f32,
    epsilon: f32,
) {
    if ABSOLUTE_POS < count {
        let g = gradient[ABSOLUTE_POS] * gradient_scale;
        let m = first[ABSOLUTE_POS] * beta1 + g * (1.0f32 - beta1);
        let v = second[ABSOLUTE_POS] * beta2 + g * g * (1.0f32 - beta2);
        first[ABSOLUTE_POS] = m;
        second[ABSOLUTE_POS] = v;
        out[ABSOLUTE_POS] = parameter[ABSOLUTE_POS] * keep - m * rate / (v.sqrt() * root + epsilon);
    }
}

/// One `RMSprop` step; the average is updated in place.
#[cube(launch_unchecked)]
pub(super) fn rmsprop(
    parameter: &[f32],
    gradient: &[f32],
    second: &mut [f32],
    out: &mut [f32],
    count: usize,
    gradient_scale: f32,
    learning_rate: f32,
    alpha: f32,
    epsilon: f32,
) {
    if ABSOLUTE_POS < count {
        let g = gradient[ABSOLUTE_POS] * gradient_scale;
        let v = second[ABSOLUTE_POS] * alpha + g * g * (1.0f32 - alpha);
        second[ABSOLUTE_POS] = v;
        out[ABSOLUTE_POS] = parameter[ABSOLUTE_POS] - g * learning_rate / (v.sqrt() + epsilon);
    }
}
