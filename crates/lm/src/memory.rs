//! How much memory models take, by arithmetic: what a process holds all the time, and the most of what comes
//! and goes while it trains, scores and samples.
//!
//! ```text
//! peak = process + weights (1 + moments) of what trains + weights of what does not
//!      + max( gradients + activations kept for the backward pass + head,    a training step
//!             gradients + new weights,                                      its update
//!             keys and values + logits,                                     sampling
//!             one block's activations + logits )                            scoring
//! ```
//!
//! Where activations are recomputed ([`crate::recompute`]), a training step keeps the residual stream before
//! each block, and beside it once the head and then one block.
//!
//! Everything is f32: in bf16 only the inputs of a product are rounded, when it is computed. It is
//! meant as an upper bound that is not far off. Measured on the CPU with mimalloc (largest resident
//! memory, by `experiments measure`):
//!
//! | training step, one thread | measured | estimated |
//! |-|-|-|
//! | DPO, GPT-2 4 x 192, 64 pairs of 29 tokens | 323 MiB | 415 MiB |
//! | PPO on the same, minibatches of 128 | 387 MiB | 470 MiB |
//! | SFT on the same, 256 windows of 64 tokens | 1279 MiB | 1368 MiB |
//! | DPO, SmolLM2-135M's shape, 8 pairs of 29 tokens | 2805 MiB | 3102 MiB |
//! | SFT on the same, 8 windows of 64 tokens | 3234 MiB | 3769 MiB |
//! | SFT on the same, 6 windows of 256 tokens | 4504 MiB | 4953 MiB |
//! | the same, activations recomputed | 3140 MiB | 3528 MiB |
//! | SFT of adapters of rank 8 on the same, 12 windows of 256 tokens | 4267 MiB | 4419 MiB |
//! | the same, activations recomputed | 1067 MiB | 1265 MiB |
//! | DPO, GPT-2 small, 4 pairs of 29 tokens | 2697 MiB | 2718 MiB |
//! | PPO on the same, minibatches of 8 | 4760 MiB | 5373 MiB |

use crate::architecture::{DecoderConfig, EncoderConfig};
use crate::optimizer::OptimizerConfig;
use crate::recompute::Activations;

/// Bytes of a number.
const F32: u64 = 4;
/// What a process takes before it computes anything: on the CPU the program, its threads and
/// the allocator's pages...
const ON_HOST: u64 = 64 << 20;
/// ... and of a GPU the driver's context and the pages of the allocator.
const ON_GPU: u64 = 1 << 30;
/// One part in so many of what tensors take is lost to the allocator.
const ALLOCATOR: u64 = 8;
/// Most exponentials of logits that the CPU's kernel keeps for the backward pass; it makes more of them
/// again.
const KEPT_LOGITS: u64 = 1 << 25;
/// Logits that a thread of the CPU works on.
const LOGITS_OF_THREAD: u64 = 1 << 20;
/// Short sequences that are scored together, on the CPU and on a GPU.
const SCORED: [u64; 2] = [32, 1024];

/// The sizes of a model that its memory depends on, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Parameters.
    pub parameters: u64,
    /// Blocks.
    pub layers: u64,
    /// What a block keeps of each token for its backward pass.
    pub kept: u64,
    /// Keys and values of a token in a block.
    pub cached: u64,
    /// Entries of the output embedding: vocabulary and width; 0 of a model that predicts no tokens.
    pub head: [u64; 2],
}

impl From<&DecoderConfig> for Footprint {
    fn from(config: &DecoderConfig) -> Self {
        let shape = config.shape();
        let [width, layers, vocabulary] =
            [shape.width, shape.layers, shape.vocabulary].map(|number| number as u64);
        let (kept, cached) = match config {
            // Inputs of the norms (2), what they give (2), q k v (3), the attention's output (1), and the
            // MLP's inner width before and after GELU (8).
            DecoderConfig::Gpt2(_) => (16 * width, 2 * width),
            // One norm's input and what it gives, which attention and MLP share.
            DecoderConfig::GptJ(config) => (6 * width + 2 * config.n_inner as u64, 2 * width),
            // As GPT-2, but for fewer keys and an MLP of three matrices.
            DecoderConfig::Llama(config) => {
                let [queries, keys, head, inner] = [
                    config.num_attention_heads,
                    config.num_key_value_heads,
                    config.head_dim,
                    config.intermediate_size,
                ]
                .map(|number| number as u64);
                (4 * width + 2 * (queries + keys) * head + 3 * inner, 2 * keys * head)
            }
        };
        Self { parameters: config.parameters() as u64, layers, kept, cached, head: [vocabulary, width] }
    }
}

