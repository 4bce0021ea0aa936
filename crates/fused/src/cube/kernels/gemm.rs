//! A matrix product in f32 without tensor cores, `out = a b`, which adds the bias and the residual of an
//! affine map as it writes the result.
//!
//! The textbook scheme: a cube of 16 x 16 units computes a tile of 128 rows and 64 or 128 columns, each unit
//! 8 rows and 4 or 8 columns of it in registers; slabs of 16 terms pass through shared memory, and the next
//! slab is loaded while the current one is multiplied.

use cubecl::prelude::*;

/// Units per cube.
pub(in crate::cube) const UNITS: usize = 256;
/// Rows of a tile.
pub(in crate::cube) const TILE_ROWS: usize = 128;
/// Terms per slab.
const DEPTH: usize = 16;
/// Elements per vector.
pub(in crate::cube) const WIDTH: usize = 4;
/// Units along each side of a cube.
const SIDE: usize = 16;
/// Vectors that hold a unit's rows.
const ROW_VECTORS: usize = TILE_ROWS / SIDE / WIDTH;

/// Vector `place` of a slab: four neighbours along the outer axis of a matrix, at one term. Outside the
/// matrix it is zero. `by_term` says how the matrix is stored: one row per term, or one row per outer index.
#[cube]
fn fetch<N: Size>(
    matrix: &[f32],
    place: usize,
    first: usize,
    outer: usize,
    term: usize,
    end: usize,
    terms: usize,
    #[comptime] vectors: usize,
    #[comptime] by_term: bool,
) -> Vector<f32, N> {
    let mut found = Vector::<f32, N>::new(0.0f32);
    let (k, o) = split(place, vectors, by_term);
    let k = term + k;
    let o = first + o * WIDTH;
    if k < end {
        #[unroll]
        for part in 0..WIDTH {
            if o + part < outer {
                let at = if comptime!(by_term) { k * outer + o + part } else { (o + part) * terms + k };
                found.insert(part, matrix[at]);
            }
        }
    }
    found
}

/// Term and outer vector of a place in a slab, so that neighbouring units read neighbouring memory.
#[cube]
fn split(place: usize, #[comptime] vectors: usize, #[comptime] by_term: bool) -> (usize, usize) {
    if comptime!(by_term) { (place / vectors, place % vectors) } else { (place % DEPTH, place / DEPTH) }
}

/// Loads a slab of one side into registers.
#[cube]
fn fetch_all<N: Size>(
    slab: &mut Array<Vector<f32, N>>,
    matrix: &[f32],
    first: usize,
    outer: usize,
    term: usize,
    end: usize,
    terms: usize,
    #[comptime] vectors: usize,
    #[comptime] by_term: bool,
) {
    #[unroll]
    for i in 0..comptime!(vectors * DEPTH / UNITS) {
        let place = UNIT_POS as usize + i * UNITS;
        slab[i] = fetch::<N>(matrix, place, first, outer, term, end, terms, vectors, by_term);
    }
}

/// Stores a slab in shared memory, one row per term, padded so that no two units store to the same bank at
/// once.
#[cube]
fn store_all<N: Size>(
    slab: &Array<Vector<f32, N>>,
    shared: &mut Shared<[Vector<f32, N>]>,
    #[comptime] vectors: usize,
    #[comptime] by_term: bool,
) {
    #[unroll]
    for i in 0..comptime!(vectors * DEPTH / UNITS) {
        let (k, o) = split(UNIT_POS as usize + i * UNITS, vectors, by_term);
        shared[k * comptime!(vectors + 1) + o] = slab[i];
    }
}

