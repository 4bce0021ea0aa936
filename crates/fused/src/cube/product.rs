//! Matrix products: in f32 by the kernel of [`gemm`](super::kernels::gemm), in bf16 by `cubek`'s on the
//! tensor cores.
//!
//! Unlike burn's own products, neither is autotuned: that compiles a dozen kernels for every new shape, which
//! takes longer than a small study.

use burn::tensor::DType;
use burn_cubecl::kernel::{cast, into_contiguous};
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;
use cubek::matmul::definition::{MatmulElems, MatmulGlobalElems};
use cubek::matmul::launch::launch_ref;
use cubek::matmul::strategy::Strategy;
use cubek::std::InputBinding;

use super::kernels::gemm;
use super::tensors::{dims, elem, empty, transposed, vector};
use super::{Launch, add_bias, launch_add_parts};
use crate::{Precision, precision};

/// A factor of a product, as it is or transposed.
#[derive(Clone)]
pub(super) enum Factor {
    /// The matrix itself.
    Plain(CubeTensor),
    /// Its transpose.
    Transposed(CubeTensor),
}

impl Factor {
    fn dims(&self) -> [usize; 2] {
        match self {
            Self::Plain(tensor) => dims(tensor),
            Self::Transposed(tensor) => {
                let [rows, columns] = dims(tensor);
                [columns, rows]
            }
        }
    }

    fn tensor(&self) -> &CubeTensor {
        match self {
            Self::Plain(tensor) | Self::Transposed(tensor) => tensor,
        }
    }
}

/// What is added to a product.
#[derive(Clone, Copy, Default)]
pub(super) struct Added<'a> {
    /// To every row, `[columns]`.
    pub(super) bias: Option<&'a CubeTensor>,
    /// To the whole, `[rows, columns]`; only together with a bias.
    pub(super) residual: Option<&'a CubeTensor>,
}

/// `a b` in f32, or with both rounded to bf16 first where [`crate::set_precision`] says so; sums are f32
/// either way.
pub(super) fn matmul(a: Factor, b: Factor, added: Added) -> CubeTensor {
    let [rows, terms] = a.dims();
    let [_, columns] = b.dims();
    let out = empty(a.tensor(), [rows, columns]);
    match precision() {
        Precision::F32 => launch_f32(&a, &b, added, &out, 1, terms),
        Precision::Bf16 => {
            launch_bf16(a, b, &out);
            if let Some(bias) = added.bias {
                add_bias(&out, bias, added.residual);
            }
        }
    }
    out
}

/// Fewest rows that one part of a weight's gradient adds up.
const FEWEST_ROWS: usize = 128;
/// Cubes that fill a large GPU.
const CUBES: usize = 264;

/// `x^T g` of x `[rows, m]` and g `[rows, n]`: a small result of a long sum. Where the result alone would
/// occupy few cubes, the rows are cut into parts that are multiplied side by side and then added.
pub(super) fn weight_gradient(x: &CubeTensor, g: &CubeTensor) -> CubeTensor {
    let ([rows, m], [_, n]) = (dims::<2>(x), dims::<2>(g));
    let (a, b) = (Factor::Transposed(x.clone()), Factor::Plain(g.clone()));
    let tiles = m.div_ceil(gemm::TILE_ROWS) * n.div_ceil(tile_columns(m, n));
    let parts = (CUBES / tiles.max(1)).min(rows / FEWEST_ROWS).max(1);
    if parts == 1 || precision() == Precision::Bf16 {
        return matmul(a, b, Added::default());
    }
    let chunk = rows.div_ceil(parts);
    let parts = rows.div_ceil(chunk);
    let (sums, out) = (empty(x, [parts, m, n]), empty(x, [m, n]));
    launch_f32(&a, &b, Added::default(), &sums, parts, chunk);
    launch_add_parts(&sums, &out, m * n, parts);
    out
}

/// Columns of a tile: 128 where that leaves enough tiles, and none of them half empty.
fn tile_columns(rows: usize, columns: usize) -> usize {
    let wide = rows.div_ceil(gemm::TILE_ROWS) * columns.div_ceil(128);
    if columns.is_multiple_of(128) && wide >= CUBES / 2 { 128 } else { 64 }
}

fn launch_f32(a: &Factor, b: &Factor, added: Added, out: &CubeTensor, parts: usize, chunk: usize) {
    let ([rows, terms], [_, columns]) = (a.dims(), b.dims());
    if rows == 0 || columns == 0 {
        return;
    }
    let tile = tile_columns(rows, columns);
    let width = vector(columns);
    let any = || out.clone().into_buffer_arg();
    let launch = Launch {
        client: &out.client,
        count: CubeCount::Static(
            columns.div_ceil(tile) as u32,
            rows.div_ceil(gemm::TILE_ROWS) as u32,
            parts as u32,
        ),
        dim: CubeDim::new_1d(gemm::UNITS as u32),
    };
    let contiguous = |tensor: &CubeTensor| into_contiguous(tensor.clone()).into_buffer_arg();
    super::launch!(
        gemm::product::launch_unchecked,
        launch,
        gemm::WIDTH,
        width,
        contiguous(a.tensor()),
        contiguous(b.tensor()),
        added.bias.map_or_else(any, contiguous),
        added.residual.map_or_else(any, contiguous),
        out.clone().into_buffer_arg(),
        rows,
        columns,
        terms,
        chunk,
        matches!(a, Factor::Transposed(_)),
        matches!(b, Factor::Plain(_)),
        tile / gemm::WIDTH / 16,
        width,
        added.bias.is_some(),
        added.residual.is_some(),
    );
}

/// Writes `a b` of factors rounded to bf16 into `out`.
///
/// # Panics
/// If `cubek` has no kernel for the product.
fn launch_bf16(a: Factor, b: Factor, out: &CubeTensor) {
    let input = |factor: Factor| {
        let tensor = match factor {
            Factor::Plain(tensor) => cast(tensor, DType::BF16),
            Factor::Transposed(tensor) => transposed(cast(tensor, DType::BF16)),
        };
        let elem = elem(&tensor);
        (InputBinding::new(tensor.binding(), elem), elem)
    };
    let ((a, lhs), (b, rhs)) = (input(a), input(b));
    let mut elems = MatmulElems::from_globals(&MatmulGlobalElems { lhs, rhs, out: elem(out) });
    launch_ref(&Strategy::Auto, &out.client, a, b, out.clone().binding(), &mut elems)
        .unwrap_or_else(|error| panic!("a product into {:?}: {error:?}", out.meta.shape()));
}
