//! The self-check of a device against the CPU.

mod case;
pub mod checks;
mod encoder;
mod gptj;
mod llama;
mod model;
mod operations;
mod sampling;
mod training;

use anyhow::{Result, anyhow};
use lm::OpenDevice;

use super::lines::Lines;
use checks::{Check, Checks};

/// All checks whose name contains `only`.
pub fn all(open: &OpenDevice, only: &str, lines: &Lines) -> Result<Vec<Check>> {
    let mut checks = Checks::new(open, only, lines)?;
    operations::check(&mut checks)?;
    sampling::check(&mut checks)?;
    training::check(&mut checks)?;
    let done = checks.done();
    if done.is_empty() {
        return Err(anyhow!("--only {only}: no check has that in its name"));
    }
    Ok(done)
}
