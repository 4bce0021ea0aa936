//! The numbers of the trainers that are timed. None of them changes the work of a step.

use dpo::{DpoConfig, Loss};
use lm::optimizer::{Algorithm, Decay, Schedule};
use lm::sft::SftConfig;
use lm::{OptimizerConfig, Sampling};
use measure::{Case, CaseError};
use ppo::{KlControl, PpoConfig};

fn optimizer(algorithm: Algorithm, learning_rate: f64, max_grad_norm: f64) -> OptimizerConfig {
    let schedule = Schedule { warmup_steps: 0, decay: Decay::Constant, floor: 1.0 };
    OptimizerConfig { algorithm, learning_rate, schedule, max_grad_norm }
}

/// Supervised fine-tuning with AdamW.
pub fn sft(batch_size: usize) -> SftConfig {
    let algorithm = Algorithm::Adamw { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 };
    SftConfig { steps: 1000, batch_size, optimizer: optimizer(algorithm, 1e-4, 1.0) }
}

/// DPO with RMSprop, on prompts of one pair each.
pub fn dpo(beta: f64, batch_prompts: usize, steps: usize, learning_rate: f64) -> DpoConfig {
    let algorithm = Algorithm::Rmsprop { alpha: 0.99, epsilon: 1e-8 };
    DpoConfig {
        loss: Loss::Sigmoid { label_smoothing: 0.0 },
        beta,
        batch_prompts,
        steps,
        optimizer: optimizer(algorithm, learning_rate, 10.0),
    }
}

/// PPO with AdamW and one epoch of minibatches an iteration, by the keys `rollouts`,
/// `minibatch` and `response`.
pub fn ppo(case: &Case, steps: usize) -> Result<PpoConfig, CaseError> {
    let (rollouts, minibatch_size) = (case.count("rollouts")?, case.count("minibatch")?);
    if !rollouts.is_multiple_of(minibatch_size) {
        return Err(case.refuse("minibatch", format!("expected a divisor of rollouts={rollouts}")));
    }
    let algorithm = Algorithm::Adamw { beta1: 0.9, beta2: 0.95, epsilon: 1e-5, weight_decay: 0.0 };
    let optimizer = optimizer(algorithm, 1e-5, 1.0);
    Ok(PpoConfig {
        steps,
        rollouts,
        samples_per_prompt: 1,
        sampling: Sampling { max_new_tokens: case.count("response")?, batch_size: rollouts },
        value_warmup: 0,
        ppo_epochs: 1,
        value_epochs: 0,
        minibatch_size,
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
    })
}
