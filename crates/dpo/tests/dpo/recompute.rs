//! Steps that compute their activations again are, to the bit, those that keep them.

use dpo::{DpoTrainer, OnlineDpoConfig};
use lm::{Activations, State, Trainer};

use crate::device::device;
use crate::{online, trainer};

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
