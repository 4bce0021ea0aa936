//! Tensors of the Cube backend: allocation and layout.

use burn::backend::TensorMetadata;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, IndexingUpdateOp, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::{empty_device_contiguous_dtype, zeros_client};
use burn_cubecl::tensor::CubeTensor;
use cubecl::features::AtomicUsage;
use cubecl::ir::{ElemType, Type};
use cubecl::prelude::*;

use crate::Packing;

/// Sizes of a tensor of `D` axes.
pub(super) fn dims<const D: usize>(tensor: &CubeTensor) -> [usize; D] {
    let shape = tensor.shape();
    std::array::from_fn(|i| shape[i])
}

/// A contiguous f32 tensor on the device of `like`, not yet written.
pub(super) fn empty(like: &CubeTensor, shape: impl Into<Shape>) -> CubeTensor {
    empty_as(like, shape, DType::F32)
}

/// [`empty`] of another type.
pub(super) fn empty_as(like: &CubeTensor, shape: impl Into<Shape>, dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape.into(), dtype)
}

/// Zeros on the device of `like`.
pub(super) fn zeros(like: &CubeTensor, shape: impl Into<Shape>) -> CubeTensor {
    into_contiguous(zeros_client(like.client.clone(), like.device.clone(), shape.into(), DType::F32))
}

/// A tensor from bytes on the host.
pub(super) fn from_host(
    like: &CubeTensor,
    bytes: &[u8],
    shape: impl Into<Shape>,
    dtype: DType,
) -> CubeTensor {
    let handle = like.client.create_from_slice(bytes);
    CubeTensor::new_contiguous(like.client.clone(), like.device.clone(), shape.into(), handle, dtype)
}

/// The type of a tensor's elements, for a kernel that takes several.
pub(super) fn elem(tensor: &CubeTensor) -> ElemType {
    burn::backend::cubecl::dtype_to_storage_type(tensor.dtype)
}

/// Elements per vector, a divisor of `columns`: 4 or 1.
pub(super) fn vector(columns: usize) -> usize {
    if columns.is_multiple_of(4) { 4 } else { 1 }
}

/// Units per cube where a cube works on a row of `d` elements.
pub(super) fn row_units(d: usize) -> usize {
    d.div_ceil(4).next_power_of_two().clamp(32, 256)
}

/// `count` cubes as a grid that the device accepts.
pub(super) fn cubes(client: &Client, count: usize) -> CubeCount {
    let (width, _, _) = client.properties().hardware.max_cube_count;
    let width = (width as usize).min(65_535);
    if count <= width {
        CubeCount::Static(count.max(1) as u32, 1, 1)
    } else {
        CubeCount::Static(width as u32, count.div_ceil(width) as u32, 1)
    }
}

/// A grid with one unit per element.
pub(super) fn elementwise(client: &Client, count: usize) -> (CubeCount, CubeDim) {
    const UNITS: usize = 256;
    (cubes(client, count.div_ceil(UNITS)), CubeDim::new_1d(UNITS as u32))
}

/// The transpose; no data moves.
pub(super) fn transposed(tensor: CubeTensor) -> CubeTensor {
    CubeBackend::float_swap_dims(tensor, 0, 1)
}

/// The tensor itself if nothing else owns its storage and it may be written in place, else a copy.
pub(super) fn or_copy(tensor: CubeTensor) -> CubeTensor {
    let tensor = into_contiguous(tensor);
    if tensor.can_mut() { tensor } else { tensor.copy() }
}

/// `length` elements of a flat view of a contiguous tensor, as a tensor `[length]` over the same storage.
pub(super) fn slice(tensor: &CubeTensor, start: usize, length: usize) -> CubeTensor {
    let size = tensor.dtype.size();
    let total = tensor.meta.num_elements();
    let handle = tensor
        .handle
        .clone()
        .offset_start((start * size) as u64)
        .offset_end(((total - start - length) * size) as u64);
    CubeTensor::new_contiguous(
        tensor.client.clone(),
        tensor.device.clone(),
        Shape::from([length]),
        handle,
        tensor.dtype,
    )
}

/// Another shape of a contiguous tensor, over the same storage.
pub(super) fn view(tensor: &CubeTensor, shape: Shape) -> CubeTensor {
    let (client, device) = (tensor.client.clone(), tensor.device.clone());
    CubeTensor::new_contiguous(client, device, shape, tensor.handle.clone(), tensor.dtype)
}

/// Rows of a contiguous matrix, over the same storage.
pub(super) fn rows_of(tensor: &CubeTensor, start: usize, length: usize) -> CubeTensor {
    let [_, columns] = dims(tensor);
    view(&slice(tensor, start * columns, length * columns), Shape::from([length, columns]))
}

/// The vectors `parts`, concatenated.
pub(super) fn joined(mut parts: Vec<CubeTensor>) -> CubeTensor {
    if parts.len() == 1 { parts.remove(0) } else { CubeBackend::float_cat(parts, 0) }
}

/// The spans of [`attention`](super::kernels::attention), uploaded once per batch.
pub(super) fn uploaded(packing: &Packing, like: &CubeTensor) -> CubeTensor {
    let upload = || {
        let spans = packing.spans();
        from_host(like, u32::as_bytes(&spans), [spans.len()], DType::U32)
    };
    let spans = packing.on_device(upload);
    if spans.device == like.device { spans } else { upload() }
}

/// Whether the device adds floats atomically.
pub(super) fn adds_atomically(tensor: &CubeTensor) -> bool {
    let kind = Type::atomic(elem(tensor));
    tensor.client.properties().atomic_type_usage(kind).contains(AtomicUsage::Add)
}

/// Adds row n of `g` to row `ids[n]` of the table, by burn's own kernel.
pub(super) fn scatter_add(table: CubeTensor, ids: CubeTensor, g: CubeTensor) -> CubeTensor {
    CubeBackend::float_select_assign(table, 0, ids, g, IndexingUpdateOp::Add)
}
