//! One step on random tokens: no files, any shape.

use std::sync::Arc;

use anyhow::{Result, anyhow};
use burn::tensor::Device;
use dpo::DpoTrainer;
use lm::architecture::{GptJConfig, LlamaConfig};
use lm::sft::{Corpus, SftTrainer};
use lm::{
    Activations, Decoder, DecoderConfig, LoraConfig, Policy, PreferencePair, ReferencePolicy, Sampling,
    ScalarModel, Sequence, Stream, Trainer,
};
use measure::{Case, Shape};
use ppo::PpoTrainer;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::settings;

/// A policy of random weights. Its end token is id 0, which about one draw in `V` yields.
fn policy(case: &Case, context: usize, device: &Device) -> Result<Policy> {
    let shape: Shape = case.get("shape")?;
    let config = match case.find::<String>("family")?.as_deref() {
        None | Some("gpt2") => DecoderConfig::gpt2(lm::Shape {
            vocabulary: shape.vocab,
            context,
            width: shape.width,
            layers: shape.layers,
            heads: shape.heads(),
        }),
        Some("llama") => DecoderConfig::Llama(llama(&shape, context)),
        Some("gptj") => DecoderConfig::GptJ(gptj(&shape, context)),
        Some(_) => return Err(case.refuse("family", "expected gpt2, gptj or llama".to_owned()).into()),
    };
    let model = Decoder::random(&config, Stream::new(0, "measure"), device)?;
    Ok(Policy::new(model, 1.0, 0)?)
}

/// A Llama in the proportions of SmolLM2-135M: heads 64 wide, of which three share their keys and values, and
/// an MLP 8/3 as wide as the residual stream.
fn llama(shape: &Shape, context: usize) -> LlamaConfig {
    LlamaConfig {
        vocab_size: shape.vocab,
        max_position_embeddings: context,
        hidden_size: shape.width,
        intermediate_size: shape.width * 8 / 3,
        num_hidden_layers: shape.layers,
        num_attention_heads: shape.width / 64,
        num_key_value_heads: shape.width / 192,
        head_dim: 64,
        rms_norm_eps: 1e-5,
        rope_theta: 100_000.0,
        initializer_range: 0.02,
        tie_word_embeddings: true,
    }
}

/// A GPT-J in its own proportions: heads 256 wide, of which 64 columns are rotated, or whole
/// heads if they are narrower.
fn gptj(shape: &Shape, context: usize) -> GptJConfig {
    let n_head = (shape.width / 256).max(1);
    GptJConfig {
        vocab_size: shape.vocab,
        n_positions: context,
        n_embd: shape.width,
        n_layer: shape.layers,
        n_head,
        n_inner: 4 * shape.width,
        rotary_dim: (shape.width / n_head / 2 * 2).min(64),
        layer_norm_epsilon: 1e-5,
        initializer_range: 0.02,
    }
}

/// Random tokens, none of them the end token.
struct Tokens {
    vocab: u32,
    rng: ChaCha8Rng,
}

impl Tokens {
    fn new(case: &Case) -> Result<Self> {
        let shape: Shape = case.get("shape")?;
        Ok(Self { vocab: shape.vocab as u32, rng: Stream::new(1, "measure").rng() })
    }

    fn draw(&mut self, length: usize) -> Vec<u32> {
        (0..length).map(|_| self.rng.random_range(1..self.vocab)).collect()
    }

    fn texts(&mut self, count: usize, length: usize) -> Vec<Vec<u32>> {
        (0..count).map(|_| self.draw(length)).collect()
    }

    /// Sequences of one prompt token and `response` others.
    fn sequences(&mut self, count: usize, response: usize) -> Vec<Sequence> {
        (0..count).map(|_| Sequence { prompt: self.draw(1), response: self.draw(response) }).collect()
    }
}

/// Times the steps of a trainer, each with all that the device does for it.
fn steps(case: &Case, tokens: usize, trainer: &mut dyn Trainer, device: &Device) -> Result<()> {
    case.measure(tokens, || {
        trainer.step().map_err(|error| anyhow!(error))?;
        device.sync().map_err(|error| anyhow!("the device failed: {error}"))
    })
}

/// What a step does with its activations: the key `gradient_checkpointing`, `true` or `false`.
fn activations(case: &Case) -> Result<Activations> {
    Ok(case.find("gradient_checkpointing")?.unwrap_or(false).into())
}

