//! The architectures, with weights named and laid out as Hugging Face has them.
//!
//! A family is a file with its configuration and its forward pass, an arm in [`Decoder`] and [`DecoderConfig`], and
//! one in `files/config.rs`. What families share is in `parts.rs`. [`EncoderClassifier`] reads in both directions and
//! ends in a classification head; its files are in `files/encoder`.

mod cache;
mod decoder;
mod encoder;
mod gpt2;
mod parts;
mod shape;

pub use cache::KvCache;
pub use decoder::{Decoder, DecoderConfig};
pub use encoder::{Activation, EncoderClassifier, EncoderConfig, EncoderFamily};
pub use gpt2::{Gpt2, Gpt2Config};
pub use shape::Shape;
