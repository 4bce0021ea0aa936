//! The only file that constructs a burn [`Device`].

use std::fmt;
use std::str::FromStr;

use burn::tensor::Device;
pub use fused::host;

use crate::LmError;

/// Where tensors live. `Cpu` is always there; the others are cargo features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// burn-flex on the host's cores.
    Cpu,
    /// Any GPU through WebGPU (feature `wgpu`).
    Wgpu,
    /// An NVIDIA GPU (feature `cuda`).
    Cuda,
    /// libtorch on the CPU (feature `tch`).
    Tch,
}

impl DeviceKind {
    /// Every kind, in the order in which the help text names them.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Wgpu, Self::Cuda, Self::Tch];

    /// The name used on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
            Self::Tch => "tch",
        }
    }

    /// Opens the device, without gradients; training code asks for `.autodiff()` where it needs them.
    ///
    /// # Errors
    /// [`LmError::DeviceNotBuilt`] when this binary was built without the device's cargo feature.
    #[allow(clippy::disallowed_methods, reason = "this is the one place that opens devices")]
    pub fn open(self) -> Result<Device, LmError> {
        match self {
            Self::Cpu => Ok(Device::flex()),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
            #[cfg(feature = "cuda")]
            Self::Cuda => Ok(Device::cuda(0)),
            #[cfg(feature = "tch")]
            #[expect(deprecated, reason = "burn-tch is deprecated upstream, and still the way to libtorch")]
            Self::Tch => Ok(Device::libtorch()),
            #[cfg(not(feature = "wgpu"))]
            Self::Wgpu => Err(LmError::DeviceNotBuilt {
                device: "wgpu",
                build: "cargo run -p experiments --features wgpu -- ...",
            }),
            #[cfg(not(feature = "cuda"))]
            Self::Cuda => Err(LmError::DeviceNotBuilt {
                device: "cuda",
                build: "cargo run -p experiments --features cuda -- ...",
            }),
            #[cfg(not(feature = "tch"))]
            Self::Tch => Err(LmError::DeviceNotBuilt {
                device: "tch",
                build: "LIBTORCH_USE_PYTORCH=1 cargo run -p experiments --features tch -- ...",
            }),
        }
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DeviceKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .ok_or_else(|| format!("found `{name}`, expected cpu, wgpu, cuda or tch"))
    }
}
