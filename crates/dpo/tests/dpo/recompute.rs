//! Steps that compute their activations again are, to the bit, those that keep them.

use dpo::{DpoTrainer, OnlineDpoConfig};
use lm::Activations;

use crate::trainers::{repeats, ten_steps};
use crate::{online, trainer};

#[test]
fn offline() {
    let run = |activations| {
        let (config, pairs) = (trainer::config(10), trainer::pairs());
        let trainer = DpoTrainer::new(&trainer::reference(), pairs, config, 1).unwrap();
        ten_steps(trainer.accumulating(2.try_into().unwrap()).with_activations(activations))
    };
    assert!(!repeats() || run(Activations::Kept) == run(Activations::Recomputed));
}

#[test]
fn on_pairs_of_its_own() {
    let run = |activations| {
        let config = OnlineDpoConfig { steps: 10, ..online::config() };
        ten_steps(online::trainer(online::Table::new(), config).with_activations(activations))
    };
    assert!(!repeats() || run(Activations::Kept) == run(Activations::Recomputed));
}
