//! The policy pi and the reference pi_ref.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::LmError;
use crate::architecture::Gpt2;
use crate::device::{on_host, score_rows};
use crate::logprobs::{self, TokenLogProbs};
use crate::problem::Problem;
use crate::random::Stream;
use crate::sampling::{self, Sampling};
use crate::sequences::{Batch, Sequence, by_length, check};

/// A language model at a sampling temperature, and the token that ends its responses.
///
/// The temperature belongs to the policy: generation, scoring, training and KL all speak of the same distribution
/// `softmax(logits / temperature)`.
#[derive(Module, Debug)]
pub struct Policy {
    model: Gpt2,
    #[module(skip)]
    temperature: f64,
    #[module(skip)]
    end: u32,
}

/// A sampled response.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// Token ids; the last one is the end token if and only if `ended`.
    pub response: Vec<u32>,
    /// Log-probability of each token when it was drawn, in nats.
    pub logprobs: Vec<f32>,
    /// Whether the policy ended the response itself.
    pub ended: bool,
}

impl Generation {
    /// Takes the next token, unless the response has ended: what was drawn past its end counts for nothing.
    fn push(&mut self, token: u32, logprob: f32, end: u32) {
        if !self.ended {
            self.response.push(token);
            self.logprobs.push(logprob);
            self.ended = token == end;
        }
    }
}

/// KL of a policy from the reference on one response, summed over its tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SequenceKl {
    /// `sum_t KL(pi(. | s_t) || pi_ref(. | s_t))` in nats: exact at each step, so its only noise is in the states.
    pub exact: f64,
    /// `log pi(y | x) - log pi_ref(y | x)` in nats, the estimate k1.
    pub k1: f64,
}

impl Policy {
    /// A policy; `end` is the tokenizer's end token.
    ///
    /// # Errors
    /// [`LmError::Config`] unless the temperature is positive and finite.
    pub fn new(model: Gpt2, temperature: f64, end: u32) -> Result<Self, LmError> {
        if let Some(problem) = Problem::unless_positive("temperature", temperature) {
            return Err(problem.into());
        }
        Ok(Self { model, temperature, end })
    }

