//! The operations on a GPU: kernels in CubeCL, which compiles them for CUDA, Vulkan, Metal and WebGPU when they first
//! run.
//!
//! A small model's step is bound by the number of launches, so each operation is one kernel where it can be, beside its
//! matrix products. Nothing here reads a value back.

mod kernels;
mod product;
mod tensors;
pub(crate) mod updates;

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::config::cache::CacheConfig;
use cubecl::config::streaming::StreamPolicy;
use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
use cubecl::prelude::*;

use self::kernels::{attention, rows, vocabulary};
use self::product::{Added, Factor, matmul, weight_gradient};
use self::tensors::{cubes, dims, elem, elementwise, empty, or_copy, row_units, uploaded, vector, zeros};
use crate::Trees;
use crate::backend::{Gradients, Inference, Kernels};

/// Keeps compiled kernels in the user's cache folder from one process to the next: the runs of a study are processes of
/// their own, and compiling takes each of them longer than a short run. To be called before a GPU is opened; a
/// configuration that is there already stays.
pub(crate) fn keep_kernels() {
    let mut config = CubeClRuntimeConfig::from_current_dir().override_from_env();
    config.compilation.cache = true;
    config.environment.path = CacheConfig::Global;
    // One queue for all threads: a tensor that passed from one queue to another would be waited for.
    config.streaming.policy = StreamPolicy::Single;
    let _is_first = CubeClRuntimeConfig::try_set(config);
}

/// The fields that the kernels' launches share.
struct Launch<'a> {
    client: &'a Client,
    count: CubeCount,
    dim: CubeDim,
}

/// Runs a kernel. The bounds of all accesses follow from the shapes, which the crate's entry points check, and every
/// kernel guards its own position, so that unchecked launches are sound.
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

/// Lanes that share a row and head of the attention kernels: several where rows and heads alone are too few to hide the
/// memory's latency.
fn lanes(rows: usize, heads: usize) -> usize {
    /// Units that keep a large GPU busy.
    const UNITS: usize = 1 << 16;
    if rows * heads < UNITS { 4 } else { 1 }
}

/// A unit for each row and lane, one line of cubes per head.
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

/// Adds a bias `[columns]`, and a residual, to a matrix in place.
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

fn affine(residual: Option<&CubeTensor>, x: CubeTensor, weight: CubeTensor, bias: &CubeTensor) -> CubeTensor {
    matmul(Factor::Plain(x), Factor::Plain(weight), Added { bias: Some(bias), residual })
}

/// Sums of the columns of `g`; and, if `x` is given with its rows' means and scales, of `g` times the normalised `x`.
fn column_sums(
    g: &CubeTensor,
    normalised: Option<(&CubeTensor, CubeTensor)>,
) -> (CubeTensor, Option<CubeTensor>) {
    /// Rows that are worth a cube of their own.
    const CHUNK: usize = 256;
    let client = &g.client;
    let [count, columns] = dims(g);
    let chunks = count.div_ceil(CHUNK).clamp(1, 64);
    let both = normalised.is_some();
    let (x, stats) = normalised.map_or_else(|| (g.clone(), g.clone()), |(x, stats)| (x.clone(), stats));
    let sums = empty(g, [chunks, columns]);
    let normal_sums = both.then(|| empty(g, [chunks, columns]));
    // A buffer that is not written stands where none is needed.
    let or_sums = |tensor: &Option<CubeTensor>| tensor.clone().unwrap_or_else(|| sums.clone());
    let launch = Launch {
        client,
        count: CubeCount::Static(columns.div_ceil(rows::COLUMNS) as u32, chunks as u32, 1),
        dim: CubeDim::new_2d(rows::COLUMNS as u32, rows::STRIPES as u32),
    };
    launch!(
        rows::column_sums::launch_unchecked,
        launch,
        g.clone().into_buffer_arg(),
        x.into_buffer_arg(),
        stats.into_buffer_arg(),
        sums.clone().into_buffer_arg(),
        or_sums(&normal_sums).into_buffer_arg(),
        count,
        columns,
        count.div_ceil(chunks),
        both,
    );
    let flat = |tensor: CubeTensor| tensors::slice(&tensor, 0, columns);
    if chunks == 1 {
        return (flat(sums), normal_sums.map(flat));
    }
    let out = empty(g, [columns]);
    let normal_out = both.then(|| empty(g, [columns]));
    launch!(
        rows::add_parts::launch_unchecked,
        each(client, columns),
        sums.clone().into_buffer_arg(),
        or_sums(&normal_sums).into_buffer_arg(),
        out.clone().into_buffer_arg(),
        normal_out.clone().unwrap_or_else(|| out.clone()).into_buffer_arg(),
        columns,
        chunks,
        both,
    );
    (out, normal_out)
}

