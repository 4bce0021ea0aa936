//! The device that tests run on.

use burn::tensor::Device;
use lm::DeviceSpec;

/// The device that the environment variable `DEVICE` names, by default the CPU, without gradients.
pub(crate) fn device() -> Device {
    std::env::var("DEVICE").map_or(DeviceSpec::CPU, |name| name.parse().unwrap()).open().unwrap()
}
