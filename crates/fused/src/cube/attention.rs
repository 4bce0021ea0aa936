//! Attention over the rows of [`Trees`](crate::Trees): one unit per row and head, which keeps its query and its sums in
//! registers. Neighbouring units read the same keys, so memory sees each key about once a plane.
//!
//! A row's span is four numbers: where the prefix that it looks back on starts, how many rows of it there are, where its
//! own segment starts, and where the rows that look back on it end. The keys of row i are the prefix and its segment up
//! to i; the queries that see row j are the rows from j to that end.

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

/// Output of every row and head: qkv `[rows, 3 heads parts]` in vectors, out `[rows, heads parts]`.
#[cube(launch_unchecked)]
pub(super) fn attention<N: Size>(
    qkv: &[Vector<f32, N>],
    spans: &[u32],
    out: &mut [Vector<f32, N>],
    rows: usize,
    heads: usize,
    scale: f32,
    #[comptime] parts: usize,
) {
    let row = ABSOLUTE_POS_X as usize;
    let head = CUBE_POS_Y as usize;
    if row < rows {
        let width = heads * parts;
        let at = head * parts;
        let mut q = Array::<Vector<f32, N>>::new(parts);
        let mut o = Array::<Vector<f32, N>>::new(parts);
        #[unroll]
        for i in 0..parts {
            q[i] = qkv[row * 3 * width + at + i] * Vector::new(scale);
            o[i] = Vector::new(0.0f32);
        }
        let prefix = spans[4 * row] as usize;
        let before = spans[4 * row + 1] as usize;
        let own = spans[4 * row + 2] as usize;
        let keys = before + row + 1 - own;
        let mut largest = LOWEST.runtime();
        let mut sum = 0.0f32;
        for j in 0..keys {
            let key = select(j < before, prefix + j, own + j - before) * 3 * width + at;
            let score = dot::<N>(&q, qkv, key + width, parts);
            let top = max(largest, score);
            let keep = (largest - top).exp();
            let weight = (score - top).exp();
            sum = sum * keep + weight;
            accumulate::<N>(&mut o, keep, weight, qkv, key + 2 * width, parts);
            largest = top;
        }
        let scale = Vector::<f32, N>::new(1.0f32 / sum);
        #[unroll]
        for i in 0..parts {
            out[row * width + at + i] = o[i] * scale;
        }
    }
}

/// Gradient of the queries, written into the first third of `dqkv`; and for [`attention_key_gradient`] the log-sum-exp
/// of each row's scores and `sum_j p_j (g . v_j)`, in `stats` `[2, heads, rows]`.
#[cube(launch_unchecked)]
pub(super) fn attention_query_gradient<N: Size>(
    qkv: &[Vector<f32, N>],
    spans: &[u32],
    g: &[Vector<f32, N>],
    dqkv: &mut [Vector<f32, N>],
    stats: &mut [f32],
    rows: usize,
    heads: usize,
    scale: f32,
    #[comptime] parts: usize,
) {
    let row = ABSOLUTE_POS_X as usize;
    let head = CUBE_POS_Y as usize;
    if row < rows {
        let width = heads * parts;
        let at = head * parts;
        let mut q = Array::<Vector<f32, N>>::new(parts);
        let mut slope = Array::<Vector<f32, N>>::new(parts);
        let mut dq = Array::<Vector<f32, N>>::new(parts);
        #[unroll]
        for i in 0..parts {
            q[i] = qkv[row * 3 * width + at + i] * Vector::new(scale);
            slope[i] = g[row * width + at + i];
            dq[i] = Vector::new(0.0f32);
        }
        let prefix = spans[4 * row] as usize;
        let before = spans[4 * row + 1] as usize;
        let own = spans[4 * row + 2] as usize;
        let keys = before + row + 1 - own;
        let mut largest = LOWEST.runtime();
        let mut sum = 0.0f32;
        let mut mean = 0.0f32;
        for j in 0..keys {
            let key = select(j < before, prefix + j, own + j - before) * 3 * width + at;
            let score = dot::<N>(&q, qkv, key + width, parts);
            let along = dot::<N>(&slope, qkv, key + 2 * width, parts);
            let top = max(largest, score);
            let keep = (largest - top).exp();
            let weight = (score - top).exp();
            sum = sum * keep + weight;
            mean = mean * keep + weight * along;
            largest = top;
        }
        mean /= sum;
        let lse = largest + sum.ln();
        for j in 0..keys {
            let key = select(j < before, prefix + j, own + j - before) * 3 * width + at;
            let score = dot::<N>(&q, qkv, key + width, parts);
            let along = dot::<N>(&slope, qkv, key + 2 * width, parts);
            let ds = (score - lse).exp() * (along - mean);
            accumulate::<N>(&mut dq, 1.0f32, ds, qkv, key + width, parts);
        }
        #[unroll]
        for i in 0..parts {
            dqkv[row * 3 * width + at + i] = dq[i] * Vector::new(scale);
        }
        stats[head * rows + row] = lse;
        stats[(heads + head) * rows + row] = mean;
    }
}

