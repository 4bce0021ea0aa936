//! What preference learning needs, whatever its data is about.
//!
//! Learning from preferences starts the same way for movie reviews, summaries and dialogues:
//!
//! 1. [`prompts`] are lists of token ids, in sets for training, tuning and evaluation;
//! 2. [`sampling`] draws n responses to each prompt from a policy;
//! 3. [`preferences`] scores them, says who wins ([`Labels`]) and keeps all pairs; [`comparisons`] is their
//!    file, [`jsonl`] one for people and other programs;
//! 4. [`evaluation`] measures a policy: its score and its distance from the reference on held-out prompts;
//!    [`held_out`] how well it orders pairs that it did not learn from;
//! 5. [`contest`] sets responses against texts that people wrote, and a [`judge`] says which is better.
//!
//! [`records`] reads a user's own pairs, prompts and texts, [`chat`] conversations by a model's template.
//!
//! Where the score comes from is up to two traits. An [`lm::Scorer`] reads token ids, as a reward model does.
//! A [`TextScorer`] reads text, as a classifier or a program outside does, and [`DecodingScorer`] makes an
//! [`lm::Scorer`] of it; [`ProgramScorer`] is a program outside, [`ClassifierScorer`] a
//! fine-tuned encoder.
//!
//! What the crate refuses to know: where prompts come from, what a score means, which algorithm trains.

pub mod chat;
pub mod classifier;
pub mod comparisons;
pub mod contest;
mod error;
pub mod evaluation;
pub mod held_out;
pub mod jsonl;
pub mod judge;
pub mod preferences;
pub mod program;
pub mod prompts;
pub mod records;
pub mod sampling;
pub mod scorer;

pub use classifier::ClassifierScorer;
pub use error::FeedbackError;
pub use evaluation::{Estimate, Evaluation, EvaluationConfig, Evaluator, Sample};
pub use held_out::HeldOutPairs;
pub use lm::Labels;
pub use preferences::{ComparedResponses, PreferenceConfig, Preferences};
pub use program::{ProgramLimits, ProgramScorer};
pub use prompts::{PromptSet, Prompts};
pub use scorer::{DecodingScorer, TextScorer};
