//! GPT-2 (Radford et al. 2019): pre-norm transformer decoder, learned positions, tied output embedding.
//!
//! Field names are Hugging Face's tensor names, so the path of a parameter in this module *is* its name in a
//! checkpoint, and `Conv1D` weights are stored `[in, out]` as there.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use fused::Packing;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::LmError;
use crate::problem::{Config, Problem};
use crate::random::Stream;
use crate::sequences::Tokens;

/// The shape of a GPT-2, with the keys of Hugging Face's `config.json`.
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
}

impl Config for Gpt2Config {
    fn problems(&self) -> Vec<Problem> {
        let (width, heads) = (self.n_embd, self.n_head);
        let counts = [
            ("vocab_size", self.vocab_size),
            ("n_positions", self.n_positions),
            ("n_embd", width),
            ("n_layer", self.n_layer),
            ("n_head", heads),
        ];
        let counts = counts.into_iter().filter_map(|(key, count)| Problem::unless_counted(key, count));
        let divides = heads == 0 || width.is_multiple_of(heads);
        let expected = format!("a divisor of n_embd = {width}");
        let divisor = Problem::unless(divides, "n_head", heads, expected);
        let epsilon = Problem::unless_positive("layer_norm_epsilon", self.layer_norm_epsilon);
        counts.chain(divisor).chain(epsilon).collect()
    }
}

impl Gpt2Config {
    /// Number of parameters; the tied head counts once.
    pub fn parameters(&self) -> usize {
        let d = self.n_embd;
        let block = 12 * d * d + 13 * d;
        (self.vocab_size + self.n_positions) * d + self.n_layer * block + 2 * d
    }

    /// Floating-point operations of one forward pass per token, matrix products only: 2 per weight that multiplies.
    pub fn forward_flops_per_token(&self) -> f64 {
        let d = self.n_embd as f64;
        2.0 * (self.n_layer as f64 * 12.0 * d * d + self.vocab_size as f64 * d)
    }
}

/// `y = x W + b` with `W: [in, out]`.
#[derive(Module, Debug)]
struct Conv1d {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Conv1d {
    fn init(input: usize, output: usize, std: f64, rng: &mut ChaCha8Rng, device: &Device) -> Self {
        Self {
            weight: normal([input, output], std, rng, device),
            bias: Param::from_tensor(Tensor::zeros([output], device)),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        fused::linear(x, self.weight.val(), self.bias.val())
    }

    /// `residual + x W + b`.
    fn add_to(&self, residual: Tensor<2>, x: Tensor<2>) -> Tensor<2> {
        fused::linear_add(residual, x, self.weight.val(), self.bias.val())
    }
}

#[derive(Module, Debug)]
struct LayerNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
}

impl LayerNorm {
    fn init(width: usize, device: &Device) -> Self {
        Self {
            weight: Param::from_tensor(Tensor::ones([width], device)),
            bias: Param::from_tensor(Tensor::zeros([width], device)),
        }
    }

    fn forward(&self, x: Tensor<2>, epsilon: f64) -> Tensor<2> {
        fused::layer_norm(x, self.weight.val(), self.bias.val(), epsilon)
    }
}

#[derive(Module, Debug)]
struct Embedding {
    weight: Param<Tensor<2>>,
}

#[derive(Module, Debug)]
struct Attention {
    c_attn: Conv1d,
    c_proj: Conv1d,
}

#[derive(Module, Debug)]
struct Mlp {
    c_fc: Conv1d,
    c_proj: Conv1d,
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
    fn finish(&self, x: Tensor<2>, mixed: Tensor<2>, epsilon: f64) -> Tensor<2> {
        let x = self.attn.c_proj.add_to(x, mixed);
        let inner = fused::gelu(self.mlp.c_fc.forward(self.ln_2.forward(x.clone(), epsilon)));
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

/// Keys and values of the positions seen so far, one preallocated pair `[B, H, capacity, d / H]` per block.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<(Tensor<4>, Tensor<4>)>,
    position: usize,
}

impl KvCache {
    /// Keeps only the given rows, in that order; sequences that ended leave the decode batch.
    pub fn keep(&mut self, rows: &Tensor<1, Int>) {
        for (keys, values) in &mut self.layers {
            *keys = keys.clone().select(0, rows.clone());
            *values = values.clone().select(0, rows.clone());
        }
    }
}

impl Gpt2 {
    /// Random weights as GPT-2 has them: N(0, 0.02), residual projections scaled by 1/sqrt(2 layers), biases zero.
    ///
    /// # Errors
    /// [`LmError::Config`] if the shape is impossible.
    pub fn init(config: &Gpt2Config, stream: Stream, device: &Device) -> Result<Self, LmError> {
        config.check()?;
        let mut rng = stream.rng();
        let (d, std) = (config.n_embd, 0.02);
        let residual = std / ((2 * config.n_layer) as f64).sqrt();
        let wte = Embedding { weight: normal([config.vocab_size, d], std, &mut rng, device) };
        let wpe = Embedding { weight: normal([config.n_positions, d], std, &mut rng, device) };
        let h = (0..config.n_layer)
            .map(|_| Block {
                ln_1: LayerNorm::init(d, device),
                attn: Attention {
                    c_attn: Conv1d::init(d, 3 * d, std, &mut rng, device),
                    c_proj: Conv1d::init(d, d, residual, &mut rng, device),
                },
                ln_2: LayerNorm::init(d, device),
                mlp: Mlp {
                    c_fc: Conv1d::init(d, 4 * d, std, &mut rng, device),
                    c_proj: Conv1d::init(4 * d, d, residual, &mut rng, device),
                },
            })
            .collect();
        Ok(Self { wte, wpe, h, ln_f: LayerNorm::init(d, device), config: config.clone() })
    }

