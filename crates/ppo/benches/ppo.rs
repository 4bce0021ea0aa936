//! A run of PPO from a checkpoint, with prompts from a file of preference pairs.
//!
//! `cargo bench --profile dev --workspace --bench ppo -- trainer model=DIR pairs=FILE steps=5 rollouts=128 minibatch=64 response=24`
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark may panic")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use lm::optimizer::{Algorithm, Decay, Schedule};
use lm::{DeviceSpec, OptimizerConfig, ReferencePolicy, Sampling, ScalarModel, Trainer};
use measure::Case;
use ppo::{KlControl, PpoConfig, PpoTrainer, ScoreNormalization};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    lm::device::host(|| {
        measure::run(&[], |case| match case.name() {
            "trainer" => trainer(case),
            other => panic!("found the case `{other}`, expected trainer"),
        });
    });
}

fn config(case: &Case) -> PpoConfig {
    let optimizer = OptimizerConfig {
        algorithm: Algorithm::Adamw { beta1: 0.9, beta2: 0.95, epsilon: 1e-5, weight_decay: 0.0 },
        learning_rate: 1e-5,
        schedule: Schedule { warmup_steps: 0, decay: Decay::Constant, floor: 1.0 },
        max_grad_norm: 1.0,
    };
    let rollouts: usize = case.get("rollouts");
    PpoConfig {
        steps: case.get("steps"),
        rollouts,
        samples_per_prompt: 1,
        sampling: Sampling { max_new_tokens: case.get("response"), batch_size: rollouts },
        ppo_epochs: 1,
        minibatch_size: case.get("minibatch"),
        kl: KlControl::Fixed { kl_coef: 0.05 },
        gamma: 1.0,
        gae_lambda: 0.95,
        clip_range: 0.2,
        value_clip_range: 0.2,
        scale_rewards: false,
        missing_end_penalty: 0.0,
        ratio_guard: 10.0,
        policy_optimizer: optimizer.clone(),
        value_optimizer: optimizer,
    }
}

/// `steps` iterations with a reward model and a value model of the policy's shape; tokens are those of the responses.
fn trainer(case: &Case) {
    let (model, pairs): (PathBuf, PathBuf) = (case.get("model"), case.get("pairs"));
    let (policy, tokenizer) =
        lm::checkpoint::load_policy(&model, 1.0, &DeviceSpec::CPU.open().unwrap()).unwrap();
    let text = std::fs::read_to_string(pairs).unwrap();
    let prompt = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        [vec![tokenizer.end()], tokenizer.encode(row["prompt"].as_str().unwrap()).unwrap()].concat()
    };
    let mut prompts: Vec<Vec<u32>> = text.lines().map(prompt).collect();
    prompts.dedup();
    let config = config(case);
    let (steps, response) = (config.steps, config.rollouts * config.sampling.max_new_tokens);
    let start = Instant::now();
    let mut trainer = PpoTrainer::new(
        &ReferencePolicy::new(&policy),
        policy.model().clone(),
        prompts,
        Arc::new(ScalarModel::with_zero_head(policy.model().clone())),
        ScoreNormalization::IDENTITY,
        config,
        0,
    )
    .unwrap();
    for _ in 0..steps {
        trainer.step().unwrap();
    }
    case.report(steps * response, start.elapsed().as_secs_f64(), steps);
}
