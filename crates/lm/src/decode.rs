//! Responses of a policy, drawn token by token.

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
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
    /// Draws one response for every prompt. Row `i` uses the numbers of `stream.child(i)`, whatever the
    /// batching.
    ///
    /// On the CPU prompts are grouped by length, so no padding is computed, and groups run on all cores. On a
    /// GPU, where a step costs about the same for few rows and for many, prompts of similar lengths are
    /// decoded together. A row that ended leaves the decode batch.
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

    /// [`Policy::generate`] with a filter on the tokens. Log-probabilities are the policy's
    /// own, without the filter.
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
        let spread = if on_host(&policy.device()) { 0 } else { sampling.max_new_tokens / 2 };
        let lengths: Vec<usize> = prompts.iter().map(Vec::len).collect();
        let batches = batches(&lengths, spread, sampling.batch_size.max(1));
        let decode = |rows: &Vec<usize>| {
            let prompts: Vec<&[u32]> = rows.iter().map(|&i| prompts[i].as_slice()).collect();
            let rngs = rows.iter().map(|&i| stream.child(i as u64).rng()).collect();
            policy.decode(&prompts, (sampling.max_new_tokens, decoding), rngs)
        };
        let drawn: Vec<Vec<Generation>> = if on_host(&policy.device()) {
            batches.par_iter().map(decode).collect()
        } else {
            batches.iter().map(decode).collect()
        };
        Ok(in_order(prompts.len(), batches.into_iter().zip(drawn)))
    }

    /// Decodes in lockstep, by position: while other rows draw, a longer prompt still takes its own tokens.
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
        let lengths = prompts.iter().map(|prompt| prompt.len());
        let (shortest, longest) = (lengths.clone().min().unwrap_or(0), lengths.max().unwrap_or(0));
        let begun: Vec<&[u32]> = prompts.iter().map(|prompt| &prompt[..shortest]).collect();
        let (mut hidden, mut cache) = self.model().prefill(&begun, longest + max_new - 1);
        // What a row's prompt has left at a step, counted from 1.
        let given = |row: usize, step: usize| prompts[row].get(shortest + step - 1).copied();
        let last = longest - shortest + max_new;
        let mut active: Vec<usize> = (0..prompts.len()).collect();
        let mut waiting = Vec::new();
        for step in 1.. {
            let uniform = |&row: &usize| if given(row, step).is_some() { 0.0 } else { rngs[row].random() };
            let uniforms: Vec<f64> = active.iter().map(uniform).collect();
            let (tempered, head) = tempered(hidden, self.model().head(), self.temperature());
            let (mut tokens, logprobs) = match decoding {
                Decoding::Sample => fused::sample(tempered, head, &uniforms),
                Decoding::Greedy | Decoding::Filtered { .. } => {
                    sampling::draw(head.logits(tempered), decoding, &uniforms)
                }
            };
            waiting.push((tokens.clone(), logprobs));
            tokens = or_given(tokens, active.iter().map(|&row| given(row, step)));
            if waiting.len() == steps_at_once || step == last {
                let first = step + 1 - waiting.len();
                for (step, drawn_then) in (first..).zip(sampling::read(std::mem::take(&mut waiting))) {
                    for (&row, (token, logprob)) in active.iter().zip(drawn_then) {
                        if given(row, step).is_none() && drawn[row].response.len() < max_new {
                            drawn[row].push(token, logprob, self.end());
                        }
                    }
                }
                let goes_on = |row: usize| !drawn[row].ended && drawn[row].response.len() < max_new;
                let going: Vec<usize> = (0..active.len()).filter(|&i| goes_on(active[i])).collect();
                if going.is_empty() {
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

/// Rows that are decoded together: at most `size`, whose lengths are at most `spread` apart.
fn batches(lengths: &[usize], spread: usize, size: usize) -> Vec<Vec<usize>> {
    let mut batches: Vec<Vec<usize>> = Vec::new();
    for row in by_length(lengths, lengths.len()).into_iter().flatten() {
        match batches.last_mut() {
            Some(batch) if batch.len() < size && lengths[row] - lengths[batch[0]] <= spread => {
                batch.push(row);
            }
            _ => batches.push(vec![row]),
        }
    }
    batches
}

/// Tokens `[rows]`, with those in place that rows are given.
fn or_given(tokens: Tensor<1, Int>, given: impl Iterator<Item = Option<u32>> + Clone) -> Tensor<1, Int> {
    if given.clone().all(|token| token.is_none()) {
        return tokens;
    }
    let (device, rows) = (tokens.device(), tokens.dims());
    let is_given: Vec<bool> = given.clone().map(|token| token.is_some()).collect();
    let given: Vec<i32> = given.map(|token| token.unwrap_or_default() as i32).collect();
    let given = Tensor::from_data(TensorData::new(given, rows), &device);
    tokens.mask_where(Tensor::from_data(TensorData::new(is_given, rows), &device), given)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::{Decoder, DecoderConfig, Shape};
    use crate::device::DeviceSpec;

    #[test]
    fn batches_hold_similar_lengths() {
        let lengths = [3, 1, 3, 2, 9, 1];
        assert_eq!(batches(&lengths, 0, 2), [vec![1, 5], vec![3], vec![0, 2], vec![4]]);
        assert_eq!(batches(&lengths, 2, 9), [vec![1, 5, 3, 0, 2], vec![4]]);
        assert_eq!(batches(&lengths, 2, 4), [vec![1, 5, 3, 0], vec![2], vec![4]]);
        assert_eq!(batches(&[], 2, 4), Vec::<Vec<usize>>::new());
    }

    /// In lockstep a row draws what it draws alone, and as many tokens.
    #[test]
    fn prompts_of_different_lengths_together() {
        let shape = Shape { vocabulary: 12, context: 24, width: 16, layers: 2, heads: 2 };
        let device = DeviceSpec::CPU.open().unwrap();
        let model = Decoder::random(&DecoderConfig::gpt2(shape), Stream::new(1, "model"), &device).unwrap();
        let policy = Policy::new(model, 1.0, 0).unwrap();
        let prompts: [&[u32]; 5] = [&[0, 3], &[0, 5, 7, 2, 4, 8], &[0], &[0, 3], &[0, 9, 1, 6]];
        let rng = |row: usize| Stream::new(2, "drawn").child(row as u64).rng();
        for max_new in [1, 3, 18] {
            for decoding in [Decoding::Sample, Decoding::Greedy] {
                let together =
                    policy.decode(&prompts, (max_new, decoding), (0..prompts.len()).map(rng).collect());
                let mut ended = 0;
                for (row, together) in together.into_iter().enumerate() {
                    let alone =
                        policy.decode(&prompts[row..=row], (max_new, decoding), vec![rng(row)]).remove(0);
                    assert_eq!((&together.response, together.ended), (&alone.response, alone.ended));
                    assert!(together.ended || together.response.len() == max_new);
                    for (a, b) in together.logprobs.iter().zip(&alone.logprobs) {
                        assert!((a - b).abs() < 1e-5, "{a} {b}");
                    }
                    ended += usize::from(together.ended);
                }
                assert!(max_new < 18 || decoding != Decoding::Sample || ended > 0, "some rows end early");
            }
        }
    }
}
