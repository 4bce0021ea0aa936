//! Where the kernels run: on which devices, and whether they are switched on.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::backend::DispatchDevice;
use burn::tensor::Device;

static ENABLED: OnceLock<AtomicBool> = OnceLock::new();

fn switch() -> &'static AtomicBool {
    ENABLED.get_or_init(|| AtomicBool::new(std::env::var_os("FUSED").is_none_or(|v| v != "0")))
}

/// Switches the kernels on or off for the whole process.
///
/// They start switched on unless the environment variable `FUSED` is `0`.
pub fn set_enabled(enabled: bool) {
    switch().store(enabled, Ordering::Relaxed);
}

/// Whether operations on this device run the fused kernels: the device is the CPU (flex) or a GPU (Cube),
/// with or without autodiff, and the kernels are switched on.
pub fn is_fused(device: &Device) -> bool {
    (is_flex(device) || is_cube(device)) && switch().load(Ordering::Relaxed)
}

/// Whether operations on this device run the kernels of the CPU.
pub(crate) fn is_fused_on_host(device: &Device) -> bool {
    is_flex(device) && is_fused(device)
}

fn is_flex(device: &Device) -> bool {
    matches!(without_gradients(device), DispatchDevice::Flex(_))
}

#[cfg(feature = "cube")]
pub(crate) fn is_cube(device: &Device) -> bool {
    matches!(without_gradients(device), DispatchDevice::Cube(_))
}

#[cfg(not(feature = "cube"))]
pub(crate) fn is_cube(_: &Device) -> bool {
    false
}

fn without_gradients(device: &Device) -> &DispatchDevice {
    let device = device.as_dispatch();
    if let DispatchDevice::Autodiff(inner) = device { inner } else { device }
}
