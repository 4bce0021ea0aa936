//! Training, scoring and sampling of the language model, on random tokens.
//!
//! `cargo bench --profile dev --workspace --bench language_model -- train shape=4x192/4096 context=64 batch=32`
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark may panic")]

use lm::optimizer::{Algorithm, Decay, Schedule};
use lm::sft::{Corpus, SftConfig, SftTrainer};
use lm::{DeviceSpec, Gpt2, Gpt2Config, OptimizerConfig, Policy, Sampling, Sequence, Stream, Trainer};
use measure::{Case, Shape};
use rand::RngExt;

// As in the other benches and the binary: measure what runs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    lm::device::host(|| {
        measure::run(
            &[
                "train shape=4x128/4096 context=64 batch=32",
                "train shape=4x192/4096 context=64 batch=32",
                "score shape=4x192/4096 context=64 batch=32",
                "sample shape=4x192/4096 batch=64 prompt=8 new=48",
            ],
            |case| match case.name() {
                "train" => train(case),
                "score" => score(case),
                "sample" => sample(case),
                other => panic!("found the case `{other}`, expected train, score or sample"),
            },
        );
    });
}

/// A policy whose end token is never drawn in practice: id 0 of a random model.
fn policy(case: &Case, n_positions: usize) -> Policy {
    let shape: Shape = case.get("shape");
    let config = Gpt2Config {
        vocab_size: shape.vocab,
        n_positions,
        n_embd: shape.width,
        n_layer: shape.layers,
        n_head: shape.heads(),
        layer_norm_epsilon: 1e-5,
    };
    let device = DeviceSpec::CPU.open().unwrap();
    let model = Gpt2::init(&config, Stream::new(0, "bench"), &device).unwrap();
    Policy::new(model, 1.0, 0).unwrap()
}

/// Sequences of one prompt token and `response` random ones.
fn sequences(case: &Case, count: usize, response: usize) -> Vec<Sequence> {
    let shape: Shape = case.get("shape");
    let mut rng = Stream::new(1, "bench").rng();
    let mut tokens =
        |length: usize| (0..length).map(|_| rng.random_range(1..shape.vocab as u32)).collect::<Vec<u32>>();
    (0..count).map(|_| Sequence { prompt: tokens(1), response: tokens(response) }).collect()
}

/// One step of supervised fine-tuning: forward, backward, clipping, AdamW.
fn train(case: &Case) {
    let (context, batch): (usize, usize) = (case.get("context"), case.get("batch"));
    let config = SftConfig {
        steps: 1000,
        batch_size: batch,
        optimizer: OptimizerConfig {
            algorithm: Algorithm::Adamw { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 },
            learning_rate: 1e-4,
            schedule: Schedule { warmup_steps: 0, decay: Decay::Constant, floor: 1.0 },
            max_grad_norm: 1.0,
        },
    };
    let corpus = Corpus::Responses(sequences(case, 4 * batch, context));
    let mut trainer = SftTrainer::new(&policy(case, context + 1), corpus, &config, 0).unwrap();
    case.measure(batch * context, || {
        trainer.step().unwrap();
    });
}

/// Log-probabilities without gradients.
fn score(case: &Case) {
    let (context, batch): (usize, usize) = (case.get("context"), case.get("batch"));
    let (policy, sequences) = (policy(case, context + 1), sequences(case, batch, context));
    case.measure(batch * context, || {
        policy.score(&sequences).unwrap();
    });
}

/// Ancestral sampling with the cache; rows that draw the end token, one in thousands, leave early.
fn sample(case: &Case) {
    let (batch, prompt, new): (usize, usize, usize) =
        (case.get("batch"), case.get("prompt"), case.get("new"));
    let policy = policy(case, prompt + new);
    let prompts: Vec<Vec<u32>> = sequences(case, batch, prompt).into_iter().map(|s| s.response).collect();
    let sampling = Sampling { max_new_tokens: new, batch_size: batch };
    let stream = Stream::new(2, "bench");
    case.measure(batch * new, || {
        policy.generate(&prompts, &sampling, stream).unwrap();
    });
}
