//! The language model that all algorithms share.
//!
//! This crate is deep on purpose: it is the only one that names a backend, an architecture or a tokenizer. The
//! algorithms above it see a [`Policy`] that generates and scores, a [`ReferencePolicy`] that can only score, a
//! [`Scorer`] that says how good a response is, and [`Trainer`]s.
//!
//! What it refuses to know: which data the tokens come from, and what a score means.

pub mod architecture;
pub mod checkpoint;
pub mod device;
mod error;
pub mod logprobs;
pub mod masked;
pub mod optimizer;
mod parameters;
pub mod policy;
pub mod preference;
pub mod problem;
pub mod random;
pub mod sampling;
pub mod scorer;
pub mod sequences;
pub mod sft;
pub mod state;
pub mod tokenizer;
pub mod trainer;

pub use architecture::{Gpt2, Gpt2Config};
pub use device::{DeviceChoice, DeviceSpec, OpenDevice};
pub use error::LmError;
pub use logprobs::{SequenceLogProbs, TokenLogProbs};
pub use optimizer::{Optimizer, OptimizerConfig, Update};
pub use policy::{Generation, Policy, ReferencePolicy, SequenceKl};
pub use preference::{DistinctResponses, PreferencePair, bradley_terry_nll};
pub use problem::{Config, Problem, Problems};
pub use random::Stream;
pub use sampling::Sampling;
pub use scorer::{ScalarModel, Scorer};
pub use sequences::{Batch, Packing, ResponseMask, Sequence, Tokens};
pub use state::State;
pub use tokenizer::Tokenizer;
pub use trainer::{Metrics, PolicyTrainer, StepError, Trainer};
