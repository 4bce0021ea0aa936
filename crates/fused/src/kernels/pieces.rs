//! Parallel work in fixed pieces.
//!
//! The pieces never depend on the number of threads, so neither do the results.

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

/// Runs `work(i)` for `0..count`, on all threads of the current rayon pool.
pub(crate) fn each(count: usize, work: impl Fn(usize) + Sync + Send) {
    // Entering rayon from outside costs a hand-over between threads, which is not worth it for one piece.
    if count <= 1 || rayon::current_num_threads() == 1 {
        (0..count).for_each(work);
    } else {
        (0..count).into_par_iter().for_each(work);
    }
}

/// Cuts `out` into chunks of `size` elements and runs `work(i, chunk)` for each.
pub(crate) fn chunks<T: Send>(out: &mut [T], size: usize, work: impl Fn(usize, &mut [T]) + Sync + Send) {
    let size = size.max(1);
    if out.len() <= size || rayon::current_num_threads() == 1 {
        for (i, chunk) in out.chunks_mut(size).enumerate() {
            work(i, chunk);
        }
    } else {
        out.par_chunks_mut(size).enumerate().for_each(|(i, chunk)| work(i, chunk));
    }
}

/// Runs `work(i)` for `0..count` and returns the results in order.
pub(crate) fn map<R: Send>(count: usize, work: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
    if count <= 1 || rayon::current_num_threads() == 1 {
        (0..count).map(work).collect()
    } else {
        (0..count).into_par_iter().map(work).collect()
    }
}

/// Rows per piece of a matrix product with `rows` rows.
///
/// Every piece packs the other operand again, so pieces are large; there is an even number of them, so that
/// two threads share the work evenly; and they are whole tiles of the product's kernel.
pub(crate) fn rows(rows: usize) -> usize {
    const LARGE: usize = 516;
    const TILE: usize = 6;
    if rows <= LARGE / 2 {
        return rows.max(1);
    }
    rows.div_ceil(rows.div_ceil(LARGE).next_multiple_of(2)).next_multiple_of(TILE)
}

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Lends this thread's scratch memory: `len` floats of any value.
///
/// It is kept for the next kernel, so that no kernel has to clear or page in its working memory.
pub(crate) fn scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    // Taken out while in use: a kernel inside `work` would start with fresh memory.
    let mut memory = SCRATCH.take();
    if memory.len() < len {
        memory.resize(len, 0.0);
    }
    let result = work(&mut memory[..len]);
    SCRATCH.set(memory);
    result
}

/// A new buffer of `len` elements that `fill` writes.
///
/// # Safety
/// `fill` must write every element.
pub(crate) unsafe fn buffer(len: usize, fill: impl FnOnce(&mut [MaybeUninit<f32>])) -> Vec<f32> {
    let mut out = Vec::with_capacity(len);
    fill(&mut out.spare_capacity_mut()[..len]);
    // SAFETY: the capacity is at least `len`, and the caller promises that `fill` wrote all of it.
    unsafe { out.set_len(len) };
    out
}

/// A new buffer of `len` elements, in pieces of `size`: `fill(range, out)` writes those of a range.
///
/// # Safety
/// `fill` must write every element of the piece that it is given.
pub(crate) unsafe fn filled(
    len: usize,
    size: usize,
    fill: impl Fn(Range<usize>, &mut [MaybeUninit<f32>]) + Sync + Send,
) -> Vec<f32> {
    let all = |out: &mut [MaybeUninit<f32>]| {
        chunks(out, size, |i, out| fill(i * size..i * size + out.len(), out));
    };
    // SAFETY: the pieces cover the buffer, and the caller promises that `fill` writes all of each.
    unsafe { buffer(len, all) }
}

/// As [`filled`], with `columns` sums over all pieces: `fill(range, out, sums)` adds those of its piece to
/// zeros, and the pieces add up in order.
///
/// # Safety
/// `fill` must write every element of `out`.
pub(crate) unsafe fn filled_with_sums(
    len: usize,
    size: usize,
    columns: usize,
    fill: impl Fn(Range<usize>, &mut [MaybeUninit<f32>], &mut [f32]) + Sync + Send,
) -> (Vec<f32>, Vec<f32>) {
    let size = size.max(1);
    let mut partial = vec![vec![0.0; columns]; len.div_ceil(size)];
    let all = |out: &mut [MaybeUninit<f32>]| {
        let mut work: Vec<_> = out.chunks_mut(size).zip(&mut partial).collect();
        chunks(&mut work, 1, |i, work| {
            for (out, sums) in work {
                fill(i * size..i * size + out.len(), out, sums);
            }
        });
    };
    // SAFETY: the pieces cover the buffer, and the caller promises that `fill` writes all of each.
    let out = unsafe { buffer(len, all) };
    (out, sum_in_order(partial, columns))
}

/// Views written memory as floats.
///
/// # Safety
/// Every element must have been written.
pub(crate) unsafe fn written(out: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    // SAFETY: `MaybeUninit<f32>` has the layout of `f32`, and the caller wrote every element.
    unsafe { &mut *(std::ptr::from_mut(out) as *mut [f32]) }
}

/// Sums rows of equal length in order: the fixed-order reduction of per-piece partial sums.
pub(crate) fn sum_in_order(parts: Vec<Vec<f32>>, len: usize) -> Vec<f32> {
    /// Small enough for the L1 cache, so that the total passes through memory once.
    const PIECE: usize = 4096;
    let mut parts = parts.into_iter();
    let mut total = parts.next().unwrap_or_else(|| vec![0.0; len]);
    let rest: Vec<_> = parts.collect();
    chunks(&mut total, PIECE, |i, total| {
        for part in &rest {
            for (t, p) in total.iter_mut().zip(&part[i * PIECE..]) {
                *t += p;
            }
        }
    });
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_in_order_across_pieces() {
        // (10^8 + 1) - 10^8 is 0 in f32, and 1 if the two large ones meet first; longer than two pieces, the
        // last one not whole.
        let len = 2 * 4096 + 5;
        let parts = [1e8, 1.0, -1e8].map(|x| vec![x; len]);
        let total = sum_in_order(parts.to_vec(), len);
        assert!(total.len() == len && total.iter().all(|&x| x == 0.0));
        let counted: Vec<f32> = (0..len).map(|i| i as f32).collect();
        let doubled: Vec<f32> = (0..len).map(|i| 2.0 * i as f32).collect();
        assert_eq!(sum_in_order(vec![counted.clone(), counted], len), doubled);
        assert_eq!(sum_in_order(Vec::new(), 2), [0.0, 0.0]);
    }
}
