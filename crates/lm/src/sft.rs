//! Supervised fine-tuning: the language-model loss on response tokens.
//!
//! `loss = - mean over tokens of log pi(y_t | x, y_<t)`, in nats per token. The same trainer makes pi_SFT
//! from reviews ([`Corpus::Documents`]) and Preferred-FT from chosen responses ([`Corpus::Responses`]).

use std::num::NonZeroUsize;

use burn::module::Module;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::LmError;
use crate::architecture::Shape;
use crate::batch::Batch;
use crate::optimizer::{Gradients, Optimizer, OptimizerConfig};
use crate::policy::Policy;
use crate::problem::{Config, Problem};
use crate::random::Stream;
use crate::recompute::Activations;
use crate::sequences::{Sequence, check, to_vec};
use crate::state::State;
use crate::tokenizer::Ends;
use crate::trainer::{Epochs, Metrics, PolicyTrainer, StepError, Trainer};

/// What is learned.
#[derive(Clone, Debug)]
pub enum Corpus {
    /// Whole texts as token ids, cut into windows of at most `context` tokens.
    Documents {
        /// The texts, without special tokens.
        documents: Vec<Vec<u32>>,
        /// Longest window in tokens, begin and end tokens included.
        context: usize,
        /// Share of windows that start where a text starts; the others start at a random token.
        opening_share: f64,
        /// The tokens that begin windows at openings and end texts.
        ends: Ends,
    },
    /// Responses to prompts; the loss is on the responses only.
    Responses(Vec<Sequence>),
}

impl Corpus {
    /// Number of texts or responses.
    pub fn len(&self) -> usize {
        match self {
            Self::Documents { documents, .. } => documents.len(),
            Self::Responses(sequences) => sequences.len(),
        }
    }

    /// Whether there is nothing to learn.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks that every example fits the model.
    fn check(&self, model: Shape) -> Result<(), LmError> {
        match self {
            Self::Responses(sequences) => {
                if let Some(index) = sequences.iter().position(|sequence| sequence.response.is_empty()) {
                    let (found, expected) = ("an empty response".to_owned(), "at least one token".to_owned());
                    return Err(LmError::Sequence { index, found, expected });
                }
                check(sequences, model.vocabulary, model.context)
            }
            Self::Documents { documents, context, opening_share, ends } => {
                // The last token of a window is never fed.
                let longest = model.context + 1;
                if !(2..=longest).contains(context) {
                    return Err(Problem::new("context", context, format!("2 to {longest}")).into());
                }
                if !(0.0..=1.0).contains(opening_share) {
                    return Err(Problem::new("opening_share", opening_share, "0 to 1").into());
                }
                for (index, text) in documents.iter().enumerate() {
                    if let Some(id) = text
                        .iter()
                        .chain([&ends.begin, &ends.end])
                        .find(|id| **id as usize >= model.vocabulary)
                    {
                        let expected = format!("ids below {}", model.vocabulary);
                        return Err(LmError::Sequence { index, found: format!("token id {id}"), expected });
                    }
                }
                Ok(())
            }
        }
    }

    /// The example at `index`: for a text one of its windows, drawn from `stream`.
    fn example(&self, index: usize, stream: Stream) -> Sequence {
        match self {
            Self::Responses(sequences) => sequences[index].clone(),
            Self::Documents { documents, context, opening_share, ends } => {
                let mut rng = stream.rng();
                let text = &documents[index];
                let opens = text.len() + 2 <= *context || rng.random::<f64>() < *opening_share;
                // The last half window of a text is never a start, so that most windows are full.
                let start = if opens { 0 } else { rng.random_range(1..(text.len() - context / 2).max(2)) };
                let first = if start == 0 { ends.begin } else { text[start - 1] };
                Sequence { prompt: vec![first], response: window(text, start, *context, ends.end) }
            }
        }
    }
}

/// The tokens of a text from `start` on, with the end token if the text ends within `context - 1` tokens.
fn window(text: &[u32], start: usize, context: usize, end: u32) -> Vec<u32> {
    text[start..].iter().copied().chain([end]).take(context - 1).collect()
}

/// Windows at the openings of texts, for held-out perplexity: one per text, at most `context` tokens.
pub fn openings(documents: &[Vec<u32>], context: usize, ends: impl Into<Ends>) -> Vec<Sequence> {
    let Ends { begin, end } = ends.into();
    documents
        .iter()
        .filter(|text| !text.is_empty())
        .map(|text| Sequence { prompt: vec![begin], response: window(text, 0, context, end) })
        .collect()
}

/// `exp` of the mean negative log-likelihood of the response tokens.
///
/// # Errors
/// [`LmError::Sequence`] for a sequence that does not fit the model.
pub fn perplexity(policy: &Policy, sequences: &[Sequence]) -> Result<f64, LmError> {
    let rows = policy.score(sequences)?;
    let count = rows.iter().map(Vec::len).sum::<usize>().max(1) as f64;
    let total: f64 = rows.iter().flatten().map(|&value| f64::from(value)).sum();
    Ok((-total / count).exp())
}

