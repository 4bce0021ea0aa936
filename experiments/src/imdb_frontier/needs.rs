//! What a study asks of a device: an estimate from above, good enough to see whether it fits.

use anyhow::Result;
use lm::DecoderConfig;
use lm::device::Facts;

use crate::imdb_frontier::method::Algorithm;
use crate::imdb_frontier::preset::Preset;
use crate::imdb_frontier::reference::architecture;

/// Bytes of a number.
const F32: u64 = 4;
/// Copies of the weights in a PPO run, the largest: policy and value model with gradient and two moments each, the
/// reference, the policy that it started from, and the reward model.
const COPIES: u64 = 11;
/// Numbers that a block keeps of a token for its backward pass, in units of the width: inputs of two norms, q k v, the
/// attention's output, the residual stream twice, and the 4-fold inner width before and after GELU.
const KEPT: u64 = 18;
/// What a process takes of a GPU before it computes anything: the driver's context and the pages of the allocator.
const PROCESS: u64 = 1 << 30;

/// What one run of a study takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Parameters of the language model.
    pub parameters: usize,
    /// Bytes of device memory at its peak, the process itself included.
    pub bytes: u64,
    /// Bytes of the largest tensor.
    pub largest: u64,
}

impl Needs {
    pub fn of(preset: &Preset) -> Result<Self> {
        let model = architecture(&preset.reference)?;
        let length = 1 + preset.prompts.max_tokens + preset.sampling.max_new_tokens;
        let of_step = |algorithm: Algorithm| match algorithm {
            Algorithm::Dpo(config) => config.batch_prompts * preset.preferences.responses_per_prompt,
            Algorithm::OnlineDpo { config, .. } => config.batch_prompts * config.responses_per_prompt,
            Algorithm::Ppo { config, .. } => config.minibatch_size,
            Algorithm::Rloo { config, .. } => config.rollouts,
            Algorithm::Sft(config) => config.batch_size,
        };
        let of_reward_model = 2 * preset.reward_model.batch_size;
        let sequences = preset.algorithms().map(of_step).fold(of_reward_model, usize::max);
        Ok(Self::of_batch(&model, (sequences * length) as u64))
    }

    /// Of a training step on so many tokens.
    fn of_batch(model: &DecoderConfig, tokens: u64) -> Self {
        let shape = model.shape();
        let [width, layers, vocab, heads, context] =
            [shape.width, shape.layers, shape.vocabulary, shape.heads, shape.context]
                .map(|number| number as u64);
        let weights = model.parameters() as u64 * COPIES;
        let blocks = tokens * layers * (KEPT * width + heads * context);
        // Logits, their softmax and its gradient.
        let head = 3 * tokens * vocab;
        Self {
            parameters: model.parameters(),
            bytes: PROCESS + F32 * (weights + blocks + head),
            largest: F32 * (tokens * vocab).max(vocab * width),
        }
    }

    /// Whether a run fits on a device, and why or why not.
    pub fn fit(&self, facts: &Facts) -> (bool, String) {
        let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
        if let Some(memory) = facts.memory
            && self.bytes > memory
        {
            return (
                false,
                format!("a run takes up to {} of memory and there are {}", gib(self.bytes), gib(memory)),
            );
        }
        if let Some(largest) = facts.largest_buffer
            && self.largest > largest
        {
            let sizes = (gib(self.largest), gib(largest));
            return (false, format!("its largest tensor has {} and a buffer at most {}", sizes.0, sizes.1));
        }
        let slow = if facts.software { ", but slower than on cpu" } else { "" };
        match facts.memory {
            Some(memory) => (true, format!("a run takes up to {} of {}{slow}", gib(self.bytes), gib(memory))),
            None => (true, format!("a run takes up to {}; the driver tells no limit{slow}", gib(self.bytes))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(memory: Option<u64>, largest_buffer: Option<u64>) -> Facts {
        let (name, driver) = (String::new(), String::new());
        Facts { name, driver, software: false, memory, largest_buffer, count: 1 }
    }

    #[test]
    fn a_small_model_is_counted_by_hand() {
        let model =
            DecoderConfig::gpt2(lm::Shape { vocabulary: 10, context: 4, width: 2, layers: 1, heads: 1 });
        let needs = Needs::of_batch(&model, 5);
        let expected = PROCESS + 4 * (11 * model.parameters() as u64 + 5 * (18 * 2 + 4) + 3 * 5 * 10);
        assert_eq!((needs.bytes, needs.largest), (expected, 4 * 5 * 10));
    }

    #[test]
    fn what_is_too_large_says_so() {
        let needs = Needs { parameters: 1, bytes: 3 << 30, largest: 1 << 30 };
        assert!(needs.fit(&facts(None, None)).0);
        assert!(needs.fit(&facts(Some(4 << 30), Some(1 << 30))).0);
        let (fits, why) = needs.fit(&facts(Some(2 << 30), None));
        assert!(!fits && why.contains("3.0 GiB") && why.contains("2.0 GiB"), "{why}");
        assert!(!needs.fit(&facts(Some(4 << 30), Some(1 << 29))).0);
    }
}
