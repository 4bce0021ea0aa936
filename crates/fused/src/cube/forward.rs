//! The forward passes.

use burn::backend::TensorMetadata;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;

use super::kernels::{attention, rows, vocabulary};
use super::product::{Added, Factor, matmul};
use super::tensors::{self, dims, elem, empty, row_units, uploaded, vector};
use super::{Launch, each, lanes, launch, per_head, per_row};
use crate::backend::Kernels;
use crate::{Heads, Packing};

fn affine(residual: Option<&CubeTensor>, x: CubeTensor, weight: CubeTensor, bias: &CubeTensor) -> CubeTensor {
    matmul(Factor::Plain(x), Factor::Plain(weight), Added { bias: Some(bias), residual })
}

pub(super) fn logits_of(hidden: CubeTensor, head: CubeTensor) -> CubeTensor {
    matmul(Factor::Plain(hidden), Factor::Transposed(head), Added::default())
}

/// Log-probabilities of the targets, the logits and their log-sum-exp.
pub(super) fn logprobs_of(
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

/// Rows whose logits are in memory at a time where no gradient is needed: 256 MiB of logits, whatever the
/// vocabulary.
pub(super) fn rows_at_a_time(vocab: usize) -> usize {
    // A multiple of 64 rows, so that each part starts at an offset that a GPU allows.
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

    fn fused_causal_attention(qkv: CubeTensor, packing: Packing, heads: Heads) -> CubeTensor {
        let qkv = into_contiguous(qkv);
        let [count, packed] = dims(&qkv);
        let head_dim = packed / heads.packed();
        let n = vector(head_dim);
        let out = empty(&qkv, [count, heads.queries * head_dim]);
        if count == 0 {
            return out;
        }
        launch!(
            attention::attention::launch_unchecked,
            per_head(&out.client, count, heads.queries),
            n,
            qkv.clone().into_buffer_arg(),
            uploaded(&packing, &qkv).into_buffer_arg(),
            out.clone().into_buffer_arg(),
            count,
            heads.queries,
            heads.keys,
            (head_dim as f32).sqrt().recip(),
            head_dim / n,
            lanes(count, heads.queries),
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
        let ([entries, d], [count]) = (dims(&table), dims(&ids));
        let out = empty(&table, [count, d]);
        let dtype = elem(&ids);
        launch!(
            rows::gather_rows::launch_unchecked,
            each(&out.client, count * d),
            table.into_buffer_arg(),
            ids.into_buffer_arg(),
            out.clone().into_buffer_arg(),
            entries,
            count * d,
            d,
            dtype,
        );
        out
    }
}
