//! Operations of sampling and evaluation.

use burn::tensor::DType;
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::forward::{logits_of, rows_at_a_time};
use super::kernels::{attention, vocabulary};
use super::tensors::{self, dims, elem, empty, or_copy, vector};
use super::{Launch, launch, per_row};
use crate::Heads;
use crate::backend::Inference;

impl Inference for CubeBackend {
    fn fused_decode_attention(
        qkv: CubeTensor,
        keys: CubeTensor,
        values: CubeTensor,
        position: usize,
        heads: Heads,
    ) -> (CubeTensor, CubeTensor, CubeTensor) {
        let qkv = into_contiguous(qkv);
        let (keys, values) = (or_copy(keys), or_copy(values));
        let [batch, _, capacity, head_dim] = dims(&keys);
        let n = vector(head_dim);
        let out = empty(&qkv, [batch, heads.queries * head_dim]);
        launch!(
            attention::decode::launch_unchecked,
            per_row(&out.client, batch * heads.queries, attention::LANES),
            n,
            qkv.into_buffer_arg(),
            keys.clone().into_buffer_arg(),
            values.clone().into_buffer_arg(),
            out.clone().into_buffer_arg(),
            batch * heads.queries,
            heads.queries,
            heads.keys,
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
