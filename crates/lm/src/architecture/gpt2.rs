//! GPT-2 (Radford et al. 2019): pre-norm transformer decoder, learned positions, tied output embedding.
//!
//! Field names are Hugging Face's tensor names, so the path of a parameter in this module *is* its name in a
//! checkpoint, and matrices are stored `[in, out]` as there.

use std::num::Saturating;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use fused::Heads;
use serde::{Deserialize, Serialize};

use super::adapter::Layer;
use super::parts::{Embedding, LayerNorm, Linear, draw, first_rows};
use super::shape::{Shape, heads_problem, size_problems};
use super::stack::{Stack, rows};
use crate::batch::Tokens;
use crate::parameters::trains;
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

    /// Floating-point operations of one forward pass per token, matrix products only: 2 per weight that
    /// multiplies.
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
pub(super) struct Block {
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
    /// Random weights as GPT-2 has them: N(0, 0.02²), residual projections scaled by 1/sqrt(2 layers), biases
    /// zero.
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
        self.embedding()
    }
}

impl Stack for Gpt2 {
    type Block = Block;
    type Places = ();

    fn blocks(&self) -> &[Block] {
        &self.h
    }

    fn heads(&self) -> Heads {
        self.config.n_head.into()
    }

    /// They are embedded.
    fn places(&self, _: &[usize]) {}

    fn table(&self) -> &Embedding {
        &self.wte
    }

    fn embed(&self, tokens: &Tokens) -> Tensor<2> {
        fused::embedding(self.embedding(), tokens.ids.clone())
            + fused::embedding(self.wpe.weight.val(), tokens.positions.clone())
    }

    fn embed_at(&self, ids: Tensor<1, Int>, position: usize) -> Tensor<2> {
        let wpe = self.wpe.weight.val().slice([position..position + 1, 0..self.config.n_embd]);
        fused::embedding(self.embedding(), ids) + wpe
    }

    fn embeddings_train(&self) -> bool {
        trains(&self.wte) || trains(&self.wpe)
    }

    fn block(
        &self,
        block: &Block,
        x: Tensor<2>,
        (): &(),
        at: Option<&Tensor<1, Int>>,
        attention: impl FnOnce(Tensor<2>) -> Tensor<2>,
    ) -> Tensor<2> {
        let mixed = attention(block.qkv(x.clone(), self.config.layer_norm_epsilon));
        let [x, mixed] = rows([x, mixed], at);
        block.finish(x, mixed, &self.config)
    }

    fn norm(&self, x: Tensor<2>) -> Tensor<2> {
        self.ln_f.forward(x, self.config.layer_norm_epsilon)
    }
}
