//! One type for all families, so that no algorithm names one.

use burn::module::Module;
use burn::tensor::{Device, Gradients, Int, Tensor};
use fused::OutputHead;

use super::adapter::{Adapter, Layer, LoraConfig, fresh};
use super::cache::KvCache;
use super::decoder_config::DecoderConfig;
use super::gpt2::Gpt2;
use super::gptj::GptJ;
use super::llama::Llama;
use super::shape::Shape;
use super::stack::{self, Input, Stack as _};
use crate::LmError;
use crate::batch::Tokens;
use crate::problem::{Config, Problem};
use crate::random::Stream;

impl DecoderConfig {
    /// Numbers in the adapters of a model of this shape. The largest number for a rank that no adapter has.
    ///
    /// # Errors
    /// [`LmError::Config`] for impossible settings, a target that the model lacks, or more blocks than any
    /// has.
    pub fn adapter_parameters(&self, lora: &LoraConfig) -> Result<usize, LmError> {
        /// Even blocks without values would fill the memory; no model has more.
        const MOST_BLOCKS: usize = 1 << 10;
        lora.check()?;
        let layers = self.shape().layers;
        if layers > MOST_BLOCKS {
            return Err(Problem::new("layers", layers, format!("at most {MOST_BLOCKS}")).into());
        }
        let mut model = Decoder::declared(self, &Device::default());
        let layers = model.layers();
        let paths: Vec<String> = layers.iter().map(|(path, _)| path.clone()).collect();
        let sizes = layers.into_iter().zip(lora.targeted(&paths)?).filter(|(_, targeted)| *targeted);
        let numbers = sizes.map(|((_, layer), _)| layer.sizes().iter().sum::<usize>()).sum::<usize>();
        Ok(numbers.saturating_mul(lora.rank))
    }
}

/// A causal language model without a head of its own: ids in, hidden states and next-token logits out.
#[derive(Module, Debug)]
pub enum Decoder {
    /// GPT-2 (Radford et al. 2019).
    Gpt2(Gpt2),
    /// Llama (Touvron et al. 2023), SmolLM2, TinyLlama.
    Llama(Llama),
    /// GPT-J (Wang and Komatsuzaki 2021).
    GptJ(GptJ),
}

impl Decoder {
    /// Random weights, drawn as the family's authors drew them.
    ///
    /// # Errors
    /// [`LmError::Config`] with every impossible number of the size.
    pub fn random(config: &DecoderConfig, stream: Stream, device: &Device) -> Result<Self, LmError> {
        config.check()?;
        Ok(match config {
            DecoderConfig::Gpt2(config) => Self::Gpt2(Gpt2::random(config, stream, device)),
            DecoderConfig::Llama(config) => Self::Llama(Llama::random(config, stream, device)),
            DecoderConfig::GptJ(config) => Self::GptJ(GptJ::random(config, stream, device)),
        })
    }

    /// A model whose parameters have shapes and no values yet.
    pub(crate) fn declared(config: &DecoderConfig, device: &Device) -> Self {
        match config {
            DecoderConfig::Gpt2(config) => Self::Gpt2(Gpt2::declared(config, device)),
            DecoderConfig::Llama(config) => Self::Llama(Llama::declared(config, device)),
            DecoderConfig::GptJ(config) => Self::GptJ(GptJ::declared(config, device)),
        }
    }

    /// The configuration.
    pub fn config(&self) -> DecoderConfig {
        match self {
            Self::Gpt2(model) => DecoderConfig::Gpt2(model.config().clone()),
            Self::Llama(model) => DecoderConfig::Llama(model.config().clone()),
            Self::GptJ(model) => DecoderConfig::GptJ(model.config().clone()),
        }
    }

    /// The size.
    pub fn shape(&self) -> Shape {
        match self {
            Self::Gpt2(model) => model.config().shape(),
            Self::Llama(model) => model.config().shape(),
            Self::GptJ(model) => model.config().shape(),
        }
    }

