//! Responses of a policy, drawn token by token.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::LmError;
use crate::device::{on_host, steps_at_once};
use crate::logprobs::tempered;
use crate::policy::Policy;
use crate::problem::Config;
use crate::random::Stream;
use crate::sampling::{self, Decoding, Sampling};
use crate::sequences::{by_length, check_prompts};

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

impl Policy {
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
        self.generate_by(Decoding::Sample, prompts, sampling, stream)
    }

    /// [`Policy::generate`] with a filter on the tokens. Log-probabilities are the policy's own, without the filter.
    ///
    /// # Errors
    /// As there, and [`LmError::Config`] for an impossible filter.
    pub fn generate_by(
        &self,
        decoding: Decoding,
        prompts: &[Vec<u32>],
        sampling: &Sampling,
        stream: Stream,
    ) -> Result<Vec<Generation>, LmError> {
        decoding.check()?;
        let shape = self.model().shape();
        check_prompts(prompts, sampling.max_new_tokens, shape.vocabulary, shape.context)?;
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
            policy.decode(&prompts, (sampling.max_new_tokens, decoding), rngs)
        };
        let drawn: Vec<Vec<Generation>> = if on_host(&policy.device()) {
            batches.par_iter().map(decode).collect()
        } else {
            batches.iter().map(decode).collect()
        };
        Ok(in_order(prompts.len(), batches.into_iter().map(<[usize]>::to_vec).zip(drawn)))
    }

    /// Decodes prompts of one length in lockstep.
    fn decode(
        &self,
        prompts: &[&[u32]],
        (max_new, decoding): (usize, Decoding),
        mut rngs: Vec<ChaCha8Rng>,
    ) -> Vec<Generation> {
        let mut drawn =
            vec![Generation { response: Vec::new(), logprobs: Vec::new(), ended: false }; prompts.len()];
        if max_new == 0 || prompts.is_empty() {
            return drawn;
        }
        let device = self.device();
        let steps_at_once = steps_at_once(&device);
        let (mut hidden, mut cache) = self.model().prefill(prompts, prompts[0].len() + max_new - 1);
        let mut active: Vec<usize> = (0..prompts.len()).collect();
        let mut waiting = Vec::new();
        for step in 1.. {
            let uniforms: Vec<f64> = active.iter().map(|&row| rngs[row].random()).collect();
            let (tempered, head) = tempered(hidden, self.model().head(), self.temperature());
            let (mut tokens, logprobs) = match decoding {
                Decoding::Sample => fused::sample(tempered, head, &uniforms),
                Decoding::Greedy | Decoding::Filtered { .. } => {
                    sampling::draw(head.logits(tempered), decoding, &uniforms)
                }
            };
            waiting.push((tokens.clone(), logprobs));
            if waiting.len() == steps_at_once || step == max_new {
                for drawn_now in sampling::read(std::mem::take(&mut waiting)) {
                    for (&row, (token, logprob)) in active.iter().zip(drawn_now) {
                        drawn[row].push(token, logprob, self.end());
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
            hidden = self.model().decode(tokens, &mut cache);
        }
        drawn
    }
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
