//! A space small enough to list: one prompt, every response that the policy can write, and its probability.

use lm::architecture::LlamaConfig;
use lm::{Decoder, DecoderConfig, Policy, ReferencePolicy, Sequence, Shape, Stream};

use crate::trainers::device;

/// Token ids 0 to 5; 0 ends a response.
pub(crate) const VOCAB: u32 = 6;
/// Longest response. There are 1 + 5 + 25 * 6 = 156 responses.
pub(crate) const LONGEST: usize = 3;
const END: u32 = 0;

/// A random policy. At this temperature its distributions are far from uniform although the weights are
/// small.
pub(crate) fn policy() -> Policy {
    let shape = Shape { vocabulary: VOCAB as usize, context: 8, width: 32, layers: 2, heads: 2 };
    policy_of(&DecoderConfig::gpt2(shape))
}

/// The same as a Llama with shared keys and an output embedding of its own.
pub(crate) fn llama() -> Policy {
    policy_of(&DecoderConfig::Llama(LlamaConfig {
        vocab_size: VOCAB as usize,
        max_position_embeddings: 8,
        hidden_size: 32,
        intermediate_size: 64,
        num_hidden_layers: 2,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        initializer_range: 0.02,
        tie_word_embeddings: false,
    }))
}

fn policy_of(config: &DecoderConfig) -> Policy {
    let model = Decoder::random(config, Stream::new(11, "enumeration"), &device()).unwrap();
    Policy::new(model, 0.15, END).unwrap()
}

/// Every response to the prompt: those that end, and those that are cut at the longest length.
pub(crate) fn responses() -> Vec<Sequence> {
    let mut open: Vec<Vec<u32>> = vec![Vec::new()];
    let mut done = Vec::new();
    while let Some(begun) = open.pop() {
        for token in 0..VOCAB {
            let response = [begun.as_slice(), &[token]].concat();
            if token == END || response.len() == LONGEST {
                done.push(Sequence { prompt: vec![END, 3], response });
            } else {
                open.push(response);
            }
        }
    }
    done
}

/// A reward for each response: sine waves, so that it is a function of no single token.
pub(crate) fn rewards(responses: &[Sequence]) -> Vec<f64> {
    (0..responses.len()).map(|index| 1.5 * (2.7 * (index * index % 97) as f64).sin()).collect()
}

/// `log pi(y | x)` of each response, summed in f64.
pub(crate) fn logprobs(policy: &Policy, responses: &[Sequence]) -> Vec<f64> {
    ReferencePolicy::new(policy).score_sequences(responses).unwrap()
}

/// `log pi*`, `pi* ∝ pi_ref exp(r / beta)`, by enumeration.
pub(crate) fn optimum(reference: &[f64], rewards: &[f64], beta: f64) -> Vec<f64> {
    let unnormalized: Vec<f64> = reference.iter().zip(rewards).map(|(logp, r)| logp + r / beta).collect();
    let log_z = unnormalized.iter().map(|value| value.exp()).sum::<f64>().ln();
    unnormalized.iter().map(|value| value - log_z).collect()
}

/// `KL(p || q)` in nats.
pub(crate) fn kl(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum()
}

/// `J(p) = E_p[r] - beta KL(p || pi_ref)`.
pub(crate) fn objective(p: &[f64], reference: &[f64], rewards: &[f64], beta: f64) -> f64 {
    p.iter().zip(rewards).map(|(p, r)| p.exp() * r).sum::<f64>() - beta * kl(p, reference)
}
