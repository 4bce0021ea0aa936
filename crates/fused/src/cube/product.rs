//! Matrix products.
//!
//! burn would time a dozen kernels for every new shape, and each of them takes longer to compile than a small study takes
//! to run. Here one kernel of `cubek` serves all shapes: on tensor cores where the device has them, on plain units
//! elsewhere.

use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::{cast, into_contiguous};
use burn_cubecl::tensor::CubeTensor;
use cubek::matmul::definition::{MatmulElems, MatmulGlobalElems};
use cubek::matmul::launch::launch_ref;
use cubek::matmul::strategy::Strategy;
use cubek::std::InputBinding;

use super::launch_add_parts;
use super::tensors::{dims, elem, empty, rows_of, transposed, view};
use crate::{Precision, precision};

fn strategy() -> Strategy {
    use cubek::matmul::multi_level::Strategy as M;
    use cubek::matmul::multi_level::components::tile::TileMatmulKind as K;
    use cubek::matmul::multi_level::routines::batch::double_buffering::DoubleBufferingArgs as D;
    use cubek::matmul::multi_level::routines::batch::ordered_double_buffering::OrderedSelectionArgs as O;
    use cubek::matmul::multi_level::routines::batch::simple::SimpleArgs as S;
    use cubek::matmul::routine::BlueprintStrategy::Inferred as I;
    let simple = |multi_rows, tile_matmul| S { multi_rows, tile_matmul };
    let double = |specialized, tile_matmul| D { specialized, tile_matmul };
    let ordered = |rows, tile_matmul| O {
        partition_k: Some(2),
        row_count: Some(rows),
        rows_per_plane: Some(2),
        tile_matmul,
    };
    match std::env::var("FUSED_MATMUL").as_deref() {
        Ok("simple_mma") => M::SimpleCyclicMma(I(simple(false, K::Mma))).into(),
        Ok("simple_cmma_rows") => M::SimpleCyclicCmma(I(simple(true, K::Cmma))).into(),
        Ok("simple_mma_rows") => M::SimpleCyclicMma(I(simple(true, K::Mma))).into(),
        Ok("double_cmma") => M::DoubleCyclicCmma(I(double(false, K::Cmma))).into(),
        Ok("double_mma") => M::DoubleCyclicMma(I(double(false, K::Mma))).into(),
        Ok("ordered_cmma") => M::OrderedDoubleCmma(I(ordered(4, K::Cmma))).into(),
        Ok("ordered_mma") => M::OrderedDoubleMma(I(ordered(4, K::Mma))).into(),
        Ok("ordered8_mma") => M::OrderedDoubleMma(I(ordered(8, K::Mma))).into(),
        Ok("tma_mma") => M::SimpleTmaMma(I(simple(false, K::Mma))).into(),
        Ok("tma_mma_rows") => M::SimpleTmaMma(I(simple(true, K::Mma))).into(),
        Ok("special_cmma") => M::SpecializedCyclicCmma(I(().into())).into(),
        Ok("special_mma") => M::SpecializedCyclicMma(I(().into())).into(),
        _ => Strategy::Auto,
    }
}

/// `out = a b` for each matrix of a batch, or of one; `a`, `b` and `out` have the same number of axes.
fn launch(a: CubeTensor, b: CubeTensor, out: &CubeTensor) {
    let input = |tensor: CubeTensor| {
        let tensor = match precision() {
            Precision::F32 => tensor,
            Precision::Bf16 => cast(tensor, DType::BF16),
        };
        let elem = elem(&tensor);
        (InputBinding::new(tensor.binding(), elem), elem)
    };
    let ((a, lhs), (b, rhs)) = (input(a), input(b));
    let mut elems = MatmulElems::from_globals(&MatmulGlobalElems { lhs, rhs, out: elem(out) });
    launch_ref(&strategy(), &out.client, a, b, out.clone().binding(), &mut elems)
        .unwrap_or_else(|error| panic!("a product into {:?}: {error:?}", out.meta.shape()));
}

/// `a b` in f32, or with both rounded to bf16 first where [`crate::set_precision`] says so; sums are f32 either way.
///
/// # Panics
/// If there is no kernel for the product, which is an error of its own.
pub(super) fn matmul(a: CubeTensor, b: CubeTensor) -> CubeTensor {
    let ([m, _], [_, n]) = (dims(&a), dims(&b));
    let out = empty(&a, [m, n]);
    launch(a, b, &out);
    out
}

/// Rows of x and g that one cube adds up at least, in a gradient of a weight.
const FEWEST_ROWS: usize = 256;
/// Outputs of a cube, about: what a tile of the product's kernel covers.
const TILE: usize = 64 * 64;
/// Cubes that fill a large GPU.
const CUBES: usize = 256;

/// `x^T g` of x `[rows, m]` and g `[rows, n]`, contiguous: a small result of a long sum. Where the result alone would
/// occupy few cubes, the rows are cut into parts that are multiplied side by side and then added.
pub(super) fn weight_gradient(x: &CubeTensor, g: &CubeTensor) -> CubeTensor {
    let ([rows, m], [_, n]) = (dims::<2>(x), dims::<2>(g));
    let tiles = (m * n).div_ceil(TILE).max(1);
    let parts = (CUBES / tiles).min(rows / FEWEST_ROWS).max(1);
    if parts == 1 {
        return matmul(transposed(x.clone()), g.clone());
    }
    // A multiple of 8 rows, so that memory is read in whole vectors; what is left over is one more part.
    let length = rows / parts / 8 * 8;
    let left = rows - parts * length;
    let sums = empty(x, [parts + usize::from(left > 0), m, n]);
    let stacked = |tensor: &CubeTensor, columns: usize| {
        view(&rows_of(tensor, 0, parts * length), Shape::from([parts, length, columns]))
    };
    let whole = view(
        &rows_of(&view(&sums, Shape::from([sums.meta.shape()[0] * m, n])), 0, parts * m),
        Shape::from([parts, m, n]),
    );
    launch(super::tensors::swapped(stacked(x, m), 1, 2), stacked(g, n), &whole);
    if left > 0 {
        let last = rows_of(&view(&sums, Shape::from([(parts + 1) * m, n])), parts * m, m);
        let tail = |tensor: &CubeTensor| into_contiguous(rows_of(tensor, parts * length, left));
        launch(transposed(tail(x)), tail(g), &last);
    }
    let out = empty(x, [m, n]);
    launch_add_parts(&sums, &out, m * n, sums.meta.shape()[0]);
    out
}
