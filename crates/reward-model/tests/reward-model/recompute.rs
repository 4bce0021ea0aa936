//! Steps that compute their activations again are, to the bit, those that keep them.

use lm::{Activations, State, Trainer};
use reward_model::{RewardModelConfig, RewardModelTrainer};

use crate::device::device;
use crate::training::{config, pairs, policy};

/// Ten steps: their metrics, bit by bit, and all that a checkpoint would keep, weights and moments included.
fn ten_steps(mut trainer: impl Trainer) -> (Vec<(&'static str, u64)>, State) {
    let steps = (0..10).flat_map(|_| trainer.step().unwrap());
    let metrics = steps.map(|(name, value)| (name, value.to_bits())).collect();
    let mut state = State::new();
    trainer.save(&mut state);
    (metrics, state)
}

/// Whether device and kernels repeat to the bit; a GPU adds gradients of a table's row up in any order.
fn repeats() -> bool {
    lm::device::on_host(&device())
}

#[test]
fn scores_are_trained_the_same() {
    let run = |activations| {
        let (data, config) = (pairs(40, 0.2, "train"), RewardModelConfig { batch_size: 4, ..config(10) });
        let trainer = RewardModelTrainer::new(&policy(), data.clone(), &data, config, 1).unwrap();
        ten_steps(trainer.accumulating(2.try_into().unwrap()).with_activations(activations))
    };
    assert!(!repeats() || run(Activations::Kept) == run(Activations::Recomputed));
}