fn logits_of(hidden: CubeTensor, head: CubeTensor) -> CubeTensor {
    matmul(Factor::Plain(hidden), Factor::Transposed(head), Added::default())
}

fn logprobs_of(
    hidden: &CubeTensor,
    head: &CubeTensor,
    targets: &CubeTensor,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let logits = logits_of(hidden.clone(), head.clone());
    let [count, vocab] = dims(&logits);
    let (out, lse) = (empty(&logits, [count]), empty(&logits, [count]));
    launch!(
        vocabulary::target_logprobs::launch_unchecked,
        per_row(&logits.client, count, vocabulary::UNITS),
        logits.clone().into_buffer_arg(),
        into_contiguous(targets.clone()).into_buffer_arg(),
        out.clone().into_buffer_arg(),
        lse.clone().into_buffer_arg(),
        count,
        vocab,
        elem(targets),
    );
    (out, logits, lse)
}

/// Rows of logits that exist at a time where no gradient is needed, so that a large vocabulary bounds the memory: 256
/// MiB of them.
fn rows_at_a_time(vocab: usize) -> usize {
    // A multiple of 64 rows, so that parts start where a GPU lets a buffer start.
    (((64 << 20) / vocab.max(1)) / 64).max(1) * 64
}

impl Kernels for CubeBackend {
    fn fused_linear(x: CubeTensor, weight: CubeTensor, bias: CubeTensor) -> CubeTensor {
        affine(None, x, weight, &bias)
    }

    fn fused_linear_add(
        residual: CubeTensor,
        x: CubeTensor,
        weight: CubeTensor,
        bias: CubeTensor,
    ) -> CubeTensor {
        affine(Some(&residual), x, weight, &bias)
    }

    fn fused_layer_norm(x: CubeTensor, gamma: CubeTensor, beta: CubeTensor, eps: f64) -> CubeTensor {
        let [x, gamma, beta] = [x, gamma, beta].map(into_contiguous);
        let [count, d] = dims(&x);
        let y = empty(&x, [count, d]);
        let units = row_units(d);
        launch!(
            rows::layer_norm::launch_unchecked,
            per_row(&y.client, count, units),
            x.into_buffer_arg(),
            gamma.into_buffer_arg(),
            beta.into_buffer_arg(),
            y.clone().into_buffer_arg(),
            count,
            d,
            eps as f32,
            units,
        );
        y
    }

    fn fused_gelu(x: CubeTensor) -> CubeTensor {
        let x = into_contiguous(x);
        let y = empty(&x, x.shape());
        let count = x.meta.num_elements();
        launch!(
            rows::gelu::launch_unchecked,
            each(&y.client, count),
            x.into_buffer_arg(),
            y.clone().into_buffer_arg(),
            count,
        );
        y
    }

    fn fused_causal_attention(qkv: CubeTensor, trees: Trees, heads: usize) -> CubeTensor {
        let qkv = into_contiguous(qkv);
        let [count, packed] = dims(&qkv);
        let d = packed / 3;
        let n = vector(d / heads);
        let out = empty(&qkv, [count, d]);
        if count == 0 {
            return out;
        }
        launch!(
            attention::attention::launch_unchecked,
            per_head(&out.client, count, heads),
            n,
            qkv.clone().into_buffer_arg(),
            uploaded(&trees, &qkv).into_buffer_arg(),
            out.clone().into_buffer_arg(),
            count,
            heads,
            ((d / heads) as f32).sqrt().recip(),
            d / heads / n,
            lanes(count, heads),
        );
        out
    }

    fn fused_target_logprobs(hidden: CubeTensor, head: CubeTensor, targets: CubeTensor) -> CubeTensor {
        let ([count, _], [vocab, _]) = (dims(&hidden), dims(&head));
        let rows = rows_at_a_time(vocab);
        if count <= rows {
            return logprobs_of(&hidden, &head, &targets).0;
        }
        let (hidden, targets) = (into_contiguous(hidden), into_contiguous(targets));
        let part = |start: usize| {
            let length = rows.min(count - start);
            let hidden = tensors::rows_of(&hidden, start, length);
            logprobs_of(&hidden, &head, &tensors::slice(&targets, start, length)).0
        };
        tensors::joined((0..count).step_by(rows).map(part).collect())
    }

