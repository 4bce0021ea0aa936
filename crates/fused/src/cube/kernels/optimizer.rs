//! Kernels of the optimisers. One launch serves many tensors: a small model has dozens, and a launch costs
//! more than the update of most of them.

use cubecl::prelude::*;

use super::rows::cube_sum;

/// Units per cube.
pub(in crate::cube) const UNITS: usize = 256;
/// Cubes per tensor: together they stride over its elements, and each has a partial sum of squares of its
/// own.
pub(in crate::cube) const CUBES: usize = 128;

#[cube]
fn set(tensor: &mut Box<[f32]>, at: usize, value: f32) {
    tensor[at] = value;
}

/// Partial sums of the squares of each tensor: cube c of line t writes partial sum `(t, c)`, for tensor t.
#[cube(launch_unchecked)]
pub(in crate::cube) fn add_squares(
    tensors: Sequence<Box<[f32]>>,
    counts: Sequence<usize>,
    sums: &mut [f32],
    #[comptime] size: usize,
) {
    let mut sum = 0.0f32;
    #[unroll]
    for t in 0..size {
        if CUBE_POS_Y as usize == t {
            let mut i = CUBE_POS_X as usize * UNITS + UNIT_POS as usize;
            while i < counts[t] {
                sum += tensors[t][i] * tensors[t][i];
                i += UNITS * CUBES;
            }
        }
    }
    let sum = cube_sum(sum, UNITS);
    if UNIT_POS == 0 {
        sums[CUBE_POS_Y as usize * CUBES + CUBE_POS_X as usize] = sum;
    }
}

/// The sum of all values, by one cube.
#[cube(launch_unchecked)]
pub(in crate::cube) fn total(parts: &[f32], out: &mut [f32], count: usize) {
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

/// One AdamW step of each tensor; the moments are updated in place.
#[cube(launch_unchecked)]
#[expect(clippy::too_many_arguments, reason = "a kernel's arguments are its buffers and its constants")]
pub(in crate::cube) fn adamw(
    parameters: Sequence<Box<[f32]>>,
    gradients: Sequence<Box<[f32]>>,
    firsts: &mut Sequence<Box<[f32]>>,
    seconds: &mut Sequence<Box<[f32]>>,
    outs: &mut Sequence<Box<[f32]>>,
    counts: Sequence<usize>,
    gradient_scale: f32,
    beta1: f32,
    beta2: f32,
    keep: f32,
    rate: f32,
    root: f32,
    epsilon: f32,
    #[comptime] size: usize,
) {
    #[unroll]
    for t in 0..size {
        if CUBE_POS_Y as usize == t {
            let mut i = CUBE_POS_X as usize * UNITS + UNIT_POS as usize;
            while i < counts[t] {
                let g = gradients[t][i] * gradient_scale;
                let m = firsts[t][i] * beta1 + g * (1.0f32 - beta1);
                let v = seconds[t][i] * beta2 + g * g * (1.0f32 - beta2);
                set(firsts.index_mut(t), i, m);
                set(seconds.index_mut(t), i, v);
                set(outs.index_mut(t), i, parameters[t][i] * keep - m * rate / (v.sqrt() * root + epsilon));
                i += UNITS * CUBES;
            }
        }
    }
}

/// One `RMSprop` step of each tensor; the averages are updated in place.
#[cube(launch_unchecked)]
pub(in crate::cube) fn rmsprop(
    parameters: Sequence<Box<[f32]>>,
    gradients: Sequence<Box<[f32]>>,
    seconds: &mut Sequence<Box<[f32]>>,
    outs: &mut Sequence<Box<[f32]>>,
    counts: Sequence<usize>,
    gradient_scale: f32,
    learning_rate: f32,
    alpha: f32,
    epsilon: f32,
    #[comptime] size: usize,
) {
    #[unroll]
    for t in 0..size {
        if CUBE_POS_Y as usize == t {
            let mut i = CUBE_POS_X as usize * UNITS + UNIT_POS as usize;
            while i < counts[t] {
                let g = gradients[t][i] * gradient_scale;
                let v = seconds[t][i] * alpha + g * g * (1.0f32 - alpha);
                set(seconds.index_mut(t), i, v);
                set(outs.index_mut(t), i, parameters[t][i] - g * learning_rate / (v.sqrt() + epsilon));
                i += UNITS * CUBES;
            }
        }
    }
}