/// Settings of supervised fine-tuning, of a policy or of a classifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SftConfig {
    /// Optimiser steps.
    pub steps: usize,
    /// Sequences or texts per step.
    pub batch_size: usize,
    /// The optimiser.
    pub optimizer: OptimizerConfig,
}

impl Config for SftConfig {
    fn problems(&self) -> Vec<Problem> {
        let counts = [("steps", self.steps), ("batch_size", self.batch_size)];
        let counts = counts.into_iter().filter_map(|(key, count)| Problem::unless_counted(key, count));
        counts.chain(self.optimizer.problems_within("optimizer")).collect()
    }
}

/// Trains a policy on a corpus.
pub struct SftTrainer {
    policy: Policy,
    optimizer: Optimizer,
    corpus: Corpus,
    epochs: Epochs,
    stream: Stream,
    batch_size: usize,
    /// Batches of a step.
    accumulated: NonZeroUsize,
    activations: Activations,
    step: usize,
    tokens: u64,
}

impl SftTrainer {
    /// Starts from `policy`, which is left as it is.
    ///
    /// # Errors
    /// [`LmError::Config`] with every impossible value of the configuration, or for a corpus that is empty or
    /// cut into impossible windows; [`LmError::Sequence`] for an example that does not fit the model.
    pub fn new(policy: &Policy, corpus: Corpus, config: &SftConfig, seed: u64) -> Result<Self, LmError> {
        config.check()?;
        if corpus.is_empty() {
            return Err(Problem::new("corpus", "no example", "at least one").into());
        }
        corpus.check(policy.model().shape())?;
        let stream = Stream::new(seed, "sft");
        Ok(Self {
            policy: policy.clone().train(),
            optimizer: Optimizer::new(&config.optimizer, config.steps)?,
            epochs: Epochs::new(corpus.len(), stream.child(0)),
            corpus,
            stream: stream.child(1),
            batch_size: config.batch_size,
            accumulated: NonZeroUsize::MIN,
            activations: Activations::Kept,
            step: 0,
            tokens: 0,
        })
    }

    /// The same with so many batches in a step, one after another in memory: its update is that of one batch
    /// of all their examples, the loss a mean over all their tokens.
    #[must_use]
    pub fn accumulating(self, batches: NonZeroUsize) -> Self {
        Self { accumulated: batches, ..self }
    }

    /// The same with other care of the activations: less memory or less time, and the same update.
    #[must_use]
    pub fn with_activations(self, activations: Activations) -> Self {
        Self { activations, ..self }
    }
}

impl Trainer for SftTrainer {
    fn step(&mut self) -> Result<Metrics, StepError> {
        let draws = self.stream.child(self.step as u64);
        let examples: Vec<Sequence> = self
            .epochs
            .next(self.batch_size.saturating_mul(self.accumulated.get()))
            .into_iter()
            .enumerate()
            .map(|(row, index)| self.corpus.example(index, draws.child(row as u64)))
            .collect();
        let count = examples.iter().map(|example| example.response.len()).sum::<usize>().max(1) as f64;
        let (mut gradients, mut value) = (Gradients::default(), 0.0);
        for part in examples.chunks(self.batch_size) {
            let batch = Batch::new(&part.iter().collect::<Vec<_>>(), &self.policy.device());
            let (logprobs, segments) = self.policy.training_logprobs(&batch, self.activations);
            let loss = logprobs.values().sum().neg() / count;
            value += f64::from(to_vec(loss.clone())[0]);
            gradients.add(&self.policy, &loss, segments);
            self.tokens += batch.tokens() as u64;
        }
        let update = self.optimizer.step_with(&mut self.policy, gradients)?;
        self.step += 1;
        Ok(vec![
            ("loss", value),
            ("learning_rate", update.learning_rate),
            ("grad_norm", update.grad_norm),
            ("num_tokens", self.tokens as f64),
        ])
    }

    /// Each token of the examples of a step counts once, prompts included.
    fn tokens(&self) -> u64 {
        self.tokens
    }

    fn save(&self, into: &mut State) {
        into.set_trainer("sft", self.step, self.tokens);
        into.set_module("policy", self.policy.model());
        self.optimizer.save("optimizer", self.policy.model(), into);
        self.epochs.save(into);
    }

    fn restore(&mut self, from: &State) -> Result<(), LmError> {
        let (step, tokens) = from.trainer("sft")?;
        let policy = from.policy("policy", &self.policy)?.train();
        let optimizer = self.optimizer.restored("optimizer", policy.model(), from)?;
        let epochs = self.epochs.restored(from)?;
        (self.policy, self.optimizer, self.epochs) = (policy, optimizer, epochs);
        (self.step, self.tokens) = (step, tokens);
        Ok(())
    }
}

impl PolicyTrainer for SftTrainer {
    fn policy(&self) -> Policy {
        self.policy.valid()
    }
}