impl Footprint {
    /// Of an encoder with a head of so many labels.
    pub fn of_encoder(config: &EncoderConfig, labels: usize) -> Self {
        let [width, inner, layers] = [config.hidden_size, config.intermediate_size, config.num_hidden_layers]
            .map(|number| number as u64);
        // Inputs of the norms (2), what they give (2), q k v, the attention's output, and the inner width
        // twice.
        let kept = 8 * width + 2 * inner;
        Self { parameters: config.parameters(labels) as u64, layers, kept, cached: 0, head: [0, width] }
    }
}

/// Where tensors live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the machine's memory; so many threads score and sample side by side.
    Host {
        /// Threads.
        threads: usize,
    },
    /// In a GPU's memory.
    Gpu,
}

/// What a process takes at its peak, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    place: Place,
    activations: Activations,
    held: u64,
    passing: u64,
    largest: u64,
}

impl Memory {
    /// A process that has not computed anything yet.
    pub fn new(place: Place) -> Self {
        Self { place, activations: Activations::Kept, held: 0, passing: 0, largest: 0 }
    }

    /// The same with other care of the activations in the training steps that are counted after it.
    #[must_use]
    pub fn with_activations(self, activations: Activations) -> Self {
        Self { activations, ..self }
    }

    /// Bytes that stay.
    #[must_use]
    pub fn holding(mut self, bytes: u64) -> Self {
        self.held = self.held.saturating_add(bytes);
        self
    }

    /// Weights that do not train.
    #[must_use]
    pub fn frozen(self, model: Footprint) -> Self {
        self.with_tensor(bytes(&[model.head[0], model.head[1]])).holding(bytes(&[model.parameters]))
    }

    /// Parameters that train, beside those of a frozen model if they are an adapter's: weights and the
    /// optimiser's moments stay; gradients come with each step, and new weights when it ends.
    #[must_use]
    pub fn learning(self, parameters: u64, optimizer: &OptimizerConfig) -> Self {
        let moments = optimizer.algorithm.moments() as u64;
        self.holding(bytes(&[1 + moments, parameters])).passing(bytes(&[2, parameters]))
    }

    /// A training step on so many tokens, of which `targets` are predicted, with gradients of so many
    /// parameters.
    #[must_use]
    pub fn training_on(self, model: Footprint, parameters: u64, tokens: u64, targets: u64) -> Self {
        let [vocabulary, width] = model.head;
        let logits = match self.place {
            Place::Host { threads } => {
                let kept = targets.saturating_mul(vocabulary).min(KEPT_LOGITS);
                bytes(&[kept]).saturating_add(bytes(&[threads as u64, LOGITS_OF_THREAD.min(kept)]))
            }
            Place::Gpu => bytes(&[2, targets, vocabulary]),
        };
        // What a block passes back is about as much as it has kept, one block after another.
        let stages = model.layers.saturating_add(1);
        let activations = match self.activations {
            Activations::Kept => bytes(&[tokens, stages, model.kept]).saturating_add(logits),
            Activations::Recomputed => {
                bytes(&[tokens, stages, width]).saturating_add(logits.max(bytes(&[2, tokens, model.kept])))
            }
        };
        // An embedding that is tied to the head has a gradient from each of its ends.
        let embedding = bytes(&[vocabulary, width]);
        let all = [bytes(&[parameters]), activations, embedding].into_iter().fold(0, u64::saturating_add);
        self.with_tensor(bytes(&[targets, vocabulary])).passing(all)
    }

    /// Scoring sequences of so many tokens.
    #[must_use]
    pub fn scoring(self, model: Footprint, length: u64) -> Self {
        let [vocabulary, _] = model.head;
        // In a block about as much is there at once as is kept for a backward pass.
        let (at_once, sequences, logits) = match self.place {
            Place::Host { threads } => (threads as u64, SCORED[0], LOGITS_OF_THREAD),
            // Those of two models, for the KL between them.
            Place::Gpu => {
                (1, SCORED[1], SCORED[1].saturating_mul(length).saturating_mul(vocabulary).saturating_mul(2))
            }
        };
        let of_block = bytes(&[sequences, length, model.kept]);
        let logits = if vocabulary == 0 { 0 } else { bytes(&[logits]) };
        self.passing(of_block.saturating_add(logits).saturating_mul(at_once))
    }

    /// Sampling batches of so many sequences, prompt and response together up to `length` tokens.
    #[must_use]
    pub fn sampling(self, model: Footprint, batch: u64, length: u64) -> Self {
        let [vocabulary, _] = model.head;
        let at_once = match self.place {
            Place::Host { threads } => threads as u64,
            Place::Gpu => 1,
        };
        let cache = bytes(&[batch, length, model.layers, model.cached]);
        let step = bytes(&[batch, 2, vocabulary.saturating_add(model.kept)]);
        self.passing(cache.saturating_add(step).saturating_mul(at_once))
    }

