//! The operations on a GPU: kernels in CubeCL, which compiles them for CUDA, Vulkan, Metal and WebGPU when
//! they first run.
//!
//! The time of a small model's step is set by the number of kernel launches, so each operation is one kernel
//! where possible, besides its matrix products. Nothing here reads a value back to the host.

mod backward;
mod forward;
mod inference;
mod kernels;
mod product;
mod tensors;
pub(crate) mod updates;

use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::config::cache::CacheConfig;
use cubecl::config::streaming::StreamPolicy;
use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
use cubecl::prelude::*;

use self::kernels::{attention, rows};
use self::tensors::{cubes, dims, elementwise, vector};

/// Caches compiled kernels in the user's cache folder from one process to the next: each run of a study is a
/// process of its own, and compiling takes longer than a short run. Call it before opening a GPU; a
/// configuration that is already set stays.
pub(crate) fn keep_kernels() {
    let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
    config.compilation.cache = true;
    config.environment.path = CacheConfig::Global;
    // One queue for all threads: a tensor that passes from one queue to another has to be waited for.
    config.streaming.policy = StreamPolicy::Single;
    let _is_first = CubeClRuntimeConfig::try_set(config);
}

/// What all launches have in common.
struct Launch<'a> {
    client: &'a Client,
    count: CubeCount,
    dim: CubeDim,
}

/// Runs a kernel. The bounds of all accesses follow from the shapes, which the crate's entry points check,
/// and every kernel guards its own position, so that unchecked launches are sound.
macro_rules! launch {
    ($kernel:path, $launch:expr $(, $argument:expr)* $(,)?) => {{
        let Launch { client, count, dim } = $launch;
        // SAFETY: see the macro.
        unsafe { $kernel(client, count, dim $(, $argument)*) }
    }};
}

use launch;

/// One unit per element.
fn each(client: &Client, count: usize) -> Launch<'_> {
    let (count, dim) = elementwise(client, count);
    Launch { client, count, dim }
}

/// One cube per row.
fn per_row(client: &Client, rows: usize, units: usize) -> Launch<'_> {
    Launch { client, count: cubes(client, rows), dim: CubeDim::new_1d(units as u32) }
}

/// Lanes that share one row and head in the attention kernels: several where rows and heads alone are too few
/// to hide the latency of memory.
fn lanes(rows: usize, heads: usize) -> usize {
    /// Units that keep a large GPU busy.
    const UNITS: usize = 1 << 16;
    if rows * heads < UNITS { 4 } else { 1 }
}

/// One unit per row and lane, one line of cubes per head.
fn per_head(client: &Client, rows: usize, heads: usize) -> Launch<'_> {
    let lanes = lanes(rows, heads);
    let side = attention::UNITS / lanes;
    let count = CubeCount::Static(rows.div_ceil(side) as u32, heads as u32, 1);
    Launch { client, count, dim: CubeDim::new_2d(side as u32, lanes as u32) }
}

/// `out[i] = sum_k parts[k, i]` over `count` parts of `length` values.
fn launch_add_parts(parts: &CubeTensor, out: &CubeTensor, length: usize, count: usize) {
    launch!(
        rows::add_parts::launch_unchecked,
        each(&out.client, length),
        parts.clone().into_buffer_arg(),
        parts.clone().into_buffer_arg(),
        out.clone().into_buffer_arg(),
        out.clone().into_buffer_arg(),
        length,
        count,
        false,
    );
}

/// Adds a bias `[columns]`, and a residual if there is one, to a matrix in place.
fn add_bias(y: &CubeTensor, bias: &CubeTensor, residual: Option<&CubeTensor>) {
    let [_, outputs] = dims(y);
    let n = vector(outputs);
    let count = y.meta.num_elements() / n;
    launch!(
        rows::add_bias::launch_unchecked,
        each(&y.client, count),
        n,
        y.clone().into_buffer_arg(),
        into_contiguous(bias.clone()).into_buffer_arg(),
        into_contiguous(residual.unwrap_or(bias).clone()).into_buffer_arg(),
        count,
        outputs / n,
        residual.is_some(),
    );
}
