//! BERT (Devlin et al. 2019) and its relatives RoBERTa and DistilBERT with a classification head: a post-norm
//! transformer that reads a text in both directions, and two layers on the state of its first token.
//!
//! One module serves the three families. Matrices are `[in, out]`, and those of queries, keys and values are
//! one; `files/encoder` knows what each family calls them.

mod config;

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};

pub use self::config::{Activation, EncoderConfig, EncoderFamily};
use super::parts::{Embedding, LayerNorm, Linear, draw};
use crate::LmError;
use crate::batch::Tokens;
use crate::problem::Config;
use crate::random::Stream;

#[derive(Module, Debug)]
struct Layer {
    qkv: Linear,
    out: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    output_norm: LayerNorm,
}

impl Layer {
    fn declared(config: &EncoderConfig, device: &Device) -> Self {
        let (d, inner) = (config.hidden_size, config.intermediate_size);
        let linear = |input: usize, output: usize| Linear::declared(input, output, device);
        Self {
            qkv: linear(d, d.saturating_mul(3)),
            out: linear(d, d),
            attention_norm: LayerNorm::declared(d, device),
            up: linear(d, inner),
            down: linear(inner, d),
            output_norm: LayerNorm::declared(d, device),
        }
    }

    /// What a layer does after its attention: `x, mixed: [N, d]`.
    fn finish(&self, x: Tensor<2>, mixed: Tensor<2>, config: &EncoderConfig) -> Tensor<2> {
        let x = self.attention_norm.forward(self.out.add_to(x, mixed), config.layer_norm_eps);
        let inner = config.activation.of(self.up.forward(x.clone()));
        self.output_norm.forward(self.down.add_to(x, inner), config.layer_norm_eps)
    }
}

/// The encoder without a head: ids in, hidden states out.
#[derive(Module, Debug)]
struct Encoder {
    words: Embedding,
    positions: Embedding,
    types: Option<Embedding>,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

impl Encoder {
    fn embed(&self, tokens: &Tokens, config: &EncoderConfig) -> Tensor<2> {
        let places = tokens.positions.clone() + config.first_position() as i32;
        let mut x = fused::embedding(self.words.weight.val(), tokens.ids.clone())
            + fused::embedding(self.positions.weight.val(), places);
        if let Some(types) = &self.types {
            // A single text is all of the first segment.
            x = x + types.weight.val().slice([0..1, 0..config.hidden_size]);
        }
        self.norm.forward(x, config.layer_norm_eps)
    }

    /// The last hidden states `[B, d]` of the rows `at`; the last layer is finished for them alone.
    fn hidden(&self, tokens: &Tokens, at: &Tensor<1, Int>, config: &EncoderConfig) -> Tensor<2> {
        let mut x = self.embed(tokens, config);
        for (index, layer) in self.layers.iter().enumerate() {
            let qkv = layer.qkv.forward(x.clone());
            let mut mixed = fused::bidirectional_attention(qkv, &tokens.packing, config.num_attention_heads);
            if index + 1 == self.layers.len() {
                x = fused::embedding(x, at.clone());
                mixed = fused::embedding(mixed, at.clone());
            }
            x = layer.finish(x, mixed, config);
        }
        x
    }
}

/// An encoder with a classification head: ids in, one logit per label out.
///
/// There is no dropout, as nowhere here.
#[derive(Module, Debug)]
pub struct EncoderClassifier {
    body: Encoder,
    dense: Linear,
    output: Linear,
    #[module(skip)]
    config: EncoderConfig,
}

impl EncoderClassifier {
    /// A model of so many labels whose parameters have shapes and no values yet.
    pub(crate) fn declared(config: &EncoderConfig, labels: usize, device: &Device) -> Self {
        let d = config.hidden_size;
        let table = |rows: usize| Embedding::declared(rows, d, device);
        let body = Encoder {
            words: table(config.vocab_size),
            positions: table(config.max_position_embeddings),
            types: (config.type_vocab_size > 0).then(|| table(config.type_vocab_size)),
            norm: LayerNorm::declared(d, device),
            layers: (0..config.num_hidden_layers).map(|_| Layer::declared(config, device)).collect(),
        };
        Self {
            body,
            dense: Linear::declared(d, d, device),
            output: Linear::declared(d, labels, device),
            config: config.clone(),
        }
    }

    /// Random weights as BERT has them: matrices from N(0, 0.02²), biases zero, norms 1.
    ///
    /// # Errors
    /// [`LmError::Config`] with every impossible number of the size.
    pub(crate) fn random(
        config: &EncoderConfig,
        labels: usize,
        stream: Stream,
        device: &Device,
    ) -> Result<Self, LmError> {
        config.check()?;
        Ok(draw(Self::declared(config, labels, device), stream.rng(), |_| 0.02))
    }

    /// The configuration.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// The device of the weights, with gradients if the model trains.
    pub fn device(&self) -> Device {
        self.body.words.weight.val().device()
    }

    /// Logits `[B, labels]` of B texts, from the state of the first token of each: `first` are their rows.
    ///
    /// # Panics
    /// If two sequences share a prefix, or one is longer than [`EncoderConfig::context`].
    pub fn logits(&self, tokens: &Tokens, first: &Tensor<1, Int>) -> Tensor<2> {
        let hidden = self.body.hidden(tokens, first, &self.config);
        self.output.forward(self.config.family.between(self.dense.forward(hidden)))
    }
}