    /// Bytes at the peak, with what an allocator keeps of pages that were freed.
    pub fn peak(&self) -> u64 {
        let process = match self.place {
            Place::Host { .. } => ON_HOST,
            Place::Gpu => ON_GPU,
        };
        let tensors = self.held.saturating_add(self.passing);
        process.saturating_add(tensors).saturating_add(tensors / ALLOCATOR)
    }

    /// Bytes of the largest tensor, which must fit into one buffer of a GPU.
    pub fn largest(&self) -> u64 {
        self.largest
    }

    /// Bytes that come and go, of which only the most counts.
    fn passing(mut self, bytes: u64) -> Self {
        self.passing = self.passing.max(bytes);
        self
    }

    fn with_tensor(mut self, bytes: u64) -> Self {
        self.largest = self.largest.max(bytes);
        self
    }
}

/// Bytes of so many numbers, the product of the factors.
fn bytes(factors: &[u64]) -> u64 {
    factors.iter().fold(F32, |product, &factor| product.saturating_mul(factor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::architecture::Shape;
    use crate::optimizer::{Algorithm, Decay, Schedule};

    fn optimizer(algorithm: Algorithm) -> OptimizerConfig {
        let schedule = Schedule { warmup_steps: 0, decay: Decay::Constant, floor: 1.0 };
        OptimizerConfig { algorithm, learning_rate: 1.0, schedule, max_grad_norm: 1.0 }
    }

    fn tiny() -> Footprint {
        let shape = Shape { vocabulary: 10, context: 4, width: 2, layers: 3, heads: 1 };
        Footprint::from(&DecoderConfig::gpt2(shape))
    }

    #[test]
    fn a_small_model_is_counted_by_hand() {
        let model = tiny();
        // 14 rows of embeddings, three blocks of 12 d² + 13 d, and the last norm.
        assert_eq!(model.parameters, 14 * 2 + 3 * (12 * 4 + 13 * 2) + 4);
        let n = model.parameters;
        let adamw = optimizer(Algorithm::Adamw { beta1: 0.9, beta2: 0.9, epsilon: 1.0, weight_decay: 0.0 });
        let memory = Memory::new(Place::Host { threads: 1 }).frozen(model).learning(n, &adamw);
        let held = 4 * (n + 3 * n);
        let peak = |bytes: u64| ON_HOST + bytes + bytes / ALLOCATOR;
        assert_eq!(memory.peak(), peak(held + 4 * 2 * n));
        // Five tokens, all of them predicted: 16 d a token in four blocks, two times the
        // logits, and the embedding.
        let step = 4 * (n + 5 * 4 * 32 + 2 * 5 * 10 + 20);
        assert!(step > 4 * 2 * n);
        assert_eq!(memory.training_on(model, n, 5, 5).peak(), peak(held + step));
        // The residual stream at four places, and then of one block what it keeps and passes back, 32 d a
        // token.
        let recomputed = memory.with_activations(Activations::Recomputed);
        let step = 4 * (n + 5 * 4 * 2 + 2 * 5 * 32 + 20);
        let updated = 4 * 2 * n;
        assert_eq!(recomputed.training_on(model, n, 5, 5).peak(), peak(held + step.max(updated)));
        let longer = 4 * (n + 50 * 4 * 2 + 2 * 50 * 32 + 20);
        assert!(longer > updated);
        assert_eq!(recomputed.training_on(model, n, 50, 50).peak(), peak(held + longer));
        // RMSprop remembers one number of each parameter.
        let rmsprop = optimizer(Algorithm::Rmsprop { alpha: 0.9, epsilon: 1.0 });
        let memory = Memory::new(Place::Gpu).frozen(model).learning(n, &rmsprop);
        let bytes = 4 * (n + 2 * n) + 4 * 2 * n;
        assert_eq!(memory.peak(), ON_GPU + bytes + bytes / ALLOCATOR);
        assert_eq!(memory.training_on(model, n, 50, 50).largest(), 4 * 50 * 10);
    }

    #[test]
    fn sizes_without_end_do_not_overflow() {
        let model = Footprint { parameters: u64::MAX, kept: u64::MAX, ..tiny() };
        let memory = Memory::new(Place::Gpu).frozen(model).training_on(model, u64::MAX, u64::MAX, u64::MAX);
        let again = memory.with_activations(Activations::Recomputed);
        assert_eq!(again.training_on(model, u64::MAX, u64::MAX, u64::MAX).peak(), u64::MAX);
        assert_eq!(memory.scoring(model, u64::MAX).sampling(model, u64::MAX, 2).peak(), u64::MAX);
    }
}
