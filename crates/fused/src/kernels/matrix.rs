//! Strided matrices and their product: the only caller of `gemm`.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::pieces;

/// A read-only strided matrix over a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A `rows` x `cols` matrix stored row by row, `row_stride` elements apart.
    ///
    /// # Panics
    /// If the slice is too short.
    pub(crate) fn new(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert_fits(data.len(), rows, cols, row_stride);
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// A dense `rows` x `cols` matrix stored row by row.
    pub(crate) fn dense(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::new(data, rows, cols, cols)
    }

    /// Number of rows.
    pub(crate) fn len(self) -> usize {
        self.rows
    }

    /// The transpose; no data moves.
    pub(crate) fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// A range of columns of a matrix stored row by row.
    pub(crate) fn columns(self, range: Range<usize>) -> Self {
        self.t().rows(range).t()
    }

    /// A range of rows.
    pub(crate) fn rows(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.rows, "row range out of bounds");
        let start = (range.start * self.row_stride).min(self.data.len());
        Self { data: &self.data[start..], rows: range.len(), ..self }
    }
}

/// A matrix that a product writes: rows `row_stride` apart, columns adjacent.
#[derive(Debug)]
pub(crate) struct MatrixMut<'a> {
    ptr: *mut f32,
    rows: usize,
    cols: usize,
    row_stride: usize,
    initialised: bool,
    life: PhantomData<&'a mut [f32]>,
}

impl<'a> MatrixMut<'a> {
    /// A `rows` x `cols` matrix over initialised memory, which a product may add to.
    pub(crate) fn new(out: &'a mut [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert_fits(out.len(), rows, cols, row_stride);
        let ptr = out.as_mut_ptr();
        Self { ptr, rows, cols, row_stride, initialised: true, life: PhantomData }
    }

    /// A dense matrix over memory that the product will initialise.
    pub(crate) fn fresh(out: &'a mut [MaybeUninit<f32>], rows: usize, cols: usize) -> Self {
        assert_fits(out.len(), rows, cols, cols);
        let ptr = out.as_mut_ptr().cast();
        Self { ptr, rows, cols, row_stride: cols, initialised: false, life: PhantomData }
    }
}

impl MatrixMut<'_> {
    /// Declares all elements initialised.
    ///
    /// # Safety
    /// They must be.
    pub(crate) unsafe fn written(self) -> Self {
        Self { initialised: true, ..self }
    }
}

fn assert_fits(len: usize, rows: usize, cols: usize, row_stride: usize) {
    let needed = if rows == 0 || cols == 0 { 0 } else { (rows - 1) * row_stride + cols };
    assert!(
        needed <= len,
        "a {rows} x {cols} matrix with row stride {row_stride} needs {needed} elements, found {len}"
    );
    assert!(rows <= 1 || cols <= row_stride, "rows overlap");
}

