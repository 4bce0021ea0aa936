//! Steps that compute their activations again are, to the bit, those that keep them.

use lm::Activations;
use reward_model::{RewardModelConfig, RewardModelTrainer};

use crate::trainers::{repeats, ten_steps};
use crate::training::{config, pairs, policy};

#[test]
fn scores_are_trained_the_same() {
    let run = |activations| {
        let (data, config) = (pairs(40, 0.2, "train"), RewardModelConfig { batch_prompts: 4, ..config(10) });
        let trainer = RewardModelTrainer::new(&policy(), data.clone(), &data, config, 1).unwrap();
        ten_steps(trainer.accumulating(2.try_into().unwrap()).with_activations(activations))
    };
    assert!(!repeats() || run(Activations::Kept) == run(Activations::Recomputed));
}
