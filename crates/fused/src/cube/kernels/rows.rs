//! Kernels over the rows of a matrix: layer norm, GELU, biases, embeddings, and sums over rows.

use cubecl::prelude::*;

/// Below every score, and still a number: WGSL has no infinity.
pub(in crate::cube) const LOWEST: f32 = -1e30;

/// The sum of one value per unit over the cube, known to all units: a tree in shared memory, so that the
/// order of additions depends on `units` alone.
#[cube]
pub(in crate::cube) fn cube_sum(value: f32, #[comptime] units: usize) -> f32 {
    let mut scratch = Shared::<[f32]>::new_slice(units);
    let unit = UNIT_POS as usize;
    scratch[unit] = value;
    sync_cube();
    let mut half = comptime!(units / 2).runtime();
    while half > 0 {
        if unit < half {
            let other = scratch[unit + half];
            scratch[unit] += other;
        }
        sync_cube();
        half /= 2;
    }
    scratch[0]
}

/// The largest of one value per unit over the cube, known to all units.
#[cube]
pub(in crate::cube) fn cube_max(value: f32, #[comptime] units: usize) -> f32 {
    let mut scratch = Shared::<[f32]>::new_slice(units);
    let unit = UNIT_POS as usize;
    scratch[unit] = value;
    sync_cube();
    let mut half = comptime!(units / 2).runtime();
    while half > 0 {
        if unit < half {
            scratch[unit] = max(scratch[unit], scratch[unit + half]);
        }
        sync_cube();
        half /= 2;
    }
    scratch[0]
}

/// Mean and `1 / sqrt(variance + eps)` of row `CUBE_POS`.
#[cube]
fn moments(x: &[f32], d: usize, eps: f32, #[comptime] units: usize) -> (f32, f32) {
    let start = CUBE_POS * d;
    let mut sum = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < d {
        sum += x[start + i];
        i += units;
    }
    let mean = cube_sum(sum, units) / (d as f32);
    let mut squares = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < d {
        let centred = x[start + i] - mean;
        squares += centred * centred;
        i += units;
    }
    let variance = cube_sum(squares, units) / (d as f32);
    (mean, 1.0f32 / (variance + eps).sqrt())
}

/// One cube per row.
#[cube(launch_unchecked)]
pub(in crate::cube) fn layer_norm(
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    y: &mut [f32],
    rows: usize,
    d: usize,
    eps: f32,
    #[comptime] units: usize,
) {
    if CUBE_POS < rows {
        let (mean, scale) = moments(x, d, eps, units);
        let start = CUBE_POS * d;
        let mut i = UNIT_POS as usize;
        while i < d {
            y[start + i] = (x[start + i] - mean) * scale * gamma[i] + beta[i];
            i += units;
        }
    }
}

/// Gradient of the input, one cube per row, and the row's mean and scale for [`column_sums`].
#[cube(launch_unchecked)]
pub(in crate::cube) fn layer_norm_input_gradient(
    x: &[f32],
    gamma: &[f32],
    g: &[f32],
    dx: &mut [f32],
    stats: &mut [f32],
    rows: usize,
    d: usize,
    eps: f32,
    #[comptime] units: usize,
) {
    if CUBE_POS < rows {
        let (mean, scale) = moments(x, d, eps, units);
        let start = CUBE_POS * d;
        let mut sum = 0.0f32;
        let mut along = 0.0f32;
        let mut i = UNIT_POS as usize;
        while i < d {
            let slope = g[start + i] * gamma[i];
            sum += slope;
            along += slope * (x[start + i] - mean) * scale;
            i += units;
        }
        let sum = cube_sum(sum, units) / (d as f32);
        let along = cube_sum(along, units) / (d as f32);
        let mut i = UNIT_POS as usize;
        while i < d {
            let normal = (x[start + i] - mean) * scale;
            dx[start + i] = scale * (g[start + i] * gamma[i] - sum - normal * along);
            i += units;
        }
        if UNIT_POS == 0 {
            stats[2 * CUBE_POS] = mean;
            stats[2 * CUBE_POS + 1] = scale;
        }
    }
}

/// Columns that a cube of [`column_sums`] adds up.
pub(in crate::cube) const COLUMNS: usize = 32;
/// Units of such a cube for each of its columns.
pub(in crate::cube) const STRIPES: usize = 8;

/// Sums over a chunk of rows, for every column: `sums` of `g`, and `normal_sums`, if they are `normalised`,
/// of `g (x - mean) scale`; both `[chunks, columns]`. Cube `(c, k)` does columns `32 c ..` of chunk k.
#[cube(launch_unchecked)]
pub(in crate::cube) fn column_sums(
    g: &[f32],
    x: &[f32],
    stats: &[f32],
    sums: &mut [f32],
    normal_sums: &mut [f32],
    rows: usize,
    columns: usize,
    chunk: usize,
    #[comptime] normalised: bool,
) {
    let column = CUBE_POS_X as usize * COLUMNS + UNIT_POS_X as usize;
    let first = CUBE_POS_Y as usize * chunk;
    let last = min(first + chunk, rows);
    let mut plain = 0.0f32;
    let mut along = 0.0f32;
    if column < columns {
        let mut row = first + UNIT_POS_Y as usize;
        while row < last {
            let slope = g[row * columns + column];
            plain += slope;
            if comptime!(normalised) {
                along += slope * (x[row * columns + column] - stats[2 * row]) * stats[2 * row + 1];
            }
            row += STRIPES;
        }
    }
    let out = CUBE_POS_Y as usize * columns + column;
    let plain = stripe_sum(plain);
    if UNIT_POS_Y == 0 && column < columns {
        sums[out] = plain;
    }
    if comptime!(normalised) {
        let along = stripe_sum(along);
        if UNIT_POS_Y == 0 && column < columns {
            normal_sums[out] = along;
        }
    }
}

