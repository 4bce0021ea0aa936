//! One configuration for all families.

use serde::{Deserialize, Serialize};

use super::gpt2::Gpt2Config;
use super::gptj_config::GptJConfig;
use super::llama_config::LlamaConfig;
use super::shape::Shape;
use crate::problem::{Config, Problem};

/// The configuration of a decoder, with the keys of Hugging Face's `config.json`; `model_type` names the
/// family.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "model_type", rename_all = "lowercase")]
pub enum DecoderConfig {
    /// GPT-2 (Radford et al. 2019).
    Gpt2(Gpt2Config),
    /// Llama (Touvron et al. 2023), SmolLM2, TinyLlama.
    Llama(LlamaConfig),
    /// GPT-J (Wang and Komatsuzaki 2021).
    GptJ(GptJConfig),
}

impl DecoderConfig {
    /// A GPT-2 of the given size, with OpenAI's epsilon of 1e-5 in its layer norms.
    pub fn gpt2(shape: Shape) -> Self {
        Self::Gpt2(Gpt2Config::of(shape))
    }

    /// The same with another vocabulary.
    #[must_use]
    pub fn with_vocabulary(self, vocab_size: usize) -> Self {
        match self {
            Self::Gpt2(config) => Self::Gpt2(Gpt2Config { vocab_size, ..config }),
            Self::GptJ(config) => Self::GptJ(GptJConfig { vocab_size, ..config }),
            Self::Llama(config) => Self::Llama(LlamaConfig { vocab_size, ..config }),
        }
    }

    /// The size.
    pub fn shape(&self) -> Shape {
        match self {
            Self::Gpt2(config) => config.shape(),
            Self::Llama(config) => config.shape(),
            Self::GptJ(config) => config.shape(),
        }
    }

    /// Number of parameters; a head that is tied to the embedding counts once.
    pub fn parameters(&self) -> usize {
        match self {
            Self::Gpt2(config) => config.parameters(),
            Self::Llama(config) => config.parameters(),
            Self::GptJ(config) => config.parameters(),
        }
    }

    /// Floating-point operations of one forward pass per token, matrix products only: 2 per weight that
    /// multiplies.
    pub fn forward_flops_per_token(&self) -> f64 {
        match self {
            Self::Gpt2(config) => config.forward_flops_per_token(),
            Self::Llama(config) => config.forward_flops_per_token(),
            Self::GptJ(config) => config.forward_flops_per_token(),
        }
    }

    /// The layers that adapters are asked for: those of PEFT for the family where none are named, all where
    /// the one name is `all-linear`, else those that are named.
    pub fn lora_targets(&self, asked: &[String]) -> Vec<String> {
        let [usual, all]: [&[&str]; 2] = match self {
            Self::Gpt2(_) => [&["c_attn"], &["c_attn", "c_proj", "c_fc"]],
            Self::Llama(_) => [
                &["q_proj", "v_proj"],
                &["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
            ],
            Self::GptJ(_) => {
                [&["q_proj", "v_proj"], &["q_proj", "k_proj", "v_proj", "out_proj", "fc_in", "fc_out"]]
            }
        };
        let named = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        match asked {
            [] => named(usual),
            [one] if one == "all-linear" => named(all),
            asked => asked.to_vec(),
        }
    }
}

impl Config for DecoderConfig {
    fn problems(&self) -> Vec<Problem> {
        match self {
            Self::Gpt2(config) => config.problems(),
            Self::Llama(config) => config.problems(),
            Self::GptJ(config) => config.problems(),
        }
    }
}
