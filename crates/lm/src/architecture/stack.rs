//! What every decoder is: embeddings, a stack of blocks on a residual stream, and a last norm. The ways
//! through it are written once, for all families.

use burn::module::Module;
use burn::tensor::{Device, Gradients, Int, Tensor};
use fused::{Heads, Packing};

use super::cache::KvCache;
use super::parts::Embedding;
use crate::batch::Tokens;
use crate::parameters::trains;

/// The stages of a family's forward pass.
pub(super) trait Stack {
    /// A block.
    type Block: Module;
    /// Where the rows of a residual stream stand in their sequences, as the blocks take it.
    type Places;

    /// The blocks, first to last.
    fn blocks(&self) -> &[Self::Block];

    /// The heads of their attention.
    fn heads(&self) -> Heads;

    /// Rows at these positions.
    fn places(&self, positions: &[usize]) -> Self::Places;

    /// The table of token embeddings.
    fn table(&self) -> &Embedding;

    /// Its weights, `[V, d]`.
    fn embedding(&self) -> Tensor<2> {
        self.table().weight.val()
    }

    /// The residual stream of N tokens before the first block, `[N, d]`: their embeddings, and what a family
    /// adds.
    fn embed(&self, tokens: &Tokens) -> Tensor<2> {
        fused::embedding(self.embedding(), tokens.ids.clone())
    }

    /// The same of ids `[N]` that all stand at one position.
    fn embed_at(&self, ids: Tensor<1, Int>, _position: usize) -> Tensor<2> {
        fused::embedding(self.embedding(), ids)
    }

    /// Whether a parameter trains that [`Stack::embed`] reads.
    fn embeddings_train(&self) -> bool {
        trains(self.table())
    }

    /// The residual stream after a block, from that before it, `[N, d]`; of its rows those `at` only.
    /// `attention` makes mixed values `[N, heads head_dim]` of packed `q|k|v`.
    fn block(
        &self,
        block: &Self::Block,
        x: Tensor<2>,
        places: &Self::Places,
        at: Option<&Tensor<1, Int>>,
        attention: impl FnOnce(Tensor<2>) -> Tensor<2>,
    ) -> Tensor<2>;

    /// The last norm, `[N, d]`.
    fn norm(&self, x: Tensor<2>) -> Tensor<2>;
}

/// The rows `at` of tensors, or all of them.
pub(super) fn rows<const N: usize>(tensors: [Tensor<2>; N], at: Option<&Tensor<1, Int>>) -> [Tensor<2>; N] {
    match at {
        None => tensors,
        Some(at) => tensors.map(|tensor| fused::embedding(tensor, at.clone())),
    }
}

/// What a pass reads: tokens, and the rows that the last block is to give, or all.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) tokens: &'a Tokens,
    pub(crate) at: Option<&'a Tensor<1, Int>>,
}

/// One block of a pass over whole sequences.
fn block<S: Stack>(
    model: &S,
    index: usize,
    x: Tensor<2>,
    places: &S::Places,
    Input { tokens, at }: Input<'_>,
) -> Tensor<2> {
    let blocks = model.blocks();
    let at = at.filter(|_| index + 1 == blocks.len());
    let attention = |qkv| fused::causal_attention(qkv, &tokens.packing, model.heads());
    model.block(&blocks[index], x, places, at, attention)
}

/// See [`super::Decoder::hidden`].
pub(super) fn hidden<S: Stack>(model: &S, input: Input<'_>) -> Tensor<2> {
    let places = model.places(&input.tokens.packing.positions());
    let through = |x, index| block(model, index, x, &places, input);
    model.norm((0..model.blocks().len()).fold(model.embed(input.tokens), through))
}

/// See [`super::Decoder::residuals`].
pub(super) fn residuals<S: Stack>(model: &S, input: Input<'_>, first: usize) -> (Vec<Tensor<2>>, Tensor<2>) {
    let places = model.places(&input.tokens.packing.positions());
    let mut before = Vec::with_capacity(model.blocks().len() - first);
    let mut x = model.embed(input.tokens);
    for index in 0..model.blocks().len() {
        if index >= first {
            before.push(x.clone());
        }
        x = block(model, index, x, &places, input);
    }
    (before, x)
}

/// See [`super::Decoder::frozen_blocks`].
pub(super) fn frozen_blocks<S: Stack>(model: &S) -> usize {
    let blocks = model.blocks();
    if model.embeddings_train() { 0 } else { blocks.iter().position(trains).unwrap_or(blocks.len()) }
}

/// See [`super::Decoder::differentiate`].
pub(super) fn differentiate<S: Stack>(
    model: &S,
    input: Input<'_>,
    before: Vec<Tensor<2>>,
    mut upstream: Tensor<2>,
    mut found: impl FnMut(Gradients),
) {
    let places = model.places(&input.tokens.packing.positions());
    let (first, embeddings_train) = (model.blocks().len() - before.len(), model.embeddings_train());
    for (above, x) in before.into_iter().enumerate().rev() {
        let index = first + above;
        let x = Tensor::from_inner(x).set_require_grad(above > 0 || embeddings_train);
        let y = block(model, index, x.clone(), &places, input);
        let mut gradients = product(y, upstream).backward();
        let below = x.grad_remove(&mut gradients);
        found(gradients);
        // Nothing trains below a block whose input needs no gradient.
        let Some(below) = below else { return };
        upstream = below;
    }
    if embeddings_train {
        found(product(model.embed(input.tokens), upstream).backward());
    }
}

/// `sum(y dy)`, whose gradient in y is dy.
fn product(y: Tensor<2>, upstream: Tensor<2>) -> Tensor<1> {
    (y * Tensor::from_inner(upstream)).sum()
}

/// See [`super::Decoder::prefill`].
pub(super) fn prefill<S: Stack>(
    model: &S,
    prompts: &[&[u32]],
    capacity: usize,
    device: &Device,
) -> (Tensor<2>, KvCache) {
    let (batch, time) = (prompts.len(), prompts[0].len());
    let tokens = Tokens::new(&prompts.concat(), Packing::equal(batch, time), device);
    let (places, heads) = (model.places(&tokens.packing.positions()), model.heads());
    let mut layers = Vec::with_capacity(model.blocks().len());
    let mut x = model.embed(&tokens);
    for block in model.blocks() {
        x = model.block(block, x, &places, None, |qkv| {
            layers.push(KvCache::of_prompts(&qkv, [batch, time], heads, capacity));
            fused::causal_attention(qkv, &tokens.packing, heads)
        });
    }
    let [_, d] = x.dims();
    let last = x.reshape([batch, time, d]).slice([0..batch, time - 1..time, 0..d]).reshape([batch, d]);
    (model.norm(last), KvCache { layers, position: time })
}

/// See [`super::Decoder::decode`].
pub(super) fn decode<S: Stack>(model: &S, ids: Tensor<1, Int>, cache: &mut KvCache) -> Tensor<2> {
    let (position, [rows]) = (cache.position, ids.dims());
    let places = model.places(&vec![position; rows]);
    let mut x = model.embed_at(ids, position);
    // The cache is moved through the attention so that it is written in place.
    for (block, (keys, values)) in model.blocks().iter().zip(std::mem::take(&mut cache.layers)) {
        x = model.block(block, x, &places, None, |qkv| {
            let (mixed, keys, values) = fused::decode_attention(qkv, keys, values, position, model.heads());
            cache.layers.push((keys, values));
            mixed
        });
    }
    cache.position += 1;
    model.norm(x)
}
