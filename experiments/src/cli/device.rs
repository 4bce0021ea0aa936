//! Where commands compute.

use clap::Args;
use lm::device::Precision;
use lm::{DeviceChoice, LmError, OpenDevice};

/// What every command that computes with tensors takes.
#[derive(Debug, Clone, Args)]
pub struct DeviceOptions {
    /// Where tensors live: auto, cpu, wgpu[:i], cuda[:i] or tch[:cpu|cuda:i].
    ///
    /// All but cpu take a binary built with that cargo feature. auto is the fastest that is built in, works,
    /// and is worth it for the size of the model.
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    pub device: DeviceChoice,
    /// What matrix products compute in: f32, or bf16 on a GPU that has it.
    #[arg(long, default_value_t = Precision::F32)]
    pub precision: Precision,
}

impl DeviceOptions {
    /// Opens the device for a model of so many parameters.
    pub fn open(&self, parameters: usize) -> Result<OpenDevice, LmError> {
        self.device.open(self.precision, parameters)
    }
}
