//! Attention over the rows of [`Packing`](crate::Packing): one unit per row and head, or four where rows are
//! few, each of which keeps the query and its sums in registers. Neighbouring units read the same keys, so
//! memory sees each key about once per plane.
//!
//! A row's span is five numbers: where the prefix that it attends to starts, how many rows the prefix
//! has, where its own segment starts, and where the rows that attend to it start and end. The keys of row
//! i are the prefix and its segment up to i. Attention in both directions is the same: the prefix of row
//! i is then what follows it.
//!
//! Packed rows are `q|k|v` with `heads` query heads and `keys` heads of keys and of values; query head h
//! reads the head `h / (heads / keys)`.

use cubecl::prelude::*;

use super::rows::{LOWEST, cube_max, cube_sum};

/// Sum of a vector's parts.
#[cube]
fn total<N: Size>(vector: Vector<f32, N>) -> f32 {
    let mut sum = 0.0f32;
    #[unroll]
    for part in 0..N::value() {
        sum += vector.extract(part);
    }
    sum
}

/// `a . b[start..]`.
#[cube]
fn dot<N: Size>(
    a: &Array<Vector<f32, N>>,
    b: &[Vector<f32, N>],
    start: usize,
    #[comptime] parts: usize,
) -> f32 {
    let mut sum = Vector::<f32, N>::new(0.0f32);
    #[unroll]
    for i in 0..parts {
        sum = fma(a[i], b[start + i], sum);
    }
    total::<N>(sum)
}

/// `a <- a keep + w b[start..]`.
#[cube]
fn accumulate<N: Size>(
    a: &mut Array<Vector<f32, N>>,
    keep: f32,
    w: f32,
    b: &[Vector<f32, N>],
    start: usize,
    #[comptime] parts: usize,
) {
    let keep = Vector::<f32, N>::new(keep);
    let w = Vector::<f32, N>::new(w);
    #[unroll]
    for i in 0..parts {
        a[i] = fma(w, b[start + i], a[i] * keep);
    }
}

/// Units per cube of the three kernels below: `UNITS / lanes` rows, each shared by that many lanes.
pub(in crate::cube) const UNITS: usize = 64;

/// The largest score of a row over all of its lanes.
#[cube]
fn common_largest(largest: f32, #[comptime] rows: usize, #[comptime] lanes: usize) -> f32 {
    let mut top = largest;
    if comptime!(lanes > 1) {
        let mut scratch = Shared::<[f32]>::new_slice(UNITS);
        scratch[UNIT_POS as usize] = largest;
        sync_cube();
        for lane in 0..lanes {
            top = max(top, scratch[lane * rows + UNIT_POS_X as usize]);
        }
    }
    top
}

/// The sum over the lanes of a row.
#[cube]
fn lane_sum(value: f32, #[comptime] rows: usize, #[comptime] lanes: usize) -> f32 {
    let mut sum = value;
    if comptime!(lanes > 1) {
        let mut scratch = Shared::<[f32]>::new_slice(UNITS);
        scratch[UNIT_POS as usize] = value;
        sync_cube();
        sum = 0.0f32;
        for lane in 0..lanes {
            sum += scratch[lane * rows + UNIT_POS_X as usize];
        }
    }
    sum
}

/// Writes `factor` times the lanes' sums of a row, joined, to `out[start..]`.
#[cube]
fn write_joined<N: Size>(
    sums: &Array<Vector<f32, N>>,
    factor: f32,
    scratch: &mut Shared<[Vector<f32, N>]>,
    out: &mut [Vector<f32, N>],
    start: usize,
    is_row: bool,
    #[comptime] parts: usize,
    #[comptime] rows: usize,
    #[comptime] lanes: usize,
) {
    let factor = Vector::<f32, N>::new(factor);
    if comptime!(lanes == 1) {
        if is_row {
            #[unroll]
            for i in 0..parts {
                out[start + i] = sums[i] * factor;
            }
        }
    } else {
        sync_cube();
        #[unroll]
        for i in 0..parts {
            scratch[i * UNITS + UNIT_POS as usize] = sums[i] * factor;
        }
        sync_cube();
        if is_row {
            let mut i = UNIT_POS_Y as usize;
            while i < parts {
                let mut joined = Vector::<f32, N>::new(0.0f32);
                for lane in 0..lanes {
                    joined += scratch[i * UNITS + lane * rows + UNIT_POS_X as usize];
                }
                out[start + i] = joined;
                i += lanes;
            }
        }
    }
}

