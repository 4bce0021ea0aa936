//! The policy pi and the reference pi_ref.

use burn::module::Module;
use burn::tensor::Device;
use rayon::prelude::*;

use crate::LmError;
use crate::architecture::{Decoder, LoraConfig};
use crate::batch::Batch;
use crate::device::{on_host, score_rows};
use crate::logprobs::{self, TokenLogProbs};
use crate::problem::Problem;
use crate::random::Stream;
use crate::recompute::{Activations, Segments};
use crate::sequences::{Sequence, check};

/// A language model at a sampling temperature, and the token that ends its responses.
///
/// The temperature belongs to the policy: generation, scoring, training and KL all speak of the same
/// distribution `softmax(logits / temperature)`.
#[derive(Module, Debug)]
pub struct Policy {
    model: Decoder,
    #[module(skip)]
    temperature: f64,
    #[module(skip)]
    end: u32,
}

/// KL of a policy from the reference on one response, summed over its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SequenceKl {
    /// `sum_t KL(pi(. | s_t) || pi_ref(. | s_t))` in nats: exact at each step, so its only noise is in the
    /// states.
    pub exact: f64,
    /// `log pi(y | x) - log pi_ref(y | x)` in nats, the estimate k1.
    pub k1: f64,
}

impl Policy {
    /// A policy; `end` is the tokenizer's end token.
    ///
    /// # Errors
    /// [`LmError::Config`] unless the temperature is positive and finite.
    pub fn new(model: Decoder, temperature: f64, end: u32) -> Result<Self, LmError> {
        if let Some(problem) = Problem::unless_positive("temperature", temperature) {
            return Err(problem.into());
        }
        Ok(Self { model, temperature, end })
    }

    /// The same policy with new adapters, which alone will train; see [`Decoder::with_adapter`].
    ///
    /// # Errors
    /// As there.
    pub fn with_adapter(&self, config: &LoraConfig, stream: Stream) -> Result<Self, LmError> {
        Ok(Self { model: self.valid().model.with_adapter(config, stream)?, ..self.clone() })
    }

    /// The weights.
    pub fn model(&self) -> &Decoder {
        &self.model
    }

    /// The end token's id.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// The sampling temperature.
    pub fn temperature(&self) -> f64 {
        self.temperature
    }

    /// The device of the weights, with gradients if the policy trains.
    pub fn device(&self) -> Device {
        self.model.device()
    }

    /// Log-probabilities of a batch's responses; differentiable where the policy trains.
    pub fn logprobs(&self, batch: &Batch) -> TokenLogProbs {
        self.training_logprobs(batch, Activations::Kept).0
    }

    /// The same in a step that trains the policy, and what the graph of a loss on them lacks.
    pub fn training_logprobs(&self, batch: &Batch, activations: Activations) -> (TokenLogProbs, Segments) {
        logprobs::token_logprobs(&self.model, batch, self.temperature, activations)
    }

    /// `log pi(y | x)` in nats of every sequence, without gradients.
    ///
    /// # Errors
    /// As [`Policy::score`].
    pub fn score_sequences(&self, sequences: &[Sequence]) -> Result<Vec<f64>, LmError> {
        let rows = self.score(sequences)?;
        Ok(rows.iter().map(|row| row.iter().map(|&value| f64::from(value)).sum()).collect())
    }

    /// Log-probabilities in nats of every response token, without gradients, in the order of `sequences`.
    ///
    /// # Errors
    /// [`LmError::Sequence`] for a sequence that does not fit the model.
    pub fn score(&self, sequences: &[Sequence]) -> Result<Vec<Vec<f32>>, LmError> {
        let policy = self.valid();
        policy.in_batches(sequences, |batch| {
            let logprobs = policy.logprobs(batch);
            batch.mask().rows(logprobs.values())
        })
    }

