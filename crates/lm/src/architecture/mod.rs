//! The architectures, with weights named and laid out as Hugging Face has them.
//!
//! What families share is in `parts.rs`, and the ways through a decoder are in `stack.rs`. A new family is
//! 1. a file here with its configuration and the stages of its forward pass, whose fields have the names of
//!    its tensors in a Hugging Face checkpoint, and what operations it needs in the crate `fused`;
//! 2. a variant of [`DecoderConfig`] and of [`Decoder`], and the arms that the compiler then asks for, here
//!    and in `files/`, where the keys of its `config.json` are read: every key that changes the mathematics
//!    is honoured, or refused by name;
//! 3. the names of the layers that can have adapters, in [`DecoderConfig::lora_targets`] and
//!    beside the forward pass;
//! 4. a fixture that transformers computed (`scripts/reference/`) in the tests.
//!
//! [`EncoderClassifier`] reads in both directions and ends in a classification head; its files are in
//! `files/encoder`.

mod adapter;
mod cache;
mod decoder;
mod decoder_config;
mod encoder;
mod gpt2;
mod gptj;
mod gptj_config;
mod llama;
mod llama_config;
mod parts;
mod shape;
mod stack;

pub use adapter::LoraConfig;
pub use cache::KvCache;
pub use decoder::Decoder;
pub use decoder_config::DecoderConfig;
pub use encoder::{Activation, EncoderClassifier, EncoderConfig, EncoderFamily};
pub use gpt2::{Gpt2, Gpt2Activation, Gpt2Config};
pub use gptj::GptJ;
pub use gptj_config::GptJConfig;
pub use llama::Llama;
pub use llama_config::LlamaConfig;
pub use shape::Shape;
pub(crate) use stack::Input;