    /// The device of the weights; with gradients if the module trains.
    pub fn device(&self) -> Device {
        match self {
            Self::Gpt2(model) => model.embedding().device(),
            Self::Llama(model) => model.embedding().device(),
            Self::GptJ(model) => model.embedding().device(),
        }
    }

    /// The same body without an output embedding of its own, for models that end in something else. A tied
    /// one stays: it is the input embedding.
    pub(crate) fn without_head(self) -> Self {
        match self {
            Self::Gpt2(model) => Self::Gpt2(model),
            Self::Llama(model) => Self::Llama(model.without_head()),
            Self::GptJ(model) => Self::GptJ(model.without_head()),
        }
    }

    /// The model over the first `vocabulary` of its ids.
    pub(crate) fn with_vocabulary(self, vocabulary: usize) -> Self {
        match self {
            Self::Gpt2(model) => Self::Gpt2(model.with_vocabulary(vocabulary)),
            Self::Llama(model) => Self::Llama(model.with_vocabulary(vocabulary)),
            Self::GptJ(model) => Self::GptJ(model.with_vocabulary(vocabulary)),
        }
    }

    /// The model with new adapters, which start as nothing, and all else frozen.
    ///
    /// # Errors
    /// [`LmError::Config`] for impossible settings, for a target that the model lacks and for a
    /// model that has adapters.
    pub fn with_adapter(self, config: &LoraConfig, stream: Stream) -> Result<Self, LmError> {
        let mut layers = 0;
        self.adapted(config, |_, sizes| {
            layers += 1;
            Ok(fresh(sizes, config.rank, stream.child(layers)))
        })
    }

    /// The model with adapters and all else frozen. `values` says A `[rank, in]` and B `[out, rank]` of a
    /// layer from its path and its numbers of inputs and outputs.
    ///
    /// # Errors
    /// [`LmError::Config`] for impossible settings, for a target that the model lacks and for a model that
    /// has adapters; else the first error of `values`.
    pub(crate) fn adapted(
        self,
        config: &LoraConfig,
        mut values: impl FnMut(&str, [usize; 2]) -> Result<[Vec<f32>; 2], LmError>,
    ) -> Result<Self, LmError> {
        config.check()?;
        if self.lora().is_some() {
            return Err(Problem::new("model", "adapters", "none: merge them first").into());
        }
        let device = self.device().without_autodiff();
        let mut frozen = self.no_grad();
        let layers = frozen.layers();
        let paths: Vec<String> = layers.iter().map(|(path, _)| path.clone()).collect();
        for ((path, layer), targeted) in layers.into_iter().zip(config.targeted(&paths)?) {
            if targeted {
                let sizes = layer.sizes();
                *layer.adapter() = Some(Adapter::new(sizes, config, values(&path, sizes)?, &device));
            }
        }
        Ok(frozen)
    }

    /// What its adapters were made with, if it has any.
    pub fn lora(&self) -> Option<LoraConfig> {
        let mut model = self.clone();
        model.layers().into_iter().find_map(|(_, layer)| layer.adapter().as_ref().map(|a| a.config().clone()))
    }

    /// The same function without adapters: their products are added to the weights, all of which train again.
    #[must_use]
    pub fn merged(mut self) -> Self {
        for (_, layer) in self.layers() {
            layer.merge();
        }
        self.set_require_grad(true)
    }

