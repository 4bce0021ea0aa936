//! What the tests of every crate with a trainer need; each takes this file by its path.

use burn::tensor::Device;
use lm::{DeviceSpec, State, Trainer};

/// The device that the environment variable `DEVICE` names, by default the CPU, without gradients.
pub(crate) fn device() -> Device {
    std::env::var("DEVICE").map_or(DeviceSpec::CPU, |name| name.parse().unwrap()).open().unwrap()
}

/// Whether device and kernels repeat to the bit; a GPU adds gradients of a table's row up in any order.
pub(crate) fn repeats() -> bool {
    lm::device::on_host(&device())
}

/// Ten steps: their metrics, bit by bit, and all that a checkpoint would keep, weights and moments included.
pub(crate) fn ten_steps(mut trainer: impl Trainer) -> (Vec<(&'static str, u64)>, State) {
    let steps = (0..10).flat_map(|_| trainer.step().unwrap());
    let metrics = steps.map(|(name, value)| (name, value.to_bits())).collect();
    let mut state = State::new();
    trainer.save(&mut state);
    (metrics, state)
}
