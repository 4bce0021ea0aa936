//! The backward passes.

use burn::backend::TensorMetadata;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::forward::logprobs_of;
use super::kernels::{attention, rows, vocabulary};
use super::product::{Added, Factor, matmul, weight_gradient};
use super::tensors::{self, dims, elem, empty, row_units, uploaded, vector, zeros};
use super::{Launch, each, lanes, launch, per_head, per_row};
use crate::backend::Gradients;
use crate::{Heads, Packing};

/// Sums of the columns of `g`; and, if `x` is given with its rows' means and scales, of `g` times the
/// normalised `x`.
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
    // Where no buffer is needed, one that is not written stands in.
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
        packing: &Packing,
        heads: Heads,
        g: &CubeTensor,
    ) -> CubeTensor {
        let [count, packed] = dims(qkv);
        let head_dim = packed / heads.packed();
        let Heads { queries, keys } = heads;
        let n = vector(head_dim);
        let spans = uploaded(packing, qkv);
        let (dqkv, stats) = (empty(qkv, [count, packed]), empty(qkv, [2 * queries, count]));
        let scale = (head_dim as f32).sqrt().recip();
        launch!(
            attention::attention_query_gradient::launch_unchecked,
            per_head(&qkv.client, count, queries),
            n,
            qkv.clone().into_buffer_arg(),
            spans.clone().into_buffer_arg(),
            g.clone().into_buffer_arg(),
            dqkv.clone().into_buffer_arg(),
            stats.clone().into_buffer_arg(),
            count,
            queries,
            keys,
            scale,
            head_dim / n,
            lanes(count, queries),
        );
        launch!(
            attention::attention_key_gradient::launch_unchecked,
            per_head(&qkv.client, count, keys),
            n,
            qkv.clone().into_buffer_arg(),
            spans.into_buffer_arg(),
            g.clone().into_buffer_arg(),
            stats.into_buffer_arg(),
            dqkv.clone().into_buffer_arg(),
            count,
            queries,
            keys,
            scale,
            head_dim / n,
            lanes(count, keys),
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
            rows,
            count * d,
            d,
            dtype,
        );
        table
    }
}
