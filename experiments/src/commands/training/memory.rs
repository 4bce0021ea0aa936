//! What a training takes of memory, from its settings and its data.

use std::path::Path;

use anyhow::Result;
use burn::module::Module;
use lm::files::{ModelFolder, read_encoder_config};
use lm::{Footprint, Memory, OpenDevice, OptimizerConfig, PreferencePair, Sampling, Sequence};

use super::sections::ScorerSettings;
use super::start::Start;
use crate::cli::DeviceOptions;
use crate::needs::place;

/// Tokens of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub tokens: u64,
    /// Those that are predicted.
    pub targets: u64,
}

impl Load {
    /// Of one sequence.
    fn of(sequence: &Sequence) -> Self {
        Self { tokens: sequence.len() as u64, targets: sequence.response.len() as u64 }
    }

    fn and(self, other: Self) -> Self {
        Self { tokens: self.tokens + other.tokens, targets: self.targets + other.targets }
    }

    /// The batch of so many texts that takes the most.
    pub fn of_texts(texts: &[Sequence], batch: usize) -> Self {
        heaviest(texts.iter().map(Self::of).collect(), batch)
    }

    /// The batch of all pairs of so many prompts that takes the most; each response passes once for all its
    /// pairs.
    pub fn of_pairs(pairs: &[PreferencePair], prompts: usize) -> Self {
        let of_prompt = |pairs: &[PreferencePair]| {
            let sides = pairs.iter().flat_map(|pair| [pair.chosen_sequence(), pair.rejected_sequence()]);
            let mut distinct: Vec<Sequence> = sides.collect();
            distinct.sort_by(|a, b| a.response.cmp(&b.response));
            distinct.dedup_by(|a, b| a.response == b.response);
            distinct.iter().map(Self::of).fold(Self::default(), Self::and)
        };
        heaviest(pairs.chunk_by(|a, b| a.prompt == b.prompt).map(of_prompt).collect(), prompts)
    }

    /// The batch of so many responses to prompts of up to `prompt` tokens.
    pub fn of_responses(count: usize, prompt: usize, response: usize) -> Self {
        let [count, prompt, response] = [count, prompt, response].map(|number| number as u64);
        Self { tokens: count.saturating_mul(prompt + response), targets: count.saturating_mul(response) }
    }
}

/// The sum of the `count` largest.
fn heaviest(mut loads: Vec<Load>, count: usize) -> Load {
    loads.sort_by_key(|load| std::cmp::Reverse(load.tokens));
    let (count, there) = (count as u64, loads.len() as u64);
    let sum = loads.into_iter().take(count as usize).fold(Load::default(), Load::and);
    // A batch of more examples than there are has some of them again.
    let rounds = if there == 0 { 0 } else { count.div_ceil(there).max(1) };
    Load { tokens: sum.tokens.saturating_mul(rounds), targets: sum.targets.saturating_mul(rounds) }
}

/// A process with the model that a training starts from, and the evaluations of what it makes.
pub fn process(
    start: &Start,
    device: &DeviceOptions,
    length: usize,
    sampling: Option<&Sampling>,
) -> Result<Memory> {
    let config = start.policy.model().config();
    let open = device.open(config.parameters())?;
    Ok(started(Footprint::from(&config), &open, length, sampling.map(|sampling| sampling.batch_size)))
}

/// The same of a model that need not be there, which samples batches of so many responses, if it samples.
pub fn started(model: Footprint, open: &OpenDevice, length: usize, batch: Option<usize>) -> Memory {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let process = Memory::new(place(open, threads)).frozen(model).scoring(model, length as u64);
    match batch {
        Some(batch) => process.sampling(model, batch as u64, length as u64),
        None => process,
    }
}

/// What scores beside it: a reward model or an encoder. A program is a process of its own.
pub fn scorer(process: Memory, settings: &ScorerSettings, length: usize) -> Result<Memory> {
    let model = if !settings.reward_model.is_empty() {
        Footprint::from(&ModelFolder::open(Path::new(&settings.reward_model), None)?.config()?)
    } else if !settings.classifier.folder.is_empty() {
        let (config, labelling) =
            read_encoder_config(&Path::new(&settings.classifier.folder).join("config.json"))?;
        Footprint::of_encoder(&config, labelling.labels.len())
    } else {
        return Ok(process);
    };
    Ok(process.frozen(model).scoring(model, length as u64))
}

/// Another model that starts as the first does and trains on batches: all of it, or its adapters.
pub fn learner(process: Memory, start: &Start, optimizer: &OptimizerConfig, load: Load) -> Memory {
    let policy = start.reference.start();
    let model = Footprint::from(&policy.model().config());
    learning(process, (model, trained(start)), optimizer, load)
}

/// The same of a model that need not be there, and of so many parameters that train.
pub fn learning(
    process: Memory,
    (model, parameters): (Footprint, u64),
    optimizer: &OptimizerConfig,
    load: Load,
) -> Memory {
    process.learning(parameters, optimizer).training_on(model, parameters, load.tokens, load.targets)
}

/// Parameters that train.
pub fn trained(start: &Start) -> u64 {
    let policy = start.reference.start();
    let all = policy.model().num_params() as u64;
    let whole = policy.model().config().parameters() as u64;
    // Adapters are what a model has more than its configuration says.
    if policy.model().lora().is_some() { all.saturating_sub(whole) } else { whole }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(prompt: u32, chosen: usize, rejected: usize) -> PreferencePair {
        let response = |length: usize| (0..length as u32).map(|i| 10 + i).collect();
        PreferencePair {
            prompt: vec![prompt; 2],
            chosen: response(chosen),
            rejected: response(rejected),
            probability: 1.0,
        }
    }

    #[test]
    fn the_heaviest_batch_by_hand() {
        let pairs = [pair(1, 3, 4), pair(1, 3, 5), pair(2, 1, 2), pair(3, 6, 2)];
        // The first prompt has three distinct responses, of 3, 4 and 5 tokens.
        assert_eq!(Load::of_pairs(&pairs, 1), Load { tokens: 18, targets: 12 });
        assert_eq!(Load::of_pairs(&pairs, 3), Load { tokens: 18 + 7 + 12, targets: 12 + 3 + 8 });
        // Six prompts of three: each of them twice.
        assert_eq!(Load::of_pairs(&pairs, 6).tokens, 2 * (18 + 7 + 12));
        let texts = [pair(1, 3, 4).chosen_sequence(), pair(1, 5, 4).chosen_sequence()];
        assert_eq!(Load::of_texts(&texts, 1), Load { tokens: 7, targets: 5 });
        assert_eq!(Load::of_texts(&[], 4), Load::default());
        assert_eq!(Load::of_responses(3, 4, 5), Load { tokens: 27, targets: 15 });
    }
}