/// Output of every row and query head: qkv `[rows, (heads + 2 keys) parts]` in vectors, out
/// `[rows, heads parts]`.
#[cube(launch_unchecked)]
pub(in crate::cube) fn attention<N: Size>(
    qkv: &[Vector<f32, N>],
    spans: &[u32],
    out: &mut [Vector<f32, N>],
    rows: usize,
    heads: usize,
    keys: usize,
    scale: f32,
    #[comptime] parts: usize,
    #[comptime] lanes: usize,
) {
    let side = comptime!(UNITS / lanes);
    let is_row = (CUBE_POS_X as usize * side + UNIT_POS_X as usize) < rows;
    let row = min(CUBE_POS_X as usize * side + UNIT_POS_X as usize, rows - 1);
    let head = CUBE_POS_Y as usize;
    let stride = (heads + 2 * keys) * parts;
    let to_value = keys * parts;
    let at = head * parts;
    let key_at = (heads + head / (heads / keys)) * parts;
    let mut q = Array::<Vector<f32, N>>::new(parts);
    let mut o = Array::<Vector<f32, N>>::new(parts);
    #[unroll]
    for i in 0..parts {
        q[i] = qkv[row * stride + at + i] * Vector::new(scale);
        o[i] = Vector::new(0.0f32);
    }
    let prefix = spans[5 * row] as usize;
    let before = spans[5 * row + 1] as usize;
    let own = spans[5 * row + 2] as usize;
    let seen = before + row + 1 - own;
    let mut largest = LOWEST.runtime();
    let mut sum = 0.0f32;
    let mut j = UNIT_POS_Y as usize;
    while j < seen {
        let key = select(j < before, prefix + j, own + j - before) * stride + key_at;
        let score = dot::<N>(&q, qkv, key, parts);
        let top = max(largest, score);
        let keep = (largest - top).exp();
        let weight = (score - top).exp();
        sum = sum * keep + weight;
        accumulate::<N>(&mut o, keep, weight, qkv, key + to_value, parts);
        largest = top;
        j += lanes;
    }
    let weight = (largest - common_largest(largest, side, lanes)).exp();
    let sum = lane_sum(sum * weight, side, lanes);
    let mut scratch =
        Shared::<[Vector<f32, N>]>::new_slice(comptime!(if lanes > 1 { UNITS * parts } else { 1 }));
    let start = row * heads * parts + at;
    write_joined::<N>(&o, weight / sum, &mut scratch, out, start, is_row, parts, side, lanes);
}