    /// The shape.
    pub fn config(&self) -> &Gpt2Config {
        &self.config
    }

    /// The device of the weights; with gradients if the module trains.
    pub fn device(&self) -> Device {
        self.wte.weight.val().device()
    }

    /// The output embedding, tied to the input embedding: `[V, d]`.
    pub fn head(&self) -> Tensor<2> {
        self.wte.weight.val()
    }

    /// Hidden states after the last layer norm, `[N, d]` for the N rows of `tokens`, or for the rows `at` only: what the
    /// last block does after its attention is done for those rows alone.
    ///
    /// # Panics
    /// If a sequence is longer than `n_positions`.
    pub fn hidden(&self, tokens: &Tokens, at: Option<&Tensor<1, Int>>) -> Tensor<2> {
        let epsilon = self.config.layer_norm_epsilon;
        let mut x = self.embed(tokens);
        for (index, block) in self.h.iter().enumerate() {
            let qkv = block.qkv(x.clone(), epsilon);
            let mut mixed = fused::causal_attention(qkv, &tokens.packing, self.config.n_head);
            if let Some(at) = at.filter(|_| index + 1 == self.h.len()) {
                x = fused::embedding(x, at.clone());
                mixed = fused::embedding(mixed, at.clone());
            }
            x = block.finish(x, mixed, epsilon);
        }
        self.ln_f.forward(x, epsilon)
    }

    /// Runs prompts of one length and keeps their keys and values, with room for `capacity` positions. Returns the hidden
    /// state of the last position of each `[B, d]`.
    ///
    /// # Panics
    /// If there is no prompt, or they are not of one length.
    pub fn prefill(&self, prompts: &[&[u32]], capacity: usize) -> (Tensor<2>, KvCache) {
        let (batch, time) = (prompts.len(), prompts[0].len());
        let (d, heads) = (self.config.n_embd, self.config.n_head);
        let device = self.device();
        let tokens = Tokens::new(&prompts.concat(), Packing::equal(batch, time), &device);
        let mut x = self.embed(&tokens);
        let mut layers = Vec::with_capacity(self.h.len());
        for block in &self.h {
            let qkv = block.qkv(x.clone(), self.config.layer_norm_epsilon);
            let cached = |part: usize| {
                let packed = qkv.clone().slice([0..batch * time, part * d..(part + 1) * d]);
                let split = packed.reshape([batch, time, heads, d / heads]).swap_dims(1, 2);
                Tensor::zeros([batch, heads, capacity, d / heads], &device)
                    .slice_assign([0..batch, 0..heads, 0..time, 0..d / heads], split)
            };
            layers.push((cached(1), cached(2)));
            let mixed = fused::causal_attention(qkv, &tokens.packing, heads);
            x = block.finish(x, mixed, self.config.layer_norm_epsilon);
        }
        let last = x.reshape([batch, time, d]).slice([0..batch, time - 1..time, 0..d]).reshape([batch, d]);
        (self.ln_f.forward(last, self.config.layer_norm_epsilon), KvCache { layers, position: time })
    }

    /// One decode step: the next token of every row `[B]` to its hidden state `[B, d]`; the cache grows by one.
    pub fn decode(&self, tokens: Tensor<1, Int>, cache: &mut KvCache) -> Tensor<2> {
        let position = cache.position;
        let wpe = self.wpe.weight.val().slice([position..position + 1, 0..self.config.n_embd]);
        let mut x = fused::embedding(self.wte.weight.val(), tokens) + wpe;
        // The cache is moved through the attention so that it is written in place.
        for (block, (keys, values)) in self.h.iter().zip(std::mem::take(&mut cache.layers)) {
            let qkv = block.qkv(x.clone(), self.config.layer_norm_epsilon);
            let (mixed, keys, values) =
                fused::decode_attention(qkv, keys, values, position, self.config.n_head);
            cache.layers.push((keys, values));
            x = block.finish(x, mixed, self.config.layer_norm_epsilon);
        }
        cache.position += 1;
        self.ln_f.forward(x, self.config.layer_norm_epsilon)
    }

    /// Next-token logits of hidden states: `[N, d]` to `[N, V]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        hidden.matmul(self.head().transpose())
    }

    fn embed(&self, tokens: &Tokens) -> Tensor<2> {
        fused::embedding(self.wte.weight.val(), tokens.ids.clone())
            + fused::embedding(self.wpe.weight.val(), tokens.positions.clone())
    }
}

/// Independent N(0, std^2) entries by the Box-Muller transform from our own generator.
pub(crate) fn normal<const D: usize>(
    shape: [usize; D],
    std: f64,
    rng: &mut ChaCha8Rng,
    device: &Device,
) -> Param<Tensor<D>> {
    use rand::RngExt;
    let count: usize = shape.iter().product();
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        // 1 - u is in (0, 1], so the logarithm is finite.
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let angle = std::f64::consts::TAU * rng.random::<f64>();
        values.push((std * radius * angle.cos()) as f32);
        values.push((std * radius * angle.sin()) as f32);
    }
    values.truncate(count);
    Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device))
}
