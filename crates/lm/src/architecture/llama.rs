//! Llama (Touvron et al. 2023), and the models that share its shape, such as SmolLM2 and TinyLlama: pre-norm
//! transformer decoder with root-mean-square norms, rotary positions, grouped-query attention and a SwiGLU.
//!
//! Field names are Hugging Face's tensor names, so the path of a parameter in this module *is* its name in a
//! checkpoint, and matrices are stored `[out, in]` as there.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use fused::{Heads, Rotation};

use super::adapter::Layer;
use super::llama_config::LlamaConfig;
use super::parts::{Embedding, Projection, RmsNorm, draw, first_rows};
use super::stack::{Stack, rows};
use crate::random::Stream;

#[derive(Module, Debug)]
#[expect(clippy::struct_field_names, reason = "the names of a checkpoint")]
struct Attention {
    q_proj: Projection,
    k_proj: Projection,
    v_proj: Projection,
    o_proj: Projection,
}

#[derive(Module, Debug)]
#[expect(clippy::struct_field_names, reason = "the names of a checkpoint")]
struct Mlp {
    gate_proj: Projection,
    up_proj: Projection,
    down_proj: Projection,
}

#[derive(Module, Debug)]
pub(super) struct Block {
    self_attn: Attention,
    mlp: Mlp,
    input_layernorm: RmsNorm,
    post_attention_layernorm: RmsNorm,
}

impl Block {
    /// Packed `q|k|v` of the residual stream, queries and keys rotated.
    fn qkv(&self, x: Tensor<2>, rotation: &Rotation, config: &LlamaConfig) -> Tensor<2> {
        let x = self.input_layernorm.forward(x, config.rms_norm_eps);
        let Attention { q_proj, k_proj, v_proj, .. } = &self.self_attn;
        let packed = [q_proj, k_proj, v_proj].map(|projection| projection.forward(x.clone()));
        fused::rope(Tensor::cat(packed.to_vec(), 1), rotation, config.heads())
    }

    /// The residual stream after the attention's output is added and the MLP applied; `x: [N, d]`,
    /// `mixed: [N, heads head_dim]`.
    fn finish(&self, x: Tensor<2>, mixed: Tensor<2>, config: &LlamaConfig) -> Tensor<2> {
        let x = self.self_attn.o_proj.add_to(x, mixed);
        let inner = self.post_attention_layernorm.forward(x.clone(), config.rms_norm_eps);
        let gate = self.mlp.gate_proj.forward(inner.clone());
        let inner = fused::swiglu(gate, self.mlp.up_proj.forward(inner));
        self.mlp.down_proj.add_to(x, inner)
    }
}

#[derive(Module, Debug)]
struct Body {
    embed_tokens: Embedding,
    layers: Vec<Block>,
    norm: RmsNorm,
}

/// The decoder: ids in, hidden states out, and the output embedding if it is not the input's.
#[derive(Module, Debug)]
pub struct Llama {
    model: Body,
    lm_head: Option<Projection>,
    #[module(skip)]
    config: LlamaConfig,
}

impl Llama {
    /// Random weights as transformers draws them: N(0, `initializer_range`²), norms 1.
    pub(super) fn random(config: &LlamaConfig, stream: Stream, device: &Device) -> Self {
        draw(Self::declared(config, device), stream.rng(), |_| config.initializer_range)
    }

    /// A model whose parameters have shapes and no values yet.
    pub(super) fn declared(config: &LlamaConfig, device: &Device) -> Self {
        let (d, head_dim, inner) = (config.hidden_size, config.head_dim, config.intermediate_size);
        let (queries, keys) = (config.num_attention_heads * head_dim, config.num_key_value_heads * head_dim);
        let projection = |input: usize, output: usize| Projection::declared(input, output, device);
        let block = |_| Block {
            self_attn: Attention {
                q_proj: projection(d, queries),
                k_proj: projection(d, keys),
                v_proj: projection(d, keys),
                o_proj: projection(queries, d),
            },
            mlp: Mlp {
                gate_proj: projection(d, inner),
                up_proj: projection(d, inner),
                down_proj: projection(inner, d),
            },
            input_layernorm: RmsNorm::declared(d, device),
            post_attention_layernorm: RmsNorm::declared(d, device),
        };
        Self {
            model: Body {
                embed_tokens: Embedding::declared(config.vocab_size, d, device),
                layers: (0..config.num_hidden_layers).map(block).collect(),
                norm: RmsNorm::declared(d, device),
            },
            lm_head: (!config.tie_word_embeddings).then(|| projection(d, config.vocab_size)),
            config: config.clone(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// See [`super::Decoder::without_head`].
    pub(super) fn without_head(self) -> Self {
        Self { lm_head: None, ..self }
    }

    /// The layers that can have adapters.
    pub(super) fn layers(&mut self) -> Vec<Layer<'_>> {
        let mut layers: Vec<Layer<'_>> = Vec::new();
        for (index, Block { self_attn, mlp, .. }) in self.model.layers.iter_mut().enumerate() {
            for (name, layer) in [
                ("self_attn.q_proj", &mut self_attn.q_proj),
                ("self_attn.k_proj", &mut self_attn.k_proj),
                ("self_attn.v_proj", &mut self_attn.v_proj),
                ("self_attn.o_proj", &mut self_attn.o_proj),
                ("mlp.gate_proj", &mut mlp.gate_proj),
                ("mlp.up_proj", &mut mlp.up_proj),
                ("mlp.down_proj", &mut mlp.down_proj),
            ] {
                layers.push((format!("model.layers.{index}.{name}"), layer));
            }
        }
        layers
    }

    /// See [`super::Decoder::with_vocabulary`].
    pub(super) fn with_vocabulary(self, vocabulary: usize) -> Self {
        let embed_tokens = Embedding { weight: first_rows(&self.model.embed_tokens.weight, vocabulary) };
        Self {
            model: Body { embed_tokens, ..self.model },
            lm_head: self.lm_head.map(|head| head.first_outputs(vocabulary)),
            config: LlamaConfig { vocab_size: vocabulary, ..self.config },
        }
    }

    /// The output embedding `[V, d]`.
    ///
    /// # Panics
    /// If the head was left out: a bug of the caller.
    pub(super) fn head(&self) -> Tensor<2> {
        match &self.lm_head {
            Some(head) => head.weight(),
            None if self.config.tie_word_embeddings => self.embedding(),
            None => panic!("a body without its output embedding predicts no tokens"),
        }
    }
}

impl Stack for Llama {
    type Block = Block;
    type Places = Rotation;

    fn blocks(&self) -> &[Block] {
        &self.model.layers
    }

    fn heads(&self) -> Heads {
        self.config.heads()
    }

    fn places(&self, positions: &[usize]) -> Rotation {
        Rotation::new(positions, self.config.head_dim, self.config.rope_theta)
    }

    fn table(&self) -> &Embedding {
        &self.model.embed_tokens
    }

    fn block(
        &self,
        block: &Block,
        x: Tensor<2>,
        rotation: &Rotation,
        at: Option<&Tensor<1, Int>>,
        attention: impl FnOnce(Tensor<2>) -> Tensor<2>,
    ) -> Tensor<2> {
        let mixed = attention(block.qkv(x.clone(), rotation, &self.config));
        let [x, mixed] = rows([x, mixed], at);
        block.finish(x, mixed, &self.config)
    }

    fn norm(&self, x: Tensor<2>) -> Tensor<2> {
        self.model.norm.forward(x, self.config.rms_norm_eps)
    }
}
