//! Opening a device, once in a process, and what follows from what it is.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use burn::backend::DispatchDevice;
use burn::tensor::{DType, Device};
use fused::Precision;

use super::drivers::{self, Answer, Facts, cores};
use super::spec::{Backend, DeviceSpec};
use crate::LmError;

/// A device that has answered.
#[derive(Clone, Debug)]
pub struct OpenDevice {
    /// The name that it was asked for by.
    pub spec: DeviceSpec,
    /// The device, without gradients; training code asks for `.autodiff()` where it needs them.
    pub device: Device,
    /// What is known of it.
    pub facts: Facts,
}

/// The answers of this process: a second attempt at a driver that failed may wait for ever.
static ANSWERS: Mutex<BTreeMap<(Backend, Option<usize>), Answer>> = Mutex::new(BTreeMap::new());

impl DeviceSpec {
    /// Opens the device, without gradients; training code asks for `.autodiff()` where it needs them.
    ///
    /// # Errors
    /// As [`DeviceSpec::describe`].
    pub fn open(self) -> Result<Device, LmError> {
        Ok(self.describe()?.device)
    }

    /// Opens the device and says what it is. A second call of a process gives the answer of the first. The
    /// precision holds for the whole process from here on.
    ///
    /// # Errors
    /// [`LmError::DeviceNotBuilt`] when this binary was built without the device's cargo
    /// feature, [`LmError::Device`] when there is no such device, its driver fails, or it cannot
    /// compute in the precision.
    pub fn describe(self) -> Result<OpenDevice, LmError> {
        let answer = {
            let mut answers = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (self.backend, self.index);
            answers.entry(key).or_insert_with(|| drivers::open(self.backend, self.index)).clone()
        };
        let (device, facts) = answer.map_err(|refusal| refusal.of(self))?;
        if self.precision == Precision::Bf16 && (self.is_cpu() || !device.supports_dtype(DType::BF16)) {
            return Err(LmError::Device {
                device: self.to_string(),
                found: format!("{}, which does not multiply in bf16", facts.name),
                expected: "--precision f32, or an NVIDIA GPU".to_owned(),
            });
        }
        // The CPU's kernels have one precision; opened beside a GPU it must not change that of the GPU.
        if !self.is_cpu() {
            fused::set_precision(self.precision);
        }
        Ok(OpenDevice { spec: self, device, facts })
    }
}

impl OpenDevice {
    /// The devices over which runs side by side are spread: every GPU where none was asked for by its
    /// index, or the one device.
    pub fn pool(&self) -> Vec<DeviceSpec> {
        match (self.spec.backend, self.spec.index) {
            (Backend::Cuda, None) => {
                (0..self.facts.count).map(|i| DeviceSpec { index: Some(i), ..self.spec }).collect()
            }
            _ => vec![self.spec],
        }
    }

    /// Runs side by side, each of which takes `bytes` of the device's memory: one per core on the CPU; on a
    /// GPU as many as keep it busy while each of them waits for its host thread, on each of
    /// [`OpenDevice::pool`]; fewer where memory is short.
    pub fn default_jobs(&self, bytes: u64) -> usize {
        /// A run leaves a GPU idle while its thread prepares kernels; more of them than this only queue.
        const RUNS_A_GPU: usize = 4;
        let cores = cores();
        let room = self.facts.memory.map_or(usize::MAX, |memory| (memory / bytes.max(1)) as usize);
        if self.spec.is_cpu() {
            return cores.min(room).max(1);
        }
        (RUNS_A_GPU.min(room).max(1) * self.pool().len()).min(cores)
    }
}

/// Whether tensors of this device are computed by the calling threads themselves. Work on any other device
/// goes through its queue, and must come from one thread: every further thread would open a stream of its
/// own, and each tensor that passes from one stream to another is waited for.
pub fn on_host(device: &Device) -> bool {
    let outer = device.as_dispatch();
    let inner: &DispatchDevice = if let DispatchDevice::Autodiff(inner) = outer { inner } else { outer };
    matches!(inner, DispatchDevice::Flex(_))
}

/// Decode steps between two looks at the tokens that were drawn. A look waits for the device,
/// which on the host costs nothing; on a GPU it stops the queue, so some tokens past a response's
/// end are drawn in vain instead.
pub(crate) fn steps_at_once(device: &Device) -> usize {
    if on_host(device) { 1 } else { 8 }
}

/// Rows that score together when no gradient is needed: on the CPU as many as stay in its cache, on a GPU as
/// many as fill it, if their logits fit into one buffer.
pub fn score_rows(device: &Device) -> usize {
    const ON_HOST: usize = 32;
    const ON_GPU: usize = 1024;
    /// Logits of a row of 64 tokens over a vocabulary of 4096.
    const ROW_BYTES: u64 = 64 * 4096 * 4;
    if on_host(device) {
        return ON_HOST;
    }
    let answers = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
    let facts = answers.values().flatten().find(|(open, _)| open == device).map(|(_, facts)| facts);
    let largest = facts.and_then(|facts| facts.largest_buffer);
    largest.map_or(ON_GPU, |bytes| ((bytes / ROW_BYTES) as usize).clamp(ON_HOST, ON_GPU))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(spec: DeviceSpec, memory: Option<u64>, count: usize) -> OpenDevice {
        let facts = Facts {
            name: String::new(),
            driver: String::new(),
            software: false,
            memory,
            largest_buffer: None,
            count,
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "a stand-in for a device that this machine may not have"
        )]
        OpenDevice { spec, device: Device::flex(), facts }
    }

    #[test]
    fn runs_are_spread_over_all_gpus_unless_one_is_named() {
        let all = open(DeviceSpec::new(Backend::Cuda, None).with_precision(Precision::Bf16), None, 3);
        let names: Vec<String> = all.pool().iter().map(DeviceSpec::to_string).collect();
        assert_eq!(names, ["cuda:0", "cuda:1", "cuda:2"]);
        assert!(all.pool().iter().all(|spec| spec.precision == Precision::Bf16));
        let second = DeviceSpec::new(Backend::Cuda, Some(1));
        assert_eq!(open(second, None, 3).pool(), [second]);
        assert_eq!(open(DeviceSpec::CPU, None, 1).pool(), [DeviceSpec::CPU]);
    }

    #[test]
    fn jobs_follow_cores_gpus_and_memory() {
        let gpu = DeviceSpec::new(Backend::Cuda, None);
        assert_eq!(open(DeviceSpec::CPU, Some(1 << 40), 1).default_jobs(1 << 30), cores());
        assert_eq!(open(DeviceSpec::CPU, Some(3 << 30), 1).default_jobs(2 << 30), 1);
        assert_eq!(open(DeviceSpec::CPU, Some(1), 1).default_jobs(1 << 30), 1);
        assert_eq!(open(gpu, Some(80 << 30), 1).default_jobs(1 << 30), cores().min(4));
        assert_eq!(open(gpu, Some(80 << 30), 2).default_jobs(1 << 30), cores().min(8));
        // One run that is too large is better tried than none.
        assert_eq!(open(gpu, Some(8 << 30), 1).default_jobs(16 << 30), 1);
        assert_eq!(open(gpu, Some(24 << 30), 1).default_jobs(16 << 30), 1);
    }
}
