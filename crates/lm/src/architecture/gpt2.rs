//! GPT-2 (Radford et al. 2019): pre-norm transformer decoder, learned positions, tied output embedding.
//!
//! Field names are Hugging Face's tensor names, so the path of a parameter in this module *is* its name in a
//! checkpoint, and matrices are stored `[in, out]` as there.

use std::num::Saturating;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use fused::Packing;
use serde::{Deserialize, Serialize};

use super::adapter::Layer;
use super::cache::KvCache;
use super::parts::{Embedding, LayerNorm, Linear, draw, first_rows};
use super::shape::{Shape, heads_problem, size_problems};
use crate::batch::Tokens;
use crate::problem::{Config, Problem};
use crate::random::Stream;

/// The function between the two matrices of an MLP, by its name in Hugging Face's configurations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gpt2Activation {
    /// GELU in its tanh form: OpenAI's own GPT-2.
    #[default]
    GeluNew,
    /// GELU in its exact form, `x Phi(x)`.
    Gelu,
}

/// The configuration of a GPT-2, with the keys of Hugging Face's `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gpt2Config {
    /// Number of token ids, V.
    pub vocab_size: usize,
    /// Longest sequence in tokens.
    pub n_positions: usize,
    /// Width, d.
    pub n_embd: usize,
    /// Number of blocks.
    pub n_layer: usize,
    /// Attention heads; divides `n_embd`.
    pub n_head: usize,
    /// Epsilon of the layer norms.
    pub layer_norm_epsilon: f64,
    /// The function within the MLP.
    #[serde(default)]
    pub activation_function: Gpt2Activation,
}

impl Config for Gpt2Config {
    fn problems(&self) -> Vec<Problem> {
        let (width, heads) = (self.n_embd, self.n_head);
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("n_positions", self.n_positions),
            ("n_embd", width),
            ("n_layer", self.n_layer),
            ("n_head", heads),
        ];
        let sizes = size_problems(sizes, self.parameters());
        let divisor = heads_problem(("n_head", heads), ("n_embd", width));
        let epsilon = Problem::unless_positive("layer_norm_epsilon", self.layer_norm_epsilon);
        sizes.into_iter().chain(divisor).chain(epsilon).collect()
    }
}

impl Gpt2Config {
    pub(super) fn of(shape: Shape) -> Self {
        Self {
            vocab_size: shape.vocabulary,
            n_positions: shape.context,
            n_embd: shape.width,
            n_layer: shape.layers,
            n_head: shape.heads,
            layer_norm_epsilon: 1e-5,
            activation_function: Gpt2Activation::GeluNew,
        }
    }

    pub(super) fn shape(&self) -> Shape {
        Shape {
            vocabulary: self.vocab_size,
            context: self.n_positions,
            width: self.n_embd,
            layers: self.n_layer,
            heads: self.n_head,
        }
    }

    /// Number of parameters; the tied head counts once. The largest number for sizes that no model has.
    pub fn parameters(&self) -> usize {
        let [vocabulary, positions, d, layers] =
            [self.vocab_size, self.n_positions, self.n_embd, self.n_layer].map(Saturating);
        let block = Saturating(12) * d * d + Saturating(13) * d;
        ((vocabulary + positions) * d + layers * block + Saturating(2) * d).0
    }

    /// Floating-point operations of one forward pass per token, matrix products only: 2 per weight that multiplies.
    pub fn forward_flops_per_token(&self) -> f64 {
        let d = self.n_embd as f64;
        2.0 * (self.n_layer as f64 * 12.0 * d * d + self.vocab_size as f64 * d)
    }
}

#[derive(Module, Debug)]
struct Attention {
    c_attn: Linear,
    c_proj: Linear,
}

#[derive(Module, Debug)]
struct Mlp {
    c_fc: Linear,
    c_proj: Linear,
}

#[derive(Module, Debug)]
struct Block {
    ln_1: LayerNorm,
    attn: Attention,
    ln_2: LayerNorm,
    mlp: Mlp,
}

impl Block {
    /// The residual stream after the attention's output is added and the MLP applied; `x, mixed: [N, d]`.
    fn finish(&self, x: Tensor<2>, mixed: Tensor<2>, config: &Gpt2Config) -> Tensor<2> {
        let x = self.attn.c_proj.add_to(x, mixed);
        let inner = self.mlp.c_fc.forward(self.ln_2.forward(x.clone(), config.layer_norm_epsilon));
        let inner = match config.activation_function {
            Gpt2Activation::GeluNew => fused::gelu(inner),
            Gpt2Activation::Gelu => fused::erf_gelu(inner),
        };
        self.mlp.c_proj.add_to(x, inner)
    }

    fn qkv(&self, x: Tensor<2>, epsilon: f64) -> Tensor<2> {
        self.attn.c_attn.forward(self.ln_1.forward(x, epsilon))
    }
}

/// The decoder without a head: ids in, hidden states out.
#[derive(Module, Debug)]
pub struct Gpt2 {
    wte: Embedding,
    wpe: Embedding,
    h: Vec<Block>,
    ln_f: LayerNorm,
    #[module(skip)]
    config: Gpt2Config,
}

impl Gpt2 {
    /// Random weights as GPT-2 has them: N(0, 0.02²), residual projections scaled by 1/sqrt(2 layers), biases zero.
    pub(super) fn random(config: &Gpt2Config, stream: Stream, device: &Device) -> Self {
        let std = 0.02;
        let residual = std / ((2 * config.n_layer) as f64).sqrt();
        let of = |path: &str| if path.ends_with("c_proj.weight") { residual } else { std };
        draw(Self::declared(config, device), stream.rng(), of)
    }