/// Gradient of the queries, written into their columns of `dqkv`; and for [`attention_key_gradient`] the
/// log-sum-exp of each row's scores and `sum_j p_j (g . v_j)`, in `stats` `[2, heads, rows]`.
#[cube(launch_unchecked)]
pub(in crate::cube) fn attention_query_gradient<N: Size>(
    qkv: &[Vector<f32, N>],
    spans: &[u32],
    g: &[Vector<f32, N>],
    dqkv: &mut [Vector<f32, N>],
    stats: &mut [f32],
    rows: usize,
    heads: usize,
    keys: usize,
    scale: f32,
    #[comptime] parts: usize,
    #[comptime] lanes: usize,
) {
    let side = comptime!(UNITS / lanes);
    let is_row = (CUBE_POS_X as usize * side + UNIT_POS_X as usize) < rows;
    let row = min(CUBE_POS_X as usize * side + UNIT_POS_X as usize, rows - 1);
    let head = CUBE_POS_Y as usize;
    let stride = (heads + 2 * keys) * parts;
    let to_value = keys * parts;
    let at = head * parts;
    let key_at = (heads + head / (heads / keys)) * parts;
    let mut q = Array::<Vector<f32, N>>::new(parts);
    let mut slope = Array::<Vector<f32, N>>::new(parts);
    let mut dq = Array::<Vector<f32, N>>::new(parts);
    #[unroll]
    for i in 0..parts {
        q[i] = qkv[row * stride + at + i] * Vector::new(scale);
        slope[i] = g[row * heads * parts + at + i];
        dq[i] = Vector::new(0.0f32);
    }
    let prefix = spans[5 * row] as usize;
    let before = spans[5 * row + 1] as usize;
    let own = spans[5 * row + 2] as usize;
    let seen = before + row + 1 - own;
    let mut largest = LOWEST.runtime();
    let mut sum = 0.0f32;
    let mut mean = 0.0f32;
    let mut j = UNIT_POS_Y as usize;
    while j < seen {
        let key = select(j < before, prefix + j, own + j - before) * stride + key_at;
        let score = dot::<N>(&q, qkv, key, parts);
        let along = dot::<N>(&slope, qkv, key + to_value, parts);
        let top = max(largest, score);
        let keep = (largest - top).exp();
        let weight = (score - top).exp();
        sum = sum * keep + weight;
        mean = mean * keep + weight * along;
        largest = top;
        j += lanes;
    }
    let top = common_largest(largest, side, lanes);
    let weight = (largest - top).exp();
    let sum = lane_sum(sum * weight, side, lanes);
    let mean = lane_sum(mean * weight, side, lanes) / sum;
    let lse = top + sum.ln();
    let mut j = UNIT_POS_Y as usize;
    while j < seen {
        let key = select(j < before, prefix + j, own + j - before) * stride + key_at;
        let score = dot::<N>(&q, qkv, key, parts);
        let along = dot::<N>(&slope, qkv, key + to_value, parts);
        let ds = (score - lse).exp() * (along - mean);
        accumulate::<N>(&mut dq, 1.0f32, ds, qkv, key, parts);
        j += lanes;
    }
    let mut scratch =
        Shared::<[Vector<f32, N>]>::new_slice(comptime!(if lanes > 1 { UNITS * parts } else { 1 }));
    write_joined::<N>(&dq, scale, &mut scratch, dqkv, row * stride + at, is_row, parts, side, lanes);
    if is_row && UNIT_POS_Y == 0 {
        stats[head * rows + row] = lse;
        stats[(heads + head) * rows + row] = mean;
    }
}

/// Gradients of the keys and values, written into the other columns of `dqkv`: one line of cubes per head of
/// keys.
#[cube(launch_unchecked)]
pub(in crate::cube) fn attention_key_gradient<N: Size>(
    qkv: &[Vector<f32, N>],
    spans: &[u32],
    g: &[Vector<f32, N>],
    stats: &[f32],
    dqkv: &mut [Vector<f32, N>],
    rows: usize,
    heads: usize,
    keys: usize,
    scale: f32,
    #[comptime] parts: usize,
    #[comptime] lanes: usize,
) {
    let side = comptime!(UNITS / lanes);
    let is_row = (CUBE_POS_X as usize * side + UNIT_POS_X as usize) < rows;
    let row = min(CUBE_POS_X as usize * side + UNIT_POS_X as usize, rows - 1);
    let key = CUBE_POS_Y as usize;
    let group = heads / keys;
    let stride = (heads + 2 * keys) * parts;
    let start = row * stride + (heads + key) * parts;
    let to_value = keys * parts;
    let mut k = Array::<Vector<f32, N>>::new(parts);
    let mut v = Array::<Vector<f32, N>>::new(parts);
    let mut dk = Array::<Vector<f32, N>>::new(parts);
    let mut dv = Array::<Vector<f32, N>>::new(parts);
    #[unroll]
    for i in 0..parts {
        k[i] = qkv[start + i] * Vector::new(scale);
        v[i] = qkv[start + to_value + i];
        dk[i] = Vector::new(0.0f32);
        dv[i] = Vector::new(0.0f32);
    }
    let first = spans[5 * row + 3] as usize;
    let end = spans[5 * row + 4] as usize;
    for member in 0..group {
        let head = key * group + member;
        let mut query = first + UNIT_POS_Y as usize;
        while query < end {
            let asked = query * stride + head * parts;
            let sloped = (query * heads + head) * parts;
            let score = dot::<N>(&k, qkv, asked, parts);
            let along = dot::<N>(&v, g, sloped, parts);
            let p = (score - stats[head * rows + query]).exp();
            let ds = p * (along - stats[(heads + head) * rows + query]);
            accumulate::<N>(&mut dv, 1.0f32, p, g, sloped, parts);
            accumulate::<N>(&mut dk, 1.0f32, ds, qkv, asked, parts);
            query += lanes;
        }
    }
    let mut scratch =
        Shared::<[Vector<f32, N>]>::new_slice(comptime!(if lanes > 1 { UNITS * parts } else { 1 }));
    write_joined::<N>(&dk, scale, &mut scratch, dqkv, start, is_row, parts, side, lanes);
    write_joined::<N>(&dv, 1.0f32, &mut scratch, dqkv, start + to_value, is_row, parts, side, lanes);
}

