//! Text classifiers: an encoder with a head and its own tokenizer, as a ground truth or a scorer of text.
//!
//! A [`Classifier`] reads text, not a policy's token ids: the two tokenizers have nothing in common.
//! The paper's ground truth, a RoBERTa fine-tuned on sentiment, is one. [`ClassifierTrainer`] makes
//! one from labelled texts.

mod model;
mod score;
mod tokenizer;
mod trainer;
mod vocabulary;

pub use model::{Classifier, Labelling, Window};
pub use score::{ProblemType, ScoreUnit};
pub use tokenizer::{TextTokenizer, Truncation};
pub use trainer::{ClassifierTrainer, LabelledText};