    /// Exact and sampled KL from `reference` on responses that this policy wrote, in the order of
    /// `sequences`.
    ///
    /// # Errors
    /// [`LmError::Sequence`] for a sequence that does not fit the model.
    pub fn sequence_kl(
        &self,
        reference: &ReferencePolicy,
        sequences: &[Sequence],
    ) -> Result<Vec<SequenceKl>, LmError> {
        let policy = self.valid();
        let other = &reference.policy;
        policy.in_batches(sequences, |batch| {
            let kl = logprobs::token_kl(
                (&policy.model, policy.temperature),
                (&other.model, other.temperature),
                batch,
            );
            let mut start = 0;
            let sum = |values: &[f32]| values.iter().map(|&value| f64::from(value)).sum();
            batch
                .mask()
                .lengths()
                .iter()
                .map(|&length| {
                    let range = start..start + length;
                    start += length;
                    SequenceKl { exact: sum(&kl.exact[range.clone()]), k1: sum(&kl.k1[range]) }
                })
                .collect()
        })
    }

    /// Applies a function to batches on all cores and returns its rows in the given order.
    fn in_batches<T: Send + Default>(
        &self,
        sequences: &[Sequence],
        rows: impl Fn(&Batch) -> Vec<T> + Sync,
    ) -> Result<Vec<T>, LmError> {
        let shape = self.model.shape();
        check(sequences, shape.vocabulary, shape.context)?;
        let device = self.device();
        Ok(map_responses(sequences, &device, |batch| rows(&Batch::new(batch, &device))))
    }
}

/// Applies a function to batches, on the CPU on all cores; results come in the order of `sequences`.
pub(crate) fn map_batches<T: Send>(
    sequences: &[Sequence],
    device: &Device,
    rows: impl Fn(&[&Sequence]) -> Vec<T> + Sync,
) -> Vec<T> {
    let batch = |group: &[Sequence]| rows(&group.iter().collect::<Vec<_>>());
    let size = score_rows(device);
    let results: Vec<Vec<T>> = if on_host(device) {
        sequences.par_chunks(size).map(batch).collect()
    } else {
        sequences.chunks(size).map(batch).collect()
    };
    results.into_iter().flatten().collect()
}

/// [`map_batches`] over the sequences that have a response; an empty response has an empty row.
pub(crate) fn map_responses<T: Send + Default>(
    sequences: &[Sequence],
    device: &Device,
    rows: impl Fn(&[&Sequence]) -> Vec<T> + Sync,
) -> Vec<T> {
    if sequences.iter().all(|sequence| !sequence.response.is_empty()) {
        return map_batches(sequences, device, rows);
    }
    let real: Vec<Sequence> =
        sequences.iter().filter(|sequence| !sequence.response.is_empty()).cloned().collect();
    let mut results = map_batches(&real, device, rows).into_iter();
    let row = |sequence: &Sequence| if sequence.response.is_empty() { None } else { results.next() };
    sequences.iter().map(row).map(Option::unwrap_or_default).collect()
}

/// pi_ref: a policy that can only score.
///
/// With adapters it is the model without them: what policies start with then shares every other weight
/// with it, and as an optimiser replaces only what trains, there is one copy of these in memory
/// however long the training.
#[derive(Clone, Debug)]
pub struct ReferencePolicy {
    policy: Policy,
    /// The same policy with new adapters.
    adapted: Option<Policy>,
}

impl ReferencePolicy {
    /// Freezes a policy.
    pub fn new(policy: &Policy) -> Self {
        Self { policy: policy.valid(), adapted: None }
    }

    /// The same reference, from which policies start with new adapters that alone will train.
    ///
    /// # Errors
    /// As [`Policy::with_adapter`].
    pub fn with_adapter(self, config: &LoraConfig, stream: Stream) -> Result<Self, LmError> {
        Ok(Self { adapted: Some(self.policy.with_adapter(config, stream)?), ..self })
    }

    /// See [`Policy::score`].
    ///
    /// # Errors
    /// As there.
    pub fn score(&self, sequences: &[Sequence]) -> Result<Vec<Vec<f32>>, LmError> {
        self.policy.score(sequences)
    }

    /// See [`Policy::score_sequences`].
    ///
    /// # Errors
    /// As there.
    pub fn score_sequences(&self, sequences: &[Sequence]) -> Result<Vec<f64>, LmError> {
        self.policy.score_sequences(sequences)
    }

    /// A policy that starts from the reference.
    pub fn start(&self) -> Policy {
        self.adapted.as_ref().unwrap_or(&self.policy).clone()
    }
}