/// The sum over the stripes of a column.
#[cube]
fn stripe_sum(value: f32) -> f32 {
    let mut scratch = Shared::<[f32]>::new_slice(comptime!(COLUMNS * STRIPES));
    scratch[UNIT_POS_Y as usize * COLUMNS + UNIT_POS_X as usize] = value;
    sync_cube();
    let mut sum = 0.0f32;
    for stripe in 0..STRIPES {
        sum += scratch[stripe * COLUMNS + UNIT_POS_X as usize];
    }
    sum
}

/// `out[i] = sum_k parts[k, i]` over `count` parts of `length` values; with `both`, the same of the other
/// two.
#[cube(launch_unchecked)]
pub(in crate::cube) fn add_parts(
    parts: &[f32],
    other_parts: &[f32],
    out: &mut [f32],
    other_out: &mut [f32],
    length: usize,
    count: usize,
    #[comptime] both: bool,
) {
    if ABSOLUTE_POS < length {
        let mut sum = 0.0f32;
        for k in 0..count {
            sum += parts[k * length + ABSOLUTE_POS];
        }
        out[ABSOLUTE_POS] = sum;
        if comptime!(both) {
            let mut sum = 0.0f32;
            for k in 0..count {
                sum += other_parts[k * length + ABSOLUTE_POS];
            }
            other_out[ABSOLUTE_POS] = sum;
        }
    }
}

/// `y += bias` in place, and `y += residual` too if there is one.
#[cube(launch_unchecked)]
pub(in crate::cube) fn add_bias<N: Size>(
    y: &mut [Vector<f32, N>],
    bias: &[Vector<f32, N>],
    residual: &[Vector<f32, N>],
    count: usize,
    columns: usize,
    #[comptime] has_residual: bool,
) {
    if ABSOLUTE_POS < count {
        let mut sum = y[ABSOLUTE_POS] + bias[ABSOLUTE_POS % columns];
        if comptime!(has_residual) {
            sum += residual[ABSOLUTE_POS];
        }
        y[ABSOLUTE_POS] = sum;
    }
}

/// `sqrt(2 / pi)`.
const SLOPE: f32 = 0.797_884_6;
const CUBIC: f32 = 0.044_715;

/// The tanh of GELU's inner polynomial, through `exp` of a negative number, which overflows nowhere.
#[cube]
fn inner_tanh(x: f32) -> f32 {
    let inner = SLOPE * (x + CUBIC * x * x * x);
    let decay = (-2.0f32 * inner.abs()).exp();
    let magnitude = (1.0f32 - decay) / (1.0f32 + decay);
    select(inner < 0.0f32, -magnitude, magnitude)
}

#[cube(launch_unchecked)]
pub(in crate::cube) fn gelu(x: &[f32], y: &mut [f32], count: usize) {
    if ABSOLUTE_POS < count {
        let value = x[ABSOLUTE_POS];
        y[ABSOLUTE_POS] = 0.5f32 * value * (1.0f32 + inner_tanh(value));
    }
}

#[cube(launch_unchecked)]
pub(in crate::cube) fn gelu_gradient(x: &[f32], g: &[f32], dx: &mut [f32], count: usize) {
    if ABSOLUTE_POS < count {
        let value = x[ABSOLUTE_POS];
        let tanh = inner_tanh(value);
        let slope = SLOPE * (1.0f32 + 3.0f32 * CUBIC * value * value);
        let derivative = 0.5f32 * (1.0f32 + tanh) + 0.5f32 * value * (1.0f32 - tanh * tanh) * slope;
        dx[ABSOLUTE_POS] = g[ABSOLUTE_POS] * derivative;
    }
}

/// Row `ids[n]` of the table of `entries` rows to row n; an id beyond them counts as the last, so that no
/// access leaves its buffer.
#[cube(launch_unchecked)]
pub(in crate::cube) fn gather_rows<I: Int>(
    table: &[f32],
    ids: &[I],
    out: &mut [f32],
    entries: usize,
    count: usize,
    d: usize,
    #[define(I)] _ids: ElemType,
) {
    if ABSOLUTE_POS < count {
        let id = min(usize::cast_from(ids[ABSOLUTE_POS / d]), entries - 1);
        out[ABSOLUTE_POS] = table[id * d + ABSOLUTE_POS % d];
    }
}

/// Adds row n of `g` to row `ids[n]` of the table, atomically: the order of the additions, and with it the
/// last bit, can differ from one call to the next.
#[cube(launch_unchecked)]
pub(in crate::cube) fn scatter_rows<I: Int>(
    g: &[f32],
    ids: &[I],
    table: &mut [Atomic<f32>],
    entries: usize,
    count: usize,
    d: usize,
    #[define(I)] _ids: ElemType,
) {
    if ABSOLUTE_POS < count {
        let id = min(usize::cast_from(ids[ABSOLUTE_POS / d]), entries - 1);
        table[id * d + ABSOLUTE_POS % d].fetch_add(g[ABSOLUTE_POS]);
    }
}