/// Gradients of the keys and values, written into the other two thirds of `dqkv`.
#[cube(launch_unchecked)]
pub(super) fn attention_key_gradient<N: Size>(
    qkv: &[Vector<f32, N>],
    spans: &[u32],
    g: &[Vector<f32, N>],
    stats: &[f32],
    dqkv: &mut [Vector<f32, N>],
    rows: usize,
    heads: usize,
    scale: f32,
    #[comptime] parts: usize,
) {
    let row = ABSOLUTE_POS_X as usize;
    let head = CUBE_POS_Y as usize;
    if row < rows {
        let width = heads * parts;
        let at = head * parts;
        let mut k = Array::<Vector<f32, N>>::new(parts);
        let mut v = Array::<Vector<f32, N>>::new(parts);
        let mut dk = Array::<Vector<f32, N>>::new(parts);
        let mut dv = Array::<Vector<f32, N>>::new(parts);
        #[unroll]
        for i in 0..parts {
            k[i] = qkv[row * 3 * width + width + at + i] * Vector::new(scale);
            v[i] = qkv[row * 3 * width + 2 * width + at + i];
            dk[i] = Vector::new(0.0f32);
            dv[i] = Vector::new(0.0f32);
        }
        let end = spans[4 * row + 3] as usize;
        for query in row..end {
            let score = dot::<N>(&k, qkv, query * 3 * width + at, parts);
            let along = dot::<N>(&v, g, query * width + at, parts);
            let p = (score - stats[head * rows + query]).exp();
            let ds = p * (along - stats[(heads + head) * rows + query]) * scale;
            accumulate::<N>(&mut dv, 1.0f32, p, g, query * width + at, parts);
            accumulate::<N>(&mut dk, 1.0f32, ds, qkv, query * 3 * width + at, parts);
        }
        #[unroll]
        for i in 0..parts {
            dqkv[row * 3 * width + width + at + i] = dk[i];
            dqkv[row * 3 * width + 2 * width + at + i] = dv[i];
        }
    }
}

/// Units of a cube of [`decode`]: they share the positions of one row and head.
pub(super) const LANES: usize = 32;

/// Stores the new key and value of row b and head h (cube `b heads + h`) and attends to `0..=position`: qkv
/// `[rows, 3 heads parts]`, caches `[rows, heads, capacity, parts]`, out `[rows, heads parts]`.
#[cube(launch_unchecked)]
pub(super) fn decode<N: Size>(
    qkv: &[Vector<f32, N>],
    keys: &mut [Vector<f32, N>],
    values: &mut [Vector<f32, N>],
    out: &mut [Vector<f32, N>],
    cubes: usize,
    heads: usize,
    capacity: usize,
    position: usize,
    scale: f32,
    #[comptime] parts: usize,
) {
    if CUBE_POS < cubes {
        let row = CUBE_POS / heads;
        let width = heads * parts;
        let new = row * 3 * width + (CUBE_POS % heads) * parts;
        let cache = CUBE_POS * capacity * parts;
        let lane = UNIT_POS as usize;
        if lane < parts {
            keys[cache + position * parts + lane] = qkv[new + width + lane];
            values[cache + position * parts + lane] = qkv[new + 2 * width + lane];
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
        // The new key and value are read where they came from: what another lane has just written to the cache may not
        // be visible yet.
        if lane == position % LANES {
            let score = dot::<N>(&q, qkv, new + width, parts);
            let top = max(largest, score);
            let keep = (largest - top).exp();
            let weight = (score - top).exp();
            sum = sum * keep + weight;
            accumulate::<N>(&mut o, keep, weight, qkv, new + 2 * width, parts);
            largest = top;
        }
        merge::<N>(&o, largest, sum, out, row * width + (CUBE_POS % heads) * parts, parts);
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