    fn fused_embedding(table: CubeTensor, ids: CubeTensor) -> CubeTensor {
        let (table, ids) = (into_contiguous(table), into_contiguous(ids));
        let ([_, d], [count]) = (dims(&table), dims(&ids));
        let out = empty(&table, [count, d]);
        let dtype = elem(&ids);
        launch!(
            rows::gather_rows::launch_unchecked,
            each(&out.client, count * d),
            table.into_buffer_arg(),
            ids.into_buffer_arg(),
            out.clone().into_buffer_arg(),
            count * d,
            d,
            dtype,
        );
        out
    }
}

impl Inference for CubeBackend {
    fn fused_decode_attention(
        qkv: CubeTensor,
        keys: CubeTensor,
        values: CubeTensor,
        position: usize,
        heads: usize,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        let qkv = into_contiguous(qkv);
        let (keys, values) = (or_copy(keys), or_copy(values));
        let [batch, _, capacity, head_dim] = dims(&keys);
        let n = vector(head_dim);
        let out = empty(&qkv, [batch, heads * head_dim]);
        launch!(
            attention::decode::launch_unchecked,
            per_row(&out.client, batch * heads, attention::LANES),
            n,
            qkv.into_buffer_arg(),
            keys.clone().into_buffer_arg(),
            values.clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            batch * heads,
            heads,
            capacity,
            position,
            (head_dim as f32).sqrt().recip(),
            head_dim / n,
        );
        (out, keys, values)
    }

    fn fused_token_kl(
        hidden: CubeTensor,
        head: CubeTensor,
        reference_hidden: CubeTensor,
        reference_head: CubeTensor,
        targets: CubeTensor,
    ) -> (CubeTensor, CubeTensor) {
        let [hidden, reference_hidden, targets] = [hidden, reference_hidden, targets].map(into_contiguous);
        let ([count], [vocab, _]) = (dims(&targets), dims(&head));
        let rows = rows_at_a_time(2 * vocab);
        let part = |start: usize| {
            let length = rows.min(count - start);
            let logits = |hidden: &CubeTensor, head: &CubeTensor| {
                logits_of(tensors::rows_of(hidden, start, length), head.clone())
            };
            let policy = logits(&hidden, &head);
            let (exact, k1) = (empty(&policy, [length]), empty(&policy, [length]));
            launch!(
                vocabulary::token_kl::launch_unchecked,
                per_row(&policy.client, length, vocabulary::UNITS),
                policy.clone().into_buffer_arg(),
                logits(&reference_hidden, &reference_head).into_buffer_arg(),
                tensors::slice(&targets, start, length).into_buffer_arg(),
                exact.clone().into_buffer_arg(),
                k1.clone().into_buffer_arg(),
                length,
                vocab,
                elem(&targets),
            );
            (exact, k1)
        };
        let (exact, k1) = (0..count.max(1)).step_by(rows).map(part).unzip();
        (tensors::joined(exact), tensors::joined(k1))
    }

    fn fused_sample(hidden: CubeTensor, head: CubeTensor, uniforms: &[f64]) -> (CubeTensor, CubeTensor) {
        let logits = logits_of(hidden, head);
        let [count, vocab] = dims(&logits);
        let uniforms: Vec<f32> = uniforms.iter().map(|&uniform| uniform as f32).collect();
        let uniforms = tensors::from_host(&logits, f32::as_bytes(&uniforms), [count], DType::F32);
        let tokens = tensors::empty_as(&logits, [count], DType::I32);
        let logprobs = empty(&logits, [count]);
        launch!(
            vocabulary::draw::launch_unchecked,
            per_row(&logits.client, count, vocabulary::UNITS),
            logits.clone().into_buffer_arg(),
            uniforms.into_buffer_arg(),
            tokens.clone().into_buffer_arg(),
            logprobs.clone().into_buffer_arg(),
            count,
            vocab,
        );
        (tokens, logprobs)
    }
}

impl Gradients for CubeBackend {
    /// The targets, the logits and their log-sum-exp.
    type Softmax = [CubeTensor; 3];

    fn contiguous(tensor: CubeTensor) -> CubeTensor {
        into_contiguous(tensor)
    }

    fn linear_gradients(
        x: &CubeTensor,
        weight: &CubeTensor,
        g: &CubeTensor,
        needs: [bool; 3],
    ) -> [Option<CubeTensor>; 3] {
        [
            needs[0].then(|| {
                matmul(Factor::Plain(g.clone()), Factor::Transposed(weight.clone()), Added::default())
            }),
            needs[1].then(|| weight_gradient(x, g)),
            needs[2].then(|| column_sums(g, None).0),
        ]
    }