/// Units of a cube of [`decode`]: they share the positions of one row and head.
pub(in crate::cube) const LANES: usize = 32;

/// Stores the new key and value of row b and attends to `0..=position` with query head h (cube
/// `b heads + h`): qkv `[rows, (heads + 2 keys) parts]`, caches `[rows, key_heads, capacity, parts]`,
/// out `[rows, heads parts]`.
#[cube(launch_unchecked)]
pub(in crate::cube) fn decode<N: Size>(
    qkv: &[Vector<f32, N>],
    keys: &mut [Vector<f32, N>],
    values: &mut [Vector<f32, N>],
    out: &mut [Vector<f32, N>],
    cubes: usize,
    heads: usize,
    key_heads: usize,
    capacity: usize,
    position: usize,
    scale: f32,
    #[comptime] parts: usize,
) {
    if CUBE_POS < cubes {
        let row = CUBE_POS / heads;
        let head = CUBE_POS % heads;
        let group = heads / key_heads;
        let key = head / group;
        let new_row = row * (heads + 2 * key_heads) * parts;
        let new = new_row + head * parts;
        let new_key = new_row + (heads + key) * parts;
        let new_value = new_key + key_heads * parts;
        let cache = (row * key_heads + key) * capacity * parts;
        let lane = UNIT_POS as usize;
        // One of the query heads that share them stores them.
        if lane < parts && head % group == 0 {
            keys[cache + position * parts + lane] = qkv[new_key + lane];
            values[cache + position * parts + lane] = qkv[new_value + lane];
        }
        let mut q = Array::<Vector<f32, N>>::new(parts);
        let mut o = Array::<Vector<f32, N>>::new(parts);
        #[unroll]
        for i in 0..parts {
            q[i] = qkv[new + i] * Vector::new(scale);
            o[i] = Vector::new(0.0f32);
        }
        let mut largest = LOWEST.runtime();
        let mut sum = 0.0f32;
        let mut at = lane;
        while at < position {
            let score = dot::<N>(&q, &keys[..], cache + at * parts, parts);
            let top = max(largest, score);
            let keep = (largest - top).exp();
            let weight = (score - top).exp();
            sum = sum * keep + weight;
            accumulate::<N>(&mut o, keep, weight, &values[..], cache + at * parts, parts);
            largest = top;
            at += LANES;
        }
        // The new key and value are read where they came from: what another lane has just written to the
        // cache may not be visible yet.
        if lane == position % LANES {
            let score = dot::<N>(&q, qkv, new_key, parts);
            let top = max(largest, score);
            let keep = (largest - top).exp();
            let weight = (score - top).exp();
            sum = sum * keep + weight;
            accumulate::<N>(&mut o, keep, weight, qkv, new_value, parts);
            largest = top;
        }
        merge::<N>(&o, largest, sum, out, CUBE_POS * parts, parts);
    }
}

/// Joins the lanes' softmax sums and writes the output.
#[cube]
fn merge<N: Size>(
    o: &Array<Vector<f32, N>>,
    largest: f32,
    sum: f32,
    out: &mut [Vector<f32, N>],
    start: usize,
    #[comptime] parts: usize,
) {
    let lane = UNIT_POS as usize;
    let top = cube_max(largest, LANES);
    let weight = (largest - top).exp();
    let sum = cube_sum(sum * weight, LANES);
    let mut scratch = Shared::<[Vector<f32, N>]>::new_slice(comptime!(LANES * parts));
    #[unroll]
    for i in 0..parts {
        scratch[lane * parts + i] = o[i] * Vector::new(weight / sum);
    }
    sync_cube();
    if lane < parts {
        let mut joined = Vector::<f32, N>::new(0.0f32);
        for other in 0..LANES {
            joined += scratch[other * parts + lane];
        }
        out[start + lane] = joined;
    }
}
