//! Devices by name.

use std::fmt;
use std::str::FromStr;

use fused::Precision;

/// What computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Backend {
    /// burn-flex on the host's cores, with the kernels of the crate `fused`; always there.
    Cpu,
    /// Any GPU through WebGPU (feature `wgpu`).
    Wgpu,
    /// An NVIDIA GPU (feature `cuda`).
    Cuda,
    /// libtorch, on the CPU or an NVIDIA GPU (feature `tch`).
    Tch,
}

impl Backend {
    /// Every backend, in the order in which help texts name them.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Wgpu, Self::Cuda, Self::Tch];

    /// The name used on the command line, which is also the cargo feature.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
            Self::Cuda => "cuda",
            Self::Tch => "tch",
        }
    }

    /// Whether this binary was built with it.
    pub fn built(self) -> bool {
        match self {
            Self::Cpu => true,
            Self::Wgpu => cfg!(feature = "wgpu"),
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Tch => cfg!(feature = "tch"),
        }
    }

    /// The command that builds this program with it.
    pub fn build_command(self) -> &'static str {
        match self {
            Self::Cpu => "cargo run -p experiments -- ...",
            Self::Wgpu => "cargo run -p experiments --features wgpu -- ...",
            Self::Cuda => {
                "scripts/devices/cuda_llvm.sh && \
                 CUDARC_CUDA_VERSION=13000 cargo run -p experiments --features cuda -- ..."
            }
            Self::Tch => "LIBTORCH_USE_PYTORCH=1 cargo run -p experiments --features tch -- ...",
        }
    }
}

/// Where tensors live and how they are multiplied.
///
/// As a string it is `cpu`, `wgpu[:i]`, `cuda[:i]` or `tch[:cpu|cuda:i]`, which says where; the
/// precision is set apart from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeviceSpec {
    /// What computes.
    pub backend: Backend,
    /// Which of the backend's devices, counted from 0. `None` is the backend's own choice: for
    /// wgpu the adapter that it prefers, for cuda the first GPU (and all of them where runs go
    /// side by side), for tch the CPU.
    pub index: Option<usize>,
    /// What matrix products compute in.
    pub precision: Precision,
}

impl DeviceSpec {
    /// The host's cores in f32.
    pub const CPU: Self = Self::new(Backend::Cpu, None);

    /// A device in f32.
    pub const fn new(backend: Backend, index: Option<usize>) -> Self {
        Self { backend, index, precision: Precision::F32 }
    }

    /// The same device in another precision.
    #[must_use]
    pub const fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Whether it computes on the host's cores with this program's own kernels.
    pub fn is_cpu(self) -> bool {
        self.backend == Backend::Cpu
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.backend.name();
        match (self.backend, self.index) {
            (Backend::Tch, Some(index)) => write!(f, "{name}:cuda:{index}"),
            (_, Some(index)) => write!(f, "{name}:{index}"),
            (_, None) => f.write_str(name),
        }
    }
}

/// What [`DeviceSpec`] is parsed from.
const GRAMMAR: &str = "cpu, wgpu[:i], cuda[:i] or tch[:cpu|cuda:i]";

impl FromStr for DeviceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || format!("found `{text}`, expected {GRAMMAR}");
        let (name, rest) = match text.split_once(':') {
            Some((name, rest)) => (name, Some(rest)),
            None => (text, None),
        };
        let backend = Backend::ALL.into_iter().find(|b| b.name() == name).ok_or_else(refuse)?;
        // Rust's own parser takes a sign too.
        let number = |digits: &str| {
            let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| plain).ok_or_else(refuse)
        };
        let index = match (backend, rest) {
            (_, None) | (Backend::Tch, Some("cpu")) => None,
            (Backend::Wgpu | Backend::Cuda, Some(index)) => Some(number(index)?),
            (Backend::Tch, Some(rest)) => Some(number(rest.strip_prefix("cuda:").ok_or_else(refuse)?)?),
            (Backend::Cpu, Some(_)) => return Err(refuse()),
        };
        Ok(Self::new(backend, index))
    }
}

impl TryFrom<String> for DeviceSpec {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<DeviceSpec> for String {
    fn from(spec: DeviceSpec) -> Self {
        spec.to_string()
    }
}

/// A device as the command line asks for it: `auto`, or one by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The fastest that is built in and opens, for the model at hand: see [`DeviceChoice::open`].
    Auto,
    /// This one or none.
    Named(DeviceSpec),
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Named(spec) => spec.fmt(f),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            name => name
                .parse()
                .map(Self::Named)
                .map_err(|error: String| error.replace(GRAMMAR, &format!("auto, {GRAMMAR}"))),
        }
    }
}