    fn layer_norm_gradients(
        x: &CubeTensor,
        gamma: &CubeTensor,
        eps: f64,
        g: &CubeTensor,
        needs: [bool; 3],
    ) -> [Option<CubeTensor>; 3] {
        let [count, d] = dims(x);
        let (dx, stats) = (empty(x, [count, d]), empty(x, [count, 2]));
        let units = row_units(d);
        launch!(
            rows::layer_norm_input_gradient::launch_unchecked,
            per_row(&x.client, count, units),
            x.clone().into_buffer_arg(),
            gamma.clone().into_buffer_arg(),
            g.clone().into_buffer_arg(),
            dx.clone().into_buffer_arg(),
            stats.clone().into_buffer_arg(),
            count,
            d,
            eps as f32,
            units,
        );
        if !(needs[1] || needs[2]) {
            return [Some(dx), None, None];
        }
        let (beta, gamma) = column_sums(g, Some((x, stats)));
        [needs[0].then_some(dx), gamma.filter(|_| needs[1]), needs[2].then_some(beta)]
    }

    fn gelu_gradient(x: &CubeTensor, g: &CubeTensor) -> CubeTensor {
        let dx = empty(x, x.shape());
        let count = x.meta.num_elements();
        launch!(
            rows::gelu_gradient::launch_unchecked,
            each(&x.client, count),
            x.clone().into_buffer_arg(),
            g.clone().into_buffer_arg(),
            dx.clone().into_buffer_arg(),
            count,
        );
        dx
    }

    fn causal_attention_gradient(
        qkv: &CubeTensor,
        trees: &Trees,
        heads: usize,
        g: &CubeTensor,
    ) -> CubeTensor {
        let [count, packed] = dims(qkv);
        let head_dim = packed / 3 / heads;
        let n = vector(head_dim);
        let spans = uploaded(trees, qkv);
        let (dqkv, stats) = (empty(qkv, [count, packed]), empty(qkv, [2 * heads, count]));
        let scale = (head_dim as f32).sqrt().recip();
        launch!(
            attention::attention_query_gradient::launch_unchecked,
            per_head(&qkv.client, count, heads),
            n,
            qkv.clone().into_buffer_arg(),
            spans.clone().into_buffer_arg(),
            g.clone().into_buffer_arg(),
            dqkv.clone().into_buffer_arg(),
            stats.clone().into_buffer_arg(),
            count,
            heads,
            scale,
            head_dim / n,
            lanes(count, heads),
        );
        launch!(
            attention::attention_key_gradient::launch_unchecked,
            per_head(&qkv.client, count, heads),
            n,
            qkv.clone().into_buffer_arg(),
            spans.into_buffer_arg(),
            g.clone().into_buffer_arg(),
            stats.into_buffer_arg(),
            dqkv.clone().into_buffer_arg(),
            count,
            heads,
            scale,
            head_dim / n,
            lanes(count, heads),
        );
        dqkv
    }

    fn target_logprobs_saving(
        hidden: &CubeTensor,
        head: &CubeTensor,
        targets: CubeTensor,
    ) -> (CubeTensor, Self::Softmax) {
        let targets = into_contiguous(targets);
        let (out, logits, lse) = logprobs_of(hidden, head, &targets);
        (out, [targets, logits, lse])
    }

    fn target_logprobs_gradients(
        hidden: &CubeTensor,
        head: &CubeTensor,
        [targets, logits, lse]: Self::Softmax,
        g: &CubeTensor,
        needs: [bool; 2],
    ) -> [Option<CubeTensor>; 2] {
        let [count, vocab] = dims(&logits);
        let dtype = elem(&targets);
        launch!(
            vocabulary::target_logprobs_gradient::launch_unchecked,
            each(&hidden.client, count * vocab),
            logits.clone().into_buffer_arg(),
            targets.into_buffer_arg(),
            lse.into_buffer_arg(),
            g.clone().into_buffer_arg(),
            logits.clone().into_buffer_arg(),
            count * vocab,
            vocab,
            dtype,
        );
        [
            needs[0].then(|| {
                matmul(Factor::Plain(logits.clone()), Factor::Plain(head.clone()), Added::default())
            }),
            needs[1].then(|| weight_gradient(&logits, hidden)),
        ]
    }

    fn embedding_gradient(ids: &CubeTensor, rows: usize, g: &CubeTensor) -> CubeTensor {
        let [count, d] = dims(g);
        let table = zeros(g, [rows, d]);
        let ids = into_contiguous(ids.clone());
        if !tensors::adds_atomically(g) {
            return tensors::scatter_add(table, ids, g.clone());
        }
        let dtype = elem(&ids);
        launch!(
            rows::scatter_rows::launch_unchecked,
            each(&g.client, count * d),
            g.clone().into_buffer_arg(),
            ids.into_buffer_arg(),
            table.clone().into_buffer_arg(),
            count * d,
            d,
            dtype,
        );
        table
    }
}
