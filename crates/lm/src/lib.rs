//! The language model that all algorithms share.
//!
//! This crate is deep on purpose: it is the only one that names a backend, an architecture or a tokenizer.
//! The algorithms above it see a [`Policy`] that generates and scores, a [`ReferencePolicy`] that can only
//! score, a [`Scorer`] that says how good a response is, and [`Trainer`]s.
//!
//! What it refuses to know: which data the tokens come from, and what a score means.

pub mod architecture;
pub mod averaging;
pub mod batch;
pub mod classifier;
pub mod decode;
pub mod device;
mod error;
pub mod files;
pub mod labels;
pub mod logprobs;
pub mod masked;
pub mod memory;
pub mod optimizer;
pub mod parameters;
pub mod policy;
pub mod preference;
pub mod problem;
pub mod random;
pub mod recompute;
pub mod rollout;
pub mod sampling;
pub mod scorer;
pub mod sequences;
pub mod sft;
pub mod standardized;
pub mod state;
pub mod tokenizer;
pub mod trainer;
pub mod worst_case;

pub use architecture::{Decoder, DecoderConfig, LoraConfig, Shape};
pub use averaging::Iterate;
pub use batch::{Batch, Packing, Tokens, WholeBatch};
pub use classifier::{Classifier, ClassifierTrainer, LabelledText, ScoreUnit};
pub use decode::Generation;
pub use device::{DeviceChoice, DeviceSpec, OpenDevice};
pub use error::LmError;
pub use labels::{Comparison, Labels};
pub use logprobs::{SequenceLogProbs, TokenLogProbs};
pub use memory::{Footprint, Memory, Place};
pub use optimizer::{Gradients, Optimizer, OptimizerConfig, Update};
pub use parameters::ParameterPath;
pub use policy::{Policy, ReferencePolicy, SequenceKl};
pub use preference::{DistinctResponses, PreferencePair, bradley_terry_nll, by_prompt, expected_over_labels};
pub use problem::{Config, Problem, Problems};
pub use random::Stream;
pub use recompute::{Activations, Segments};
pub use rollout::ScoredResponses;
pub use sampling::{Decoding, Sampling};
pub use scorer::{ScalarModel, Scorer};
pub use sequences::{ResponseMask, Sequence};
pub use standardized::{Normalization, Standardized};
pub use state::State;
pub use tokenizer::Tokenizer;
pub use trainer::{Metrics, PolicyTrainer, StepError, Trainer};
pub use worst_case::WorstCase;
