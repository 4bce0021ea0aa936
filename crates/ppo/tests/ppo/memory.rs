//! Memory that an iteration takes.

use lm::Trainer;
use ppo::PpoConfig;

use crate::tiny;
use crate::trainer::{metric, trainer};
use crate::trainers;

/// Bytes of this process in memory, where the system tells.
fn resident() -> Option<usize> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(pages.split(' ').nth(1)?.parse::<usize>().ok()? * 4096)
}

/// A graph that is not walked back stays until the next one is. Where a skipped minibatch left its own, the
/// 399 of this iteration took 320 MB.
#[test]
fn skipped_minibatches_leave_no_graph() {
    let (Some(before), true) = (resident(), lm::device::on_host(&trainers::device())) else { return };
    let config = PpoConfig {
        minibatch_size: 64,
        ratio_guard: 1.0001,
        ppo_epochs: 400,
        policy_optimizer: tiny::adam(0.05, lm::optimizer::Decay::Constant, 1.0),
        ..tiny::config()
    };
    let metrics = trainer(config).step().unwrap();
    assert_eq!(metric(&metrics, "policy/skipped_minibatches"), 399.0);
    // Other tests run beside this one and take a few MB each.
    let grown = resident().unwrap().saturating_sub(before) / 1_000_000;
    assert!(grown < 120, "{grown} MB more");
}
