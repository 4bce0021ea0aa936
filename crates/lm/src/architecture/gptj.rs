//! GPT-J (Wang and Komatsuzaki 2021): a transformer decoder whose blocks have one layer norm, which attention
//! and MLP both read, side by side: `x + attention(norm(x)) + mlp(norm(x))`. The first columns of every head
//! are rotated by position, neighbours against each other; the output embedding is its own and has a bias.
//!
//! Field names are Hugging Face's tensor names, so the path of a parameter in this module *is* its name in a
//! checkpoint, and matrices are stored `[out, in]` as there.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use fused::{Heads, OutputHead, Rotation};

use super::adapter::Layer;
use super::gptj_config::GptJConfig;
use super::parts::{Embedding, LayerNorm, Projection, draw, first_rows};
use super::stack::{Stack, rows};
use crate::random::Stream;

/// The base of the rotary positions' frequencies, which no file says.
const THETA: f64 = 10_000.0;

#[derive(Module, Debug)]
#[expect(clippy::struct_field_names, reason = "the names of a checkpoint")]
struct Attention {
    q_proj: Projection,
    k_proj: Projection,
    v_proj: Projection,
    out_proj: Projection,
}

#[derive(Module, Debug)]
struct Mlp {
    fc_in: Projection,
    fc_out: Projection,
}

#[derive(Module, Debug)]
pub(super) struct Block {
    ln_1: LayerNorm,
    attn: Attention,
    mlp: Mlp,
}

impl Block {
    /// Packed `q|k|v` of the normed residual stream, queries and keys rotated.
    fn qkv(&self, normed: &Tensor<2>, rotation: &Rotation, config: &GptJConfig) -> Tensor<2> {
        let Attention { q_proj, k_proj, v_proj, .. } = &self.attn;
        let packed = [q_proj, k_proj, v_proj].map(|projection| projection.forward(normed.clone()));
        fused::rope(Tensor::cat(packed.to_vec(), 1), rotation, config.n_head)
    }

    /// The residual stream `x` after the outputs of the attention, which mixed the values, and of the MLP
    /// are added; all `[N, d]`.
    fn finish(&self, x: Tensor<2>, normed: Tensor<2>, mixed: Tensor<2>) -> Tensor<2> {
        let x = self.attn.out_proj.add_to(x, mixed);
        self.mlp.fc_out.add_to(x, fused::gelu(self.mlp.fc_in.forward(normed)))
    }
}

#[derive(Module, Debug)]
struct Body {
    wte: Embedding,
    h: Vec<Block>,
    ln_f: LayerNorm,
}

/// The decoder: ids in, hidden states out, and the output embedding.
#[derive(Module, Debug)]
pub struct GptJ {
    transformer: Body,
    lm_head: Option<Projection>,
    #[module(skip)]
    config: GptJConfig,
}

impl GptJ {
    /// Random weights as transformers draws them: N(0, `initializer_range`²), scales 1, biases and shifts
    /// zero.
    pub(super) fn random(config: &GptJConfig, stream: Stream, device: &Device) -> Self {
        draw(Self::declared(config, device), stream.rng(), |_| config.initializer_range)
    }

    /// A model whose parameters have shapes and no values yet.
    pub(super) fn declared(config: &GptJConfig, device: &Device) -> Self {
        let (d, inner) = (config.n_embd, config.n_inner);
        let square = || Projection::declared(d, d, device);
        let block = |_| Block {
            ln_1: LayerNorm::declared(d, device),
            attn: Attention { q_proj: square(), k_proj: square(), v_proj: square(), out_proj: square() },
            mlp: Mlp {
                fc_in: Projection::declared(d, inner, device).with_bias(),
                fc_out: Projection::declared(inner, d, device).with_bias(),
            },
        };
        Self {
            transformer: Body {
                wte: Embedding::declared(config.vocab_size, d, device),
                h: (0..config.n_layer).map(block).collect(),
                ln_f: LayerNorm::declared(d, device),
            },
            lm_head: Some(Projection::declared(d, config.vocab_size, device).with_bias()),
            config: config.clone(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &GptJConfig {
        &self.config
    }

    /// See [`super::Decoder::without_head`].
    pub(super) fn without_head(self) -> Self {
        Self { lm_head: None, ..self }
    }

    /// The layers that can have adapters.
    pub(super) fn layers(&mut self) -> Vec<Layer<'_>> {
        let mut layers: Vec<Layer<'_>> = Vec::new();
        for (index, Block { attn, mlp, .. }) in self.transformer.h.iter_mut().enumerate() {
            for (name, layer) in [
                ("attn.q_proj", &mut attn.q_proj),
                ("attn.k_proj", &mut attn.k_proj),
                ("attn.v_proj", &mut attn.v_proj),
                ("attn.out_proj", &mut attn.out_proj),
                ("mlp.fc_in", &mut mlp.fc_in),
                ("mlp.fc_out", &mut mlp.fc_out),
            ] {
                layers.push((format!("transformer.h.{index}.{name}"), layer));
            }
        }
        layers
    }

    /// See [`super::Decoder::with_vocabulary`].
    pub(super) fn with_vocabulary(self, vocabulary: usize) -> Self {
        let wte = Embedding { weight: first_rows(&self.transformer.wte.weight, vocabulary) };
        Self {
            transformer: Body { wte, ..self.transformer },
            lm_head: self.lm_head.map(|head| head.first_outputs(vocabulary)),
            config: GptJConfig { vocab_size: vocabulary, ..self.config },
        }
    }

    /// The output embedding `[V, d]` with its bias.
    ///
    /// # Panics
    /// If the head was left out: a bug of the caller.
    pub(super) fn head(&self) -> OutputHead {
        match &self.lm_head {
            Some(head) => head.head(),
            None => panic!("a body without its output embedding predicts no tokens"),
        }
    }
}

impl Stack for GptJ {
    type Block = Block;
    type Places = Rotation;

    fn blocks(&self) -> &[Block] {
        &self.transformer.h
    }

    fn heads(&self) -> Heads {
        self.config.n_head.into()
    }

    fn places(&self, positions: &[usize]) -> Rotation {
        let head_dim = self.config.n_embd / self.config.n_head;
        Rotation::of_neighbours(positions, head_dim, self.config.rotary_dim, THETA)
    }

    fn table(&self) -> &Embedding {
        &self.transformer.wte
    }

    fn block(
        &self,
        block: &Block,
        x: Tensor<2>,
        rotation: &Rotation,
        at: Option<&Tensor<1, Int>>,
        attention: impl FnOnce(Tensor<2>) -> Tensor<2>,
    ) -> Tensor<2> {
        let normed = block.ln_1.forward(x.clone(), self.config.layer_norm_epsilon);
        let mixed = attention(block.qkv(&normed, rotation, &self.config));
        let [x, normed, mixed] = rows([x, normed, mixed], at);
        block.finish(x, normed, mixed)
    }

    fn norm(&self, x: Tensor<2>) -> Tensor<2> {
        self.transformer.ln_f.forward(x, self.config.layer_norm_epsilon)
    }
}