/// The product of `a` `[rows, terms]` and `b` `[terms, columns]`, each stored that way or transposed. Cube
/// `(x, y, z)` computes the tile of rows y and columns x over the terms from `z chunk` on, into matrix z of
/// `out`: with one z that is the product, with several the product is their sum.
#[cube(launch_unchecked)]
#[expect(clippy::too_many_arguments, reason = "a kernel's arguments are its buffers and its sizes")]
pub(in crate::cube) fn product<N: Size, O: Size>(
    a: &[f32],
    b: &[f32],
    bias: &[Vector<f32, O>],
    residual: &[Vector<f32, O>],
    out: &mut [Vector<f32, O>],
    rows: usize,
    columns: usize,
    terms: usize,
    chunk: usize,
    #[comptime] a_by_term: bool,
    #[comptime] b_by_term: bool,
    #[comptime] column_vectors: usize,
    #[comptime] width: usize,
    #[comptime] has_bias: bool,
    #[comptime] has_residual: bool,
) {
    let a_vectors = comptime!(TILE_ROWS / WIDTH);
    let b_vectors = comptime!(column_vectors * SIDE);
    let row = CUBE_POS_Y as usize * TILE_ROWS;
    let column = CUBE_POS_X as usize * comptime!(column_vectors * SIDE * WIDTH);
    let begin = CUBE_POS_Z as usize * chunk;
    let end = min(begin + chunk, terms);
    let x = UNIT_POS as usize % SIDE;
    let y = UNIT_POS as usize / SIDE;

    let mut a_shared = Shared::<[Vector<f32, N>]>::new_slice(comptime!(DEPTH * (a_vectors + 1)));
    let mut b_shared = Shared::<[Vector<f32, N>]>::new_slice(comptime!(DEPTH * (b_vectors + 1)));
    let mut a_slab = Array::<Vector<f32, N>>::new(comptime!(a_vectors * DEPTH / UNITS));
    let mut b_slab = Array::<Vector<f32, N>>::new(comptime!(b_vectors * DEPTH / UNITS));
    let mut sums = Array::<Vector<f32, N>>::new(comptime!(ROW_VECTORS * WIDTH * column_vectors));
    #[unroll]
    for i in 0..comptime!(ROW_VECTORS * WIDTH * column_vectors) {
        sums[i] = Vector::new(0.0f32);
    }

    fetch_all::<N>(&mut a_slab, a, row, rows, begin, end, terms, a_vectors, a_by_term);
    fetch_all::<N>(&mut b_slab, b, column, columns, begin, end, terms, b_vectors, b_by_term);
    let slabs = (end - begin).div_ceil(DEPTH);
    for slab in 0..slabs {
        store_all::<N>(&a_slab, &mut a_shared, a_vectors, a_by_term);
        store_all::<N>(&b_slab, &mut b_shared, b_vectors, b_by_term);
        sync_cube();
        // Beyond the last slab every term is outside, and nothing is read.
        let next = begin + (slab + 1) * DEPTH;
        fetch_all::<N>(&mut a_slab, a, row, rows, next, end, terms, a_vectors, a_by_term);
        fetch_all::<N>(&mut b_slab, b, column, columns, next, end, terms, b_vectors, b_by_term);
        #[unroll]
        for k in 0..DEPTH {
            #[unroll]
            for i in 0..ROW_VECTORS {
                let a_part = a_shared[k * comptime!(a_vectors + 1) + i * SIDE + y];
                #[unroll]
                for j in 0..column_vectors {
                    let b_part = b_shared[k * comptime!(b_vectors + 1) + j * SIDE + x];
                    #[unroll]
                    for part in 0..WIDTH {
                        let at = comptime!((i * WIDTH + part) * column_vectors + j);
                        sums[at] = fma(Vector::new(a_part.extract(part)), b_part, sums[at]);
                    }
                }
            }
        }
        sync_cube();
    }

    let matrix = CUBE_POS_Z as usize * rows * columns;
    #[unroll]
    for i in 0..comptime!(ROW_VECTORS * WIDTH) {
        let r = row + comptime!(i / WIDTH * SIDE * WIDTH + i % WIDTH) + y * WIDTH;
        #[unroll]
        for j in 0..column_vectors {
            #[unroll]
            for group in 0..comptime!(WIDTH / width) {
                let c = column + comptime!(j * SIDE * WIDTH + group * width) + x * WIDTH;
                if r < rows && c < columns {
                    let mut value = Vector::<f32, O>::new(0.0f32);
                    #[unroll]
                    for part in 0..width {
                        value.insert(
                            part,
                            sums[comptime!(i * column_vectors + j)].extract(comptime!(group * width + part)),
                        );
                    }
                    if comptime!(has_bias) {
                        value += bias[c / width];
                    }
                    if comptime!(has_residual) {
                        value += residual[(r * columns + c) / width];
                    }
                    out[(matrix + r * columns + c) / width] = value;
                }
            }
        }
    }
}
