//! Tests of the language model against `PyTorch` fixtures, closed forms, hand arithmetic and invariances.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::float_cmp,
    reason = "tests may panic, and bit-identity is what some of them assert"
)]

mod adapter_files;
mod averaging;
mod classifier;
mod damaged;
mod device;
mod export;
mod generation;
mod gguf;
mod gguf_damaged;
mod gguf_file;
mod gptj;
mod invariance;
mod kl;
mod llama;
mod lora;
mod optimizer;
mod preference;
mod recompute;
mod rollout;
mod sequences;
mod sft;
mod shards;
mod special;
mod standardized;
mod state;
mod support;
mod tokenizer;
mod transformers;
mod windows;