/// Supervised fine-tuning: forward, backward, clipping, AdamW; of adapters at all layers alone, if the
/// key `lora` says their rank.
pub fn train(case: &Case, device: &Device) -> Result<()> {
    let (context, batch) = (case.count("context")?, case.count("batch")?);
    let corpus = Corpus::Responses(Tokens::new(case)?.sequences(4 * batch, context));
    let mut policy = policy(case, context + 1, device)?;
    if case.find::<usize>("lora")?.is_some() {
        let targets = policy.model().config().lora_targets(&["all-linear".to_owned()]);
        let lora = LoraConfig { rank: case.count("lora")?, alpha: 16.0, rslora: false, targets };
        policy = policy.with_adapter(&lora, Stream::new(0, "adapter"))?;
    }
    let mut trainer =
        SftTrainer::new(&policy, corpus, &settings::sft(batch), 0)?.with_activations(activations(case)?);
    steps(case, batch * context, &mut trainer, device)
}

/// Log-probabilities without gradients, read back.
pub fn score(case: &Case, device: &Device) -> Result<()> {
    let (context, batch) = (case.count("context")?, case.count("batch")?);
    let sequences = Tokens::new(case)?.sequences(batch, context);
    let policy = policy(case, context + 1, device)?;
    case.measure(batch * context, || {
        policy.score(&sequences)?;
        Ok(())
    })
}

/// Ancestral sampling with the cache. Tokens and their log-probabilities are read back; rows that draw
/// the end token leave early.
pub fn sample(case: &Case, device: &Device) -> Result<()> {
    let (batch, prompt, new) = (case.count("batch")?, case.count("prompt")?, case.count("new")?);
    let prompts = Tokens::new(case)?.texts(batch, prompt);
    let policy = policy(case, prompt + new, device)?;
    let sampling = Sampling { max_new_tokens: new, batch_size: batch };
    let stream = Stream::new(2, "measure");
    case.measure(batch * new, || {
        policy.generate(&prompts, &sampling, stream)?;
        Ok(())
    })
}

/// DPO on pairs that share no response: forward, backward, clipping, RMSprop. The reference's log-probs are
/// known.
pub fn dpo(case: &Case, device: &Device) -> Result<()> {
    let (pairs, prompt, response) = (case.count("pairs")?, case.count("prompt")?, case.count("response")?);
    let mut tokens = Tokens::new(case)?;
    let drawn = (0..pairs)
        .map(|_| PreferencePair {
            prompt: tokens.draw(prompt),
            chosen: tokens.draw(response),
            rejected: tokens.draw(response),
            probability: 1.0,
        })
        .collect();
    let reference = ReferencePolicy::new(&policy(case, prompt + response, device)?);
    let mut trainer = DpoTrainer::new(&reference, drawn, settings::dpo(0.1, pairs, 1000, 1e-6), 0)?
        .with_activations(activations(case)?);
    steps(case, 2 * pairs * (prompt + response), &mut trainer, device)
}

/// An iteration of PPO: rollouts, scores, advantages, updates of policy and value model. The reward model and
/// the value model have the policy's shape; tokens are those of the responses.
pub fn ppo(case: &Case, device: &Device) -> Result<()> {
    let config = settings::ppo(case, 1000)?;
    let (prompt, rollouts) = (case.count("prompt")?, config.rollouts);
    let response = config.sampling.max_new_tokens;
    let prompts = Tokens::new(case)?.texts(4 * rollouts, prompt);
    let policy = policy(case, prompt + response, device)?;
    let mut trainer = ppo_trainer(&policy, prompts, config)?.with_activations(activations(case)?);
    steps(case, rollouts * response, &mut trainer, device)
}

/// PPO from a policy, with a reward model and a value model of its shape.
pub fn ppo_trainer(policy: &Policy, prompts: Vec<Vec<u32>>, config: ppo::PpoConfig) -> Result<PpoTrainer> {
    let scalar_model = || ScalarModel::with_zero_head(policy.model().clone());
    let reference = ReferencePolicy::new(policy);
    Ok(PpoTrainer::new(&reference, &scalar_model(), prompts, Arc::new(scalar_model()), config, 0)?)
}