    /// A model whose parameters have shapes and no values yet.
    pub(super) fn declared(config: &Gpt2Config, device: &Device) -> Self {
        let d = config.n_embd;
        let linear = |input: usize, output: usize| Linear::declared(input, output, device);
        let block = |_| Block {
            ln_1: LayerNorm::declared(d, device),
            attn: Attention { c_attn: linear(d, 3 * d), c_proj: linear(d, d) },
            ln_2: LayerNorm::declared(d, device),
            mlp: Mlp { c_fc: linear(d, 4 * d), c_proj: linear(4 * d, d) },
        };
        Self {
            wte: Embedding::declared(config.vocab_size, d, device),
            wpe: Embedding::declared(config.n_positions, d, device),
            h: (0..config.n_layer).map(block).collect(),
            ln_f: LayerNorm::declared(d, device),
            config: config.clone(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &Gpt2Config {
        &self.config
    }

    /// The layers that can have adapters.
    pub(super) fn layers(&mut self) -> Vec<Layer<'_>> {
        let mut layers: Vec<Layer<'_>> = Vec::new();
        for (index, Block { attn, mlp, .. }) in self.h.iter_mut().enumerate() {
            for (name, layer) in [
                ("attn.c_attn", &mut attn.c_attn),
                ("attn.c_proj", &mut attn.c_proj),
                ("mlp.c_fc", &mut mlp.c_fc),
                ("mlp.c_proj", &mut mlp.c_proj),
            ] {
                layers.push((format!("h.{index}.{name}"), layer));
            }
        }
        layers
    }

    /// See [`super::Decoder::with_vocabulary`].
    pub(super) fn with_vocabulary(self, vocabulary: usize) -> Self {
        let config = Gpt2Config { vocab_size: vocabulary, ..self.config };
        Self { wte: Embedding { weight: first_rows(&self.wte.weight, vocabulary) }, config, ..self }
    }

    /// The output embedding, tied to the input embedding: `[V, d]`.
    pub(super) fn head(&self) -> Tensor<2> {
        self.wte.weight.val()
    }

    /// See [`super::Decoder::hidden`].
    pub(super) fn hidden(&self, tokens: &Tokens, at: Option<&Tensor<1, Int>>) -> Tensor<2> {
        let epsilon = self.config.layer_norm_epsilon;
        let mut x = self.embed(tokens);
        for (index, block) in self.h.iter().enumerate() {
            let qkv = block.qkv(x.clone(), epsilon);
            let mut mixed = fused::causal_attention(qkv, &tokens.packing, self.config.n_head);
            if let Some(at) = at.filter(|_| index + 1 == self.h.len()) {
                x = fused::embedding(x, at.clone());
                mixed = fused::embedding(mixed, at.clone());
            }
            x = block.finish(x, mixed, &self.config);
        }
        self.ln_f.forward(x, epsilon)
    }

    /// Runs prompts of one length and keeps their keys and values, with room for `capacity` positions. Returns the hidden
    /// state of the last position of each `[B, d]`.
    ///
    /// # Panics
    /// If there is no prompt, or they are not of one length.
    pub(super) fn prefill(&self, prompts: &[&[u32]], capacity: usize) -> (Tensor<2>, KvCache) {
        let (batch, time) = (prompts.len(), prompts[0].len());
        let (d, heads) = (self.config.n_embd, self.config.n_head);
        let tokens = Tokens::new(&prompts.concat(), Packing::equal(batch, time), &self.head().device());
        let mut x = self.embed(&tokens);
        let mut layers = Vec::with_capacity(self.h.len());
        for block in &self.h {
            let qkv = block.qkv(x.clone(), self.config.layer_norm_epsilon);
            layers.push(KvCache::of_prompts(&qkv, [batch, time], heads.into(), capacity));
            let mixed = fused::causal_attention(qkv, &tokens.packing, heads);
            x = block.finish(x, mixed, &self.config);
        }
        let last = x.reshape([batch, time, d]).slice([0..batch, time - 1..time, 0..d]).reshape([batch, d]);
        (self.ln_f.forward(last, self.config.layer_norm_epsilon), KvCache { layers, position: time })
    }

    /// One decode step: the next token of every row `[B]` to its hidden state `[B, d]`; the cache grows by one.
    pub(super) fn decode(&self, tokens: Tensor<1, Int>, cache: &mut KvCache) -> Tensor<2> {
        let position = cache.position;
        let wpe = self.wpe.weight.val().slice([position..position + 1, 0..self.config.n_embd]);
        let mut x = fused::embedding(self.wte.weight.val(), tokens) + wpe;
        // The cache is moved through the attention so that it is written in place.
        for (block, (keys, values)) in self.h.iter().zip(std::mem::take(&mut cache.layers)) {
            let qkv = block.qkv(x.clone(), self.config.layer_norm_epsilon);
            let (mixed, keys, values) =
                fused::decode_attention(qkv, keys, values, position, self.config.n_head);
            cache.layers.push((keys, values));
            x = block.finish(x, mixed, &self.config);
        }
        cache.position += 1;
        self.ln_f.forward(x, self.config.layer_norm_epsilon)
    }

    fn embed(&self, tokens: &Tokens) -> Tensor<2> {
        fused::embedding(self.wte.weight.val(), tokens.ids.clone())
            + fused::embedding(self.wpe.weight.val(), tokens.positions.clone())
    }
}
