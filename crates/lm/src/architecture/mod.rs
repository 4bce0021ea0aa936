//! The architectures, with weights named and laid out as Hugging Face has them.

pub mod gpt2;

pub use gpt2::{Gpt2, Gpt2Config, KvCache};
