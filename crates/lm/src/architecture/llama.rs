//! Llama (Touvron et al. 2023), and the models that share its shape, such as SmolLM2 and TinyLlama: pre-norm
//! transformer decoder with root-mean-square norms, rotary positions, grouped-query attention and a SwiGLU.
//!
//! Field names are Hugging Face's tensor names, so the path of a parameter in this module *is* its name in a
//! checkpoint, and matrices are stored `[out, in]` as there.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use fused::{Packing, Rotation};

use super::adapter::Layer;
use super::cache::KvCache;
use super::llama_config::LlamaConfig;
use super::parts::{Embedding, Projection, RmsNorm, draw, first_rows};
use crate::batch::Tokens;
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
struct Block {
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

    /// The input embedding `[V, d]`.
    pub(super) fn embedding(&self) -> Tensor<2> {
        self.model.embed_tokens.weight.val()
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

    /// See [`super::Decoder::hidden`].
    pub(super) fn hidden(&self, tokens: &Tokens, at: Option<&Tensor<1, Int>>) -> Tensor<2> {
        let rotation = self.rotation(&tokens.packing.positions());
        let mut x = self.embed(tokens.ids.clone());
        for (index, block) in self.model.layers.iter().enumerate() {
            let qkv = block.qkv(x.clone(), &rotation, &self.config);
            let mut mixed = fused::causal_attention(qkv, &tokens.packing, self.config.heads());
            if let Some(at) = at.filter(|_| index + 1 == self.model.layers.len()) {
                x = fused::embedding(x, at.clone());
                mixed = fused::embedding(mixed, at.clone());
            }
            x = block.finish(x, mixed, &self.config);
        }
        self.model.norm.forward(x, self.config.rms_norm_eps)
    }

    /// See [`super::Decoder::prefill`].
    pub(super) fn prefill(&self, prompts: &[&[u32]], capacity: usize) -> (Tensor<2>, KvCache) {
        let (batch, time) = (prompts.len(), prompts[0].len());
        let (d, heads) = (self.config.hidden_size, self.config.heads());
        let tokens = Tokens::new(&prompts.concat(), Packing::equal(batch, time), &self.embedding().device());
        let rotation = self.rotation(&tokens.packing.positions());
        let mut x = self.embed(tokens.ids.clone());
        let mut layers = Vec::with_capacity(self.model.layers.len());
        for block in &self.model.layers {
            let qkv = block.qkv(x.clone(), &rotation, &self.config);
            layers.push(KvCache::of_prompts(&qkv, [batch, time], heads, capacity));
            let mixed = fused::causal_attention(qkv, &tokens.packing, heads);
            x = block.finish(x, mixed, &self.config);
        }
        let last = x.reshape([batch, time, d]).slice([0..batch, time - 1..time, 0..d]).reshape([batch, d]);
        (self.model.norm.forward(last, self.config.rms_norm_eps), KvCache { layers, position: time })
    }

    /// See [`super::Decoder::decode`].
    pub(super) fn decode(&self, tokens: Tensor<1, Int>, cache: &mut KvCache) -> Tensor<2> {
        let position = cache.position;
        let [rows] = tokens.dims();
        let rotation = self.rotation(&vec![position; rows]);
        let mut x = self.embed(tokens);
        // The cache is moved through the attention so that it is written in place.
        for (block, (keys, values)) in self.model.layers.iter().zip(std::mem::take(&mut cache.layers)) {
            let qkv = block.qkv(x.clone(), &rotation, &self.config);
            let (mixed, keys, values) =
                fused::decode_attention(qkv, keys, values, position, self.config.heads());
            cache.layers.push((keys, values));
            x = block.finish(x, mixed, &self.config);
        }
        cache.position += 1;
        self.model.norm.forward(x, self.config.rms_norm_eps)
    }

    fn embed(&self, ids: Tensor<1, Int>) -> Tensor<2> {
        fused::embedding(self.embedding(), ids)
    }

    fn rotation(&self, positions: &[usize]) -> Rotation {
        Rotation::new(positions, self.config.head_dim, self.config.rope_theta)
    }
}