    fn layers(&mut self) -> Vec<Layer<'_>> {
        match self {
            Self::Gpt2(model) => model.layers(),
            Self::Llama(model) => model.layers(),
            Self::GptJ(model) => model.layers(),
        }
    }

    /// The output embedding `[V, d]`, with its bias if the family has one.
    ///
    /// # Panics
    /// If the body of a scalar model has none.
    pub fn head(&self) -> OutputHead {
        match self {
            Self::Gpt2(model) => model.head().into(),
            Self::Llama(model) => model.head().into(),
            Self::GptJ(model) => model.head(),
        }
    }

    /// Hidden states after the last norm, `[N, d]` for the N rows of `tokens`, or for the rows `at` only:
    /// what the last block does after its attention is done for those rows alone.
    ///
    /// # Panics
    /// If a sequence is longer than the context.
    pub fn hidden(&self, tokens: &Tokens, at: Option<&Tensor<1, Int>>) -> Tensor<2> {
        let input = Input { tokens, at };
        match self {
            Self::Gpt2(model) => stack::hidden(model, input),
            Self::Llama(model) => stack::hidden(model, input),
            Self::GptJ(model) => stack::hidden(model, input),
        }
    }

    /// The residual stream `[N, d]` before each block from the one numbered `first` on, and after the last
    /// one: all of [`Decoder::hidden`] but the last norm, [`Decoder::norm`].
    pub(crate) fn residuals(&self, input: Input<'_>, first: usize) -> (Vec<Tensor<2>>, Tensor<2>) {
        match self {
            Self::Gpt2(model) => stack::residuals(model, input, first),
            Self::Llama(model) => stack::residuals(model, input, first),
            Self::GptJ(model) => stack::residuals(model, input, first),
        }
    }

    /// The last norm, `[N, d]`.
    pub(crate) fn norm(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Gpt2(model) => model.norm(x),
            Self::Llama(model) => model.norm(x),
            Self::GptJ(model) => model.norm(x),
        }
    }

    /// How many of the first blocks have nothing that trains, neither in themselves nor below them.
    pub(crate) fn frozen_blocks(&self) -> usize {
        match self {
            Self::Gpt2(model) => stack::frozen_blocks(model),
            Self::Llama(model) => stack::frozen_blocks(model),
            Self::GptJ(model) => stack::frozen_blocks(model),
        }
    }

    /// Differentiates what [`Decoder::residuals`] computed, stage by stage from the last one back: `before`
    /// is what it returned for [`Decoder::frozen_blocks`], without gradients, and `upstream` the gradient of
    /// a loss in the last residual stream. Each stage is computed again with a graph of its own, which is
    /// gone before the next one's is made. `found` is given the gradients of each.
    pub(crate) fn differentiate(
        &self,
        input: Input<'_>,
        before: Vec<Tensor<2>>,
        upstream: Tensor<2>,
        found: impl FnMut(Gradients),
    ) {
        match self {
            Self::Gpt2(model) => stack::differentiate(model, input, before, upstream, found),
            Self::Llama(model) => stack::differentiate(model, input, before, upstream, found),
            Self::GptJ(model) => stack::differentiate(model, input, before, upstream, found),
        }
    }

    /// Runs prompts of one length and keeps their keys and values, with room for `capacity` positions.
    /// Returns the hidden state of the last position of each `[B, d]`.
    ///
    /// # Panics
    /// If there is no prompt, or they are not of one length.
    pub fn prefill(&self, prompts: &[&[u32]], capacity: usize) -> (Tensor<2>, KvCache) {
        let device = self.device();
        match self {
            Self::Gpt2(model) => stack::prefill(model, prompts, capacity, &device),
            Self::Llama(model) => stack::prefill(model, prompts, capacity, &device),
            Self::GptJ(model) => stack::prefill(model, prompts, capacity, &device),
        }
    }

    /// One decode step: the next token of every row `[B]` to its hidden state `[B, d]`; the cache grows by
    /// one.
    pub fn decode(&self, tokens: Tensor<1, Int>, cache: &mut KvCache) -> Tensor<2> {
        match self {
            Self::Gpt2(model) => stack::decode(model, tokens, cache),
            Self::Llama(model) => stack::decode(model, tokens, cache),
            Self::GptJ(model) => stack::decode(model, tokens, cache),
        }
    }

    /// Next-token logits of hidden states: `[N, d]` to `[N, V]`.
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.head().logits(hidden)
    }
}