    /// The weights.
    pub fn model(&self) -> &Gpt2 {
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
        logprobs::token_logprobs(&self.model, batch, self.temperature)
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

    /// Exact and sampled KL from `reference` on responses that this policy wrote, in the order of `sequences`.
    ///
    /// # Errors
    /// [`LmError::Sequence`] for a sequence that does not fit the model.
    pub fn sequence_kl(
        &self,
        reference: &ReferencePolicy,
        sequences: &[Sequence],
    ) -> Result<Vec<SequenceKl>, LmError> {
        let policy = self.valid();
        let other = &reference.0;
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

    /// Draws one response for every prompt. Row `i` uses the numbers of `stream.child(i)`, whatever the batching.
    ///
    /// Prompts are grouped by length, so no padding is computed; groups run on all cores; a row that ended leaves
    /// the decode batch.
    ///
    /// # Errors
    /// [`LmError::Sequence`] if a prompt and `max_new_tokens` do not fit the context.
    pub fn generate(
        &self,
        prompts: &[Vec<u32>],
        sampling: &Sampling,
        stream: Stream,
    ) -> Result<Vec<Generation>, LmError> {
        let config = self.model.config();
        let room = config.n_positions.saturating_sub(sampling.max_new_tokens);
        let whole: Vec<Sequence> =
            prompts.iter().map(|p| Sequence { prompt: p.clone(), response: Vec::new() }).collect();
        check(&whole, config.vocab_size, room)?;
        let policy = self.valid();
        let lengths: Vec<usize> = prompts.iter().map(Vec::len).collect();
        let groups = by_length(&lengths, prompts.len());
        let batches: Vec<&[usize]> = groups
            .iter()
            .flat_map(|group| group.chunk_by(|&a, &b| lengths[a] == lengths[b]))
            .flat_map(|same| same.chunks(sampling.batch_size.max(1)))
            .collect();
        let decode = |rows: &&[usize]| {
            let prompts: Vec<&[u32]> = rows.iter().map(|&i| prompts[i].as_slice()).collect();
            let rngs = rows.iter().map(|&i| stream.child(i as u64).rng()).collect();
            policy.decode(&prompts, sampling.max_new_tokens, rngs)
        };
        let drawn: Vec<Vec<Generation>> = if on_host(&policy.device()) {
            batches.par_iter().map(decode).collect()
        } else {
            batches.iter().map(decode).collect()
        };
        Ok(in_order(prompts.len(), batches.into_iter().map(<[usize]>::to_vec).zip(drawn)))
    }

    /// Decodes prompts of one length in lockstep.
    fn decode(&self, prompts: &[&[u32]], max_new: usize, mut rngs: Vec<ChaCha8Rng>) -> Vec<Generation> {
        let mut drawn =
            vec![Generation { response: Vec::new(), logprobs: Vec::new(), ended: false }; prompts.len()];
        if max_new == 0 || prompts.is_empty() {
            return drawn;
        }
        let device = self.device();
        let steps_at_once = crate::device::steps_at_once(&device);
        let (mut hidden, mut cache) = self.model.prefill(prompts, prompts[0].len() + max_new - 1);
        let mut active: Vec<usize> = (0..prompts.len()).collect();
        let mut waiting = Vec::new();
        for step in 1.. {
            let uniforms: Vec<f64> = active.iter().map(|&row| rngs[row].random()).collect();
            let tempered = logprobs::tempered(hidden, self.temperature);
            let (mut tokens, logprobs) = fused::sample(tempered, self.model.head(), &uniforms);
            waiting.push((tokens.clone(), logprobs));
            if waiting.len() == steps_at_once || step == max_new {
                for drawn_now in sampling::read(std::mem::take(&mut waiting)) {
                    for (&row, (token, logprob)) in active.iter().zip(drawn_now) {
                        drawn[row].push(token, logprob, self.end);
                    }
                }
                let going: Vec<usize> = (0..active.len()).filter(|&i| !drawn[active[i]].ended).collect();
                if step == max_new || going.is_empty() {
                    break;
                }
                if going.len() < active.len() {
                    let rows: Vec<i32> = going.iter().map(|&i| i as i32).collect();
                    let rows = Tensor::from_data(TensorData::new(rows, [going.len()]), &device);
                    cache.keep(&rows);
                    tokens = tokens.select(0, rows);
                    active = going.into_iter().map(|i| active[i]).collect();
                }
            }
            hidden = self.model.decode(tokens, &mut cache);
        }
        drawn
    }

    /// Applies a function to batches on all cores and returns its rows in the given order.
    fn in_batches<T: Send + Default>(
        &self,
        sequences: &[Sequence],
        rows: impl Fn(&Batch) -> Vec<T> + Sync,
    ) -> Result<Vec<T>, LmError> {
        let config = self.model.config();
        check(sequences, config.vocab_size, config.n_positions)?;
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

/// Undoes a grouping: each group's results go to its indices.
fn in_order<T>(count: usize, groups: impl Iterator<Item = (Vec<usize>, Vec<T>)>) -> Vec<T> {
    let mut slots: Vec<Option<T>> = std::iter::repeat_with(|| None).take(count).collect();
    for (indices, results) in groups {
        for (index, result) in indices.into_iter().zip(results) {
            slots[index] = Some(result);
        }
    }
    slots.into_iter().flatten().collect()
}

/// pi_ref: a policy that can only score.
#[derive(Clone, Debug)]
pub struct ReferencePolicy(Policy);

impl ReferencePolicy {
    /// Freezes a policy.
    pub fn new(policy: &Policy) -> Self {
        Self(policy.valid())
    }

    /// See [`Policy::score`].
    ///
    /// # Errors
    /// As there.
    pub fn score(&self, sequences: &[Sequence]) -> Result<Vec<Vec<f32>>, LmError> {
        self.0.score(sequences)
    }

    /// `log pi_ref(y | x)` in nats of every sequence.
    ///
    /// # Errors
    /// As [`Policy::score`].
    pub fn score_sequences(&self, sequences: &[Sequence]) -> Result<Vec<f64>, LmError> {
        let rows = self.score(sequences)?;
        Ok(rows.iter().map(|row| row.iter().map(|&value| f64::from(value)).sum()).collect())
    }

    /// A policy that starts from the reference.
    pub fn start(&self) -> Policy {
        self.0.clone()
    }
}
