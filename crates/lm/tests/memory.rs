//! What trainings hold, in bytes of the heap, counted by the allocator of this process, which has no other
//! test.
//!
//! burn keeps a record of every parameter that may get gradients until the next backward pass in the process,
//! of whatever graph, finds it unused. So a trainer that is dropped, or takes over a state, leaves its
//! records until some trainer steps.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::alloc::System;

use cap::Cap;
use lm::architecture::{Gpt2Activation, Gpt2Config};
use lm::optimizer::{Algorithm, Decay, Schedule};
use lm::sft::{Corpus, SftConfig, SftTrainer};
use lm::{Decoder, DecoderConfig, DeviceSpec, OptimizerConfig, Policy, Sequence, State, Stream, Trainer};

#[global_allocator]
static HEAP: Cap<System> = Cap::new(System, usize::MAX);

/// Tables of the allocator's users may have grown by so much.
const SLACK: usize = 32 << 10;

fn policy() -> Policy {
    let config = DecoderConfig::Gpt2(Gpt2Config {
        vocab_size: 8,
        n_positions: 8,
        n_embd: 4,
        n_layer: 1,
        n_head: 2,
        layer_norm_epsilon: 1e-5,
        activation_function: Gpt2Activation::GeluNew,
    });
    let device = DeviceSpec::CPU.open().unwrap();
    Policy::new(Decoder::random(&config, Stream::new(1, "test"), &device).unwrap(), 1.0, 0).unwrap()
}

fn trainer(policy: &Policy) -> SftTrainer {
    let algorithm = Algorithm::Adamw { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.0 };
    let schedule = Schedule { warmup_steps: 0, decay: Decay::Constant, floor: 1.0 };
    let optimizer = OptimizerConfig { algorithm, learning_rate: 1e-3, schedule, max_grad_norm: 1.0 };
    let config = SftConfig { steps: 2000, batch_size: 2, optimizer };
    let corpus = Corpus::Responses(vec![Sequence { prompt: vec![0], response: vec![3, 4] }; 3]);
    SftTrainer::new(policy, corpus, &config, 1).unwrap()
}

fn steps(trainer: &mut SftTrainer, count: usize) {
    for _ in 0..count {
        trainer.step().unwrap();
    }
}

#[test]
fn trainings_hold_what_they_need_and_no_more() {
    let policy = policy();
    let mut training = trainer(&policy);
    steps(&mut training, 20);
    let mut state = State::new();
    training.save(&mut state);

    let before = HEAP.allocated();
    let grown = || HEAP.allocated().saturating_sub(before);
    steps(&mut training, 1000);
    assert!(grown() < SLACK, "{} bytes more after 1000 steps", grown());

    // Checkpoints and evaluations between steps.
    for _ in 0..50 {
        training.save(&mut State::new());
        drop(lm::PolicyTrainer::policy(&training));
    }
    steps(&mut training, 1);
    assert!(grown() < SLACK, "{} bytes more after 50 checkpoints", grown());

    for _ in 0..200 {
        trainer(&policy).restore(&state).unwrap();
    }
    let given_up = grown();
    steps(&mut training, 1);
    assert!(grown() < SLACK, "{} of {given_up} bytes are left of trainers that were dropped", grown());
}
