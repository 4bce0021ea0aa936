//! A tiny policy, small enough to train in a test.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;
use lm::architecture::LlamaConfig;
use lm::optimizer::{Algorithm, Decay, Schedule};
use lm::{
    Decoder, DecoderConfig, OptimizerConfig, Policy, ReferencePolicy, Sampling, ScalarModel, Shape, Stream,
};
use ppo::{KlControl, PpoConfig};

use crate::trainers::device;

/// The token that ends a response.
pub(crate) const END: u32 = 0;

fn model(vocabulary: usize, context: usize, seed: u64) -> Decoder {
    let shape = Shape { vocabulary, context, width: 32, layers: 1, heads: 2 };
    Decoder::random(&DecoderConfig::gpt2(shape), Stream::new(seed, "test"), &device()).unwrap()
}

/// A value model that expects nothing yet.
pub(crate) fn value_model(vocabulary: usize, context: usize, seed: u64) -> ScalarModel {
    ScalarModel::with_zero_head(model(vocabulary, context, seed))
}

/// A policy far enough from uniform that a forgotten reference would show.
pub(crate) fn policy(vocabulary: usize, context: usize, seed: u64) -> Policy {
    Policy::new(model(vocabulary, context, seed).map(&mut Louder), 1.0, END).unwrap()
}

pub(crate) fn reference(vocabulary: usize, context: usize, seed: u64) -> ReferencePolicy {
    ReferencePolicy::new(&policy(vocabulary, context, seed))
}

/// A Llama with shared keys and an output embedding of its own.
fn llama(vocabulary: usize, context: usize, seed: u64) -> Decoder {
    let config = DecoderConfig::Llama(LlamaConfig {
        vocab_size: vocabulary,
        max_position_embeddings: context,
        hidden_size: 32,
        intermediate_size: 64,
        num_hidden_layers: 1,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        initializer_range: 0.02,
        tie_word_embeddings: false,
    });
    Decoder::random(&config, Stream::new(seed, "test"), &device()).unwrap()
}

/// [`reference`] and [`value_model`] as Llamas.
pub(crate) fn llamas(vocabulary: usize, context: usize, seeds: [u64; 2]) -> (ReferencePolicy, ScalarModel) {
    let policy = Policy::new(llama(vocabulary, context, seeds[0]).map(&mut Louder), 1.0, END).unwrap();
    (ReferencePolicy::new(&policy), ScalarModel::with_zero_head(llama(vocabulary, context, seeds[1])))
}

/// Scales matrices by 6: GPT-2's initial weights of 0.02 leave a narrow model almost uniform.
struct Louder;

impl ModuleMapper for Louder {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if D == 2 { param.map(|weight| weight * 6.0) } else { param }
    }
}

pub(crate) fn adam(learning_rate: f64, decay: Decay, floor: f64) -> OptimizerConfig {
    OptimizerConfig {
        algorithm: Algorithm::Adamw { beta1: 0.9, beta2: 0.99, epsilon: 1e-5, weight_decay: 0.0 },
        learning_rate,
        schedule: Schedule { warmup_steps: 0, decay, floor },
        max_grad_norm: 1.0,
    }
}

/// A small, ordinary configuration.
pub(crate) fn config() -> PpoConfig {
    PpoConfig {
        steps: 10,
        rollouts: 64,
        samples_per_prompt: 2,
        value_warmup: 0,
        ppo_epochs: 2,
        value_epochs: 0,
        minibatch_size: 32,
        sampling: Sampling { max_new_tokens: 6, batch_size: 32 },
        kl: KlControl::Fixed { kl_coef: 0.05 },
        gamma: 1.0,
        gae_lambda: 0.95,
        clip_range: 0.2,
        value_clip_range: 0.2,
        scale_rewards: true,
        missing_end_penalty: 0.0,
        ratio_guard: 10.0,
        policy_optimizer: adam(3e-3, Decay::Constant, 1.0),
        value_optimizer: adam(3e-3, Decay::Constant, 1.0),
    }
}
