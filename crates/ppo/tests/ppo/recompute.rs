//! Steps that compute their activations again are, to the bit, those that keep them.

use std::sync::Arc;

use lm::Activations;
use ppo::{PpoConfig, PpoTrainer};

use crate::trainer::{Threes, VOCAB, prompts};
use crate::trainers::{repeats, ten_steps};
use crate::{rloo, tiny, trainer};

/// Policy and value model, by two epochs of which the guard skips minibatches.
#[test]
fn policy_and_value_model_are_trained_the_same() {
    let run = |activations| {
        let config = PpoConfig { ratio_guard: 1.05, ..tiny::config() };
        ten_steps(trainer::trainer(config).with_activations(activations))
    };
    if repeats() {
        let (kept, recomputed) = (run(Activations::Kept), run(Activations::Recomputed));
        assert!(kept == recomputed);
        let skipped = kept.0.iter().filter(|(name, _)| *name == "policy/skipped_minibatches");
        assert!(skipped.map(|(_, bits)| f64::from_bits(*bits)).sum::<f64>() > 0.0);
    }
}

#[test]
fn with_an_output_embedding_of_its_own_too() {
    let run = |activations| {
        let (reference, value_model) = tiny::llamas(VOCAB, 12, [1, 2]);
        let (scorer, config) = (Arc::new(Threes), tiny::config());
        let trainer = PpoTrainer::new(&reference, &value_model, prompts(), scorer, config, 11).unwrap();
        ten_steps(trainer.with_activations(activations))
    };
    assert!(!repeats() || run(Activations::Kept) == run(Activations::Recomputed));
}

#[test]
fn rloo_is_the_same() {
    let run = |activations| {
        ten_steps(rloo::trainer(Arc::new(Threes), rloo::config()).with_activations(activations))
    };
    assert!(!repeats() || run(Activations::Kept) == run(Activations::Recomputed));
}
