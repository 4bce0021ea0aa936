//! `--device auto`.

use fused::Precision;

use super::open::OpenDevice;
use super::spec::{Backend, DeviceChoice, DeviceSpec};
use crate::LmError;

/// Parameters below which the host's cores are faster than any GPU: a training step is then a few hundred
/// kernels of a few microseconds each, whatever they compute.
const WORTH_A_GPU: usize = 300_000;

/// GPUs from the fastest to the slowest. libtorch is left out: burn is about to drop it.
const GPUS: [Backend; 2] = [Backend::Cuda, Backend::Wgpu];

impl DeviceChoice {
    /// Opens the device. `auto` takes the fastest that is built in and opens for a model of so
    /// many parameters, and says which and why; a software adapter is slower than the CPU's own
    /// kernels and never taken.
    ///
    /// # Errors
    /// As [`DeviceSpec::describe`].
    pub fn open(self, precision: Precision, parameters: usize) -> Result<OpenDevice, LmError> {
        match self {
            Self::Named(spec) => spec.with_precision(precision).describe(),
            Self::Auto => auto(precision, parameters),
        }
    }
}

fn auto(precision: Precision, parameters: usize) -> Result<OpenDevice, LmError> {
    let cpu = DeviceSpec::CPU.with_precision(precision);
    let built: Vec<Backend> = GPUS.into_iter().filter(|gpu| gpu.built()).collect();
    // With nothing to choose from there is nothing to say.
    if built.is_empty() {
        return cpu.describe();
    }
    let mut reasons = Vec::new();
    if parameters < WORTH_A_GPU && precision == Precision::F32 {
        reasons.push(format!("{parameters} parameters are too few for a GPU to be faster"));
    } else {
        for backend in built {
            let gpu = DeviceSpec::new(backend, None).with_precision(precision);
            match gpu.describe() {
                Ok(open) if open.facts.software => {
                    reasons.push(format!("{gpu} is {}, which computes on the CPU itself", open.facts.name));
                }
                Ok(open) => {
                    tracing::info!("device {gpu}: {} is built in and works", open.facts.name);
                    return Ok(open);
                }
                Err(LmError::Device { device, found, .. }) => reasons.push(format!("{device}: {found}")),
                Err(error) => reasons.push(error.to_string()),
            }
        }
    }
    tracing::info!("device cpu: {}", reasons.join("; "));
    cpu.describe()
}
