//! The operations on a GPU: kernels in CubeCL, which compiles them for CUDA, Vulkan, Metal and WebGPU when they first
//! run; the matrix products are burn's.
//!
//! A small model's step is bound by the number of launches, so each operation is one kernel where it can be, beside its
//! matrix products. Nothing here reads a value back.

mod attention;
mod optimizer;
mod product;
mod rows;
mod tensors;
mod vocabulary;

use burn::backend::TensorMetadata;
use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::config::cache::CacheConfig;
use cubecl::config::streaming::StreamPolicy;
use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
use cubecl::prelude::*;

pub(crate) use self::optimizer::PARTS as SQUARE_PARTS;
use self::product::{matmul, weight_gradient};
use self::tensors::{
    cubes, dims, elem, elementwise, empty, or_copy, row_units, transposed, uploaded, vector, zeros,
};
use crate::backend::{Gradients, Inference, Kernels, Updates};
use crate::{AdamW, RmsProp, Trees};

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

/// One unit per element.
fn each(client: &Client, count: usize) -> Launch<'_> {
    let (count, dim) = elementwise(client, count);
    Launch { client, count, dim }
}

/// One cube per row.
fn per_row(client: &Client, rows: usize, units: usize) -> Launch<'_> {
    Launch { client, count: cubes(client, rows), dim: CubeDim::new_1d(units as u32) }
}

/// Rows of a cube of the attention kernels.
const ATTENTION_ROWS: usize = 64;

/// One unit per row, one line of cubes per head.
fn per_head(client: &Client, rows: usize, heads: usize) -> Launch<'_> {
    let count = CubeCount::Static(rows.div_ceil(ATTENTION_ROWS) as u32, heads as u32, 1);
    Launch { client, count, dim: CubeDim::new_1d(ATTENTION_ROWS as u32) }
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

fn affine(residual: Option<CubeTensor>, x: CubeTensor, weight: CubeTensor, bias: CubeTensor) -> CubeTensor {
    let y = matmul(x, weight);
    let [_, outputs] = dims(&y);
    let n = vector(outputs);
    let count = y.meta.num_elements() / n;
    let has_residual = residual.is_some();
    let residual = residual.unwrap_or_else(|| bias.clone());
    launch!(
        rows::add_bias::launch_unchecked,
        each(&y.client, count),
        n,
        y.clone().into_buffer_arg(),
        into_contiguous(bias).into_buffer_arg(),
        into_contiguous(residual).into_buffer_arg(),
        count,
        outputs / n,
        has_residual,
    );
    y
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

fn logprobs_of(
    hidden: &CubeTensor,
    head: &CubeTensor,
    targets: &CubeTensor,
) -> (CubeTensor, CubeTensor, CubeTensor) {
    let logits = matmul(hidden.clone(), transposed(head.clone()));
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
        affine(None, x, weight, bias)
    }

    fn fused_linear_add(
        residual: CubeTensor,
        x: CubeTensor,
        weight: CubeTensor,
        bias: CubeTensor,
    ) -> CubeTensor {
        affine(Some(residual), x, weight, bias)
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
                matmul(tensors::rows_of(hidden, start, length), transposed(head.clone()))
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
        let logits = matmul(hidden, transposed(head));
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

impl Updates for CubeBackend {
    fn fused_adamw(
        parameter: CubeTensor,
        gradient: CubeTensor,
        first: CubeTensor,
        second: CubeTensor,
        rule: AdamW,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        let [parameter, gradient] = [parameter, gradient].map(into_contiguous);
        let [first, second] = [first, second].map(or_copy);
        let count = parameter.meta.num_elements();
        let out = empty(&parameter, [count]);
        let rule = rule.factors();
        launch!(
            optimizer::adamw::launch_unchecked,
            each(&out.client, count),
            parameter.into_buffer_arg(),
            gradient.into_buffer_arg(),
            first.clone().into_buffer_arg(),
            second.clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            count,
            rule.gradient_scale,
            rule.beta1,
            rule.beta2,
            rule.keep,
            rule.rate,
            rule.root,
            rule.epsilon,
        );
        (out, first, second)
    }

    fn fused_rmsprop(
        parameter: CubeTensor,
        gradient: CubeTensor,
        second: CubeTensor,
        rule: RmsProp,
    ) -> (CubeTensor, CubeTensor) {
        let [parameter, gradient] = [parameter, gradient].map(into_contiguous);
        let second = or_copy(second);
        let count = parameter.meta.num_elements();
        let out = empty(&parameter, [count]);
        launch!(
            optimizer::rmsprop::launch_unchecked,
            each(&out.client, count),
            parameter.into_buffer_arg(),
            gradient.into_buffer_arg(),
            second.clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            count,
            rule.gradient_scale,
            rule.learning_rate,
            rule.alpha,
            rule.epsilon,
        );
        (out, second)
    }

    fn fused_add_squares(sums: CubeTensor, x: CubeTensor) -> CubeTensor {
        let (sums, x) = (or_copy(sums), into_contiguous(x));
        let launch = Launch {
            client: &sums.client,
            count: CubeCount::Static(SQUARE_PARTS as u32, 1, 1),
            dim: CubeDim::new_1d(optimizer::UNITS as u32),
        };
        let count = x.meta.num_elements();
        launch!(
            optimizer::add_squares::launch_unchecked,
            launch,
            x.into_buffer_arg(),
            sums.clone().into_buffer_arg(),
            count,
        );
        sums
    }

    fn fused_total(sums: CubeTensor) -> CubeTensor {
        let sums = into_contiguous(sums);
        let (count, out) = (sums.meta.num_elements(), empty(&sums, [1]));
        launch!(
            optimizer::total::launch_unchecked,
            per_row(&out.client, 1, optimizer::UNITS),
            sums.into_buffer_arg(),
            out.clone().into_buffer_arg(),
            count,
        );
        out
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
            needs[0].then(|| matmul(g.clone(), transposed(weight.clone()))),
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
            needs[0].then(|| matmul(logits.clone(), head.clone())),
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