/// `out = a b`, or `out += a b` with `accumulate`, on the calling thread.
///
/// # Panics
/// If the shapes do not agree, or when accumulating into memory that may be uninitialised.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a place to write is given up, so that nothing writes it twice"
)]
pub(crate) fn product(out: MatrixMut, a: Matrix, b: Matrix, accumulate: bool) {
    assert!(
        out.rows == a.rows && out.cols == b.cols && a.cols == b.rows,
        "product of {} x {} and {} x {} into {} x {}",
        a.rows,
        a.cols,
        b.rows,
        b.cols,
        out.rows,
        out.cols
    );
    assert!(out.initialised || !accumulate, "cannot add to uninitialised memory");
    // SAFETY: the constructors checked that each matrix lies within its borrowed memory, the
    // shapes agree, `out` is borrowed mutably so it overlaps neither operand, and it is read only
    // when initialised.
    unsafe {
        gemm::gemm(
            out.rows,
            out.cols,
            a.cols,
            out.ptr,
            1,
            out.row_stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            f32::from(u8::from(accumulate)),
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// `a b` in new memory, on all threads.
pub(crate) fn cut_product(a: Matrix, b: Matrix) -> Vec<f32> {
    let cut = Cut::new(a.rows, a.cols, b.cols);
    let fill = |out: &mut [MaybeUninit<f32>]| {
        let out = Shared::new(out);
        pieces::each(cut.count(), |i| {
            let (rows, columns) = cut.piece(i);
            // SAFETY: no other piece has these rows and columns.
            let out =
                unsafe { out.block(rows.start * b.cols + columns.start, rows.len(), columns.len(), b.cols) };
            product(out, a.rows(rows), b.columns(columns), false);
        });
    };
    // SAFETY: the pieces cover the result, and `product` writes all of each.
    unsafe { pieces::buffer(a.rows * b.cols, fill) }
}

/// How a product's result is cut into pieces of work: by rows, or by columns where there are too few rows, as
/// when each sequence decodes one token. The pieces depend on the sizes alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    rows: [usize; 2],
    columns: [usize; 2],
}

impl Cut {
    /// Multiplications that are worth a hand-over to another thread.
    const WORTH: usize = 1 << 20;
    /// Fewest columns that keep the product's kernel busy.
    const NARROW: usize = 64;

    /// For a result of `rows` x `columns` whose elements are sums of `depth` products.
    pub(crate) fn new(rows: usize, depth: usize, columns: usize) -> Self {
        let size = pieces::rows(rows);
        let count = if size < rows {
            1
        } else {
            (rows * depth * columns / Self::WORTH).min(columns / Self::NARROW).max(1)
        };
        // An even number, so that two threads share the work evenly.
        let count = if count > 1 { count.next_multiple_of(2) } else { 1 };
        Self { rows: [rows, size], columns: [columns, columns.div_ceil(count).next_multiple_of(32)] }
    }

    pub(crate) fn count(self) -> usize {
        let [rows, columns] = [self.rows, self.columns].map(|[all, size]| all.div_ceil(size.max(1)));
        rows * columns
    }

    /// Rows and columns of piece `i`.
    pub(crate) fn piece(self, i: usize) -> (Range<usize>, Range<usize>) {
        let across = self.columns[0].div_ceil(self.columns[1]);
        let part = |i: usize, [all, size]: [usize; 2]| i * size..((i + 1) * size).min(all);
        (part(i / across, self.rows), part(i % across, self.columns))
    }
}

/// Memory that several pieces of work write at the same time, each its own elements.
pub(crate) struct Shared<'a> {
    ptr: *mut f32,
    len: usize,
    life: PhantomData<&'a mut [MaybeUninit<f32>]>,
}

// SAFETY: access goes through `block`, whose callers promise disjoint elements.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    /// Shares a buffer between pieces of work.
    pub(crate) fn new(out: &'a mut [MaybeUninit<f32>]) -> Self {
        Self { ptr: out.as_mut_ptr().cast(), len: out.len(), life: PhantomData }
    }

    /// A range of elements.
    ///
    /// # Safety
    /// No element of the range may be in use elsewhere at the same time.
    ///
    /// # Panics
    /// If the range does not fit.
    #[expect(clippy::mut_from_ref, reason = "the caller promises disjoint ranges")]
    pub(crate) unsafe fn slice(&self, range: Range<usize>) -> &mut [MaybeUninit<f32>] {
        assert!(range.start <= range.end && range.end <= self.len, "range out of bounds");
        // SAFETY: the range lies in the buffer, and the caller promises that nobody else uses it.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(range.start).cast(), range.len()) }
    }

    /// The `rows` x `cols` block that starts at element `offset`, not yet initialised.
    ///
    /// # Safety
    /// No element of the block may be in another block that is in use at the same time.
    ///
    /// # Panics
    /// If the block does not fit.
    pub(crate) unsafe fn block(
        &self,
        offset: usize,
        rows: usize,
        cols: usize,
        row_stride: usize,
    ) -> MatrixMut<'_> {
        assert_fits(self.len.saturating_sub(offset), rows, cols, row_stride);
        // SAFETY: the block fits behind `offset`, as just checked.
        let ptr = unsafe { self.ptr.add(offset.min(self.len)) };
        MatrixMut { ptr, rows, cols, row_stride, initialised: false, life: PhantomData }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_matches_hand_arithmetic() {
        // [1 2; 3 4] [5 6; 7 8] = [19 22; 43 50], and with the first transposed [26 30; 38 44].
        let (a, b) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]);
        let (a, b) = (Matrix::dense(&a, 2, 2), Matrix::dense(&b, 2, 2));
        let mut out = [0.0f32; 4];
        product(MatrixMut::new(&mut out, 2, 2, 2), a, b, false);
        assert_eq!(out.map(|v| v as i32), [19, 22, 43, 50]);
        product(MatrixMut::new(&mut out, 2, 2, 2), a.t(), b, true);
        assert_eq!(out.map(|v| v as i32), [45, 52, 81, 94]);
    }

    #[test]
    fn pieces_cover_the_result_once() {
        for [rows, depth, columns] in
            [[1, 1, 1], [64, 192, 576], [64, 768, 192], [256, 4000, 70], [2048, 192, 65]]
        {
            let cut = Cut::new(rows, depth, columns);
            let mut covered = vec![0; rows * columns];
            for (rows, range) in (0..cut.count()).map(|i| cut.piece(i)) {
                assert!(!rows.is_empty() && !range.is_empty());
                rows.for_each(|row| range.clone().for_each(|column| covered[row * columns + column] += 1));
            }
            assert!(covered.iter().all(|&times| times == 1), "{rows} x {depth} x {columns}");
        }
        // Six pieces of 96 columns for 64 x 192 x 576 multiplications; rows alone where there are enough of
        // them.
        assert_eq!(Cut::new(64, 192, 576).piece(1), (0..64, 96..192));
        assert_eq!(Cut::new(2048, 192, 65).piece(0).1, 0..65);
    }

    #[test]
    #[should_panic(expected = "needs 4 elements, found 3")]
    fn a_short_slice_is_refused() {
        let _ = Matrix::dense(&[0.0; 3], 2, 2);
    }
}
