//! One step of DPO on random pairs, and a whole run on a model and preference pairs from files.
//!
//! `cargo bench --profile dev --workspace --bench dpo -- dpo shape=4x192/4096 pairs=64 prompt=6 response=24`
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark may panic")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use dpo::{DpoConfig, DpoTrainer, Loss};
use lm::optimizer::{Algorithm, Decay, Schedule};
use lm::{
    DeviceSpec, Gpt2, Gpt2Config, OptimizerConfig, Policy, PreferencePair, ReferencePolicy, Stream,
    Tokenizer, Trainer,
};
use measure::{Case, Shape};
use rand::RngExt;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    lm::device::host(|| {
        measure::run(&["dpo shape=4x192/4096 pairs=64 prompt=6 response=24"], |case| match case.name() {
            "dpo" => step(case),
            "trainer" => trainer(case),
            other => panic!("found the case `{other}`, expected dpo or trainer"),
        });
    });
}

fn config(beta: f64, batch_size: usize, steps: usize, learning_rate: f64) -> DpoConfig {
    DpoConfig {
        loss: Loss::Sigmoid { label_smoothing: 0.0 },
        beta,
        batch_size,
        steps,
        optimizer: OptimizerConfig {
            algorithm: Algorithm::Rmsprop { alpha: 0.99, epsilon: 1e-8 },
            learning_rate,
            schedule: Schedule { warmup_steps: 0, decay: Decay::Constant, floor: 1.0 },
            max_grad_norm: 10.0,
        },
    }
}

/// One step on pairs that share no response.
fn step(case: &Case) {
    let shape: Shape = case.get("shape");
    let (pairs, prompt, response): (usize, usize, usize) =
        (case.get("pairs"), case.get("prompt"), case.get("response"));
    let shape_config = Gpt2Config {
        vocab_size: shape.vocab,
        n_positions: prompt + response,
        n_embd: shape.width,
        n_layer: shape.layers,
        n_head: shape.heads(),
        layer_norm_epsilon: 1e-5,
    };
    let device = DeviceSpec::CPU.open().unwrap();
    let model = Gpt2::init(&shape_config, Stream::new(0, "bench"), &device).unwrap();
    let reference = ReferencePolicy::new(&Policy::new(model, 1.0, 0).unwrap());
    let mut rng = Stream::new(1, "bench").rng();
    let mut tokens =
        |length: usize| (0..length).map(|_| rng.random_range(1..shape.vocab as u32)).collect::<Vec<u32>>();
    let drawn = (0..pairs)
        .map(|_| PreferencePair {
            prompt: tokens(prompt),
            chosen: tokens(response),
            rejected: tokens(response),
        })
        .collect();
    let mut trainer = DpoTrainer::new(&reference, drawn, config(0.1, pairs, 1000, 1e-6), 0).unwrap();
    case.measure(2 * pairs * (prompt + response), || {
        trainer.step().unwrap();
    });
}

/// `steps` steps from a checkpoint on a file of pairs, the reference's log-probs of all pairs included, as a user of the
/// library runs it. Tokens count every pair as if nothing were shared, prompts included.
fn trainer(case: &Case) {
    let (model, pairs): (PathBuf, PathBuf) = (case.get("model"), case.get("pairs"));
    let (steps, batch): (usize, usize) = (case.get("steps"), case.get("batch"));
    let (policy, tokenizer) =
        lm::checkpoint::load_policy(&model, 1.0, &DeviceSpec::CPU.open().unwrap()).unwrap();
    let pairs = read(&pairs, &tokenizer, steps * batch);
    let tokens = pairs.iter().map(|p| 2 * p.prompt.len() + p.chosen.len() + p.rejected.len()).sum();
    let config = config(case.get("beta"), batch, steps, case.get("lr"));
    let start = Instant::now();
    let mut trainer = DpoTrainer::new(&ReferencePolicy::new(&policy), pairs, config, 0).unwrap();
    for _ in 0..steps {
        trainer.step().unwrap();
    }
    case.report(tokens, start.elapsed().as_secs_f64(), steps);
}

/// The first `count` pairs of a file with the columns of TRL.
fn read(path: &Path, tokenizer: &Tokenizer, count: usize) -> Vec<PreferencePair> {
    let text = std::fs::read_to_string(path).unwrap();
    let field = |row: &serde_json::Value, key: &str| tokenizer.encode(row[key].as_str().unwrap()).unwrap();
    text.lines()
        .take(count)
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let end = tokenizer.end();
            let prompt = [vec![end], field(&row, "prompt")].concat();
            PreferencePair { prompt, chosen: field(&row, "chosen"), rejected: field(&row, "rejected") }
        })
        .collect()
}
