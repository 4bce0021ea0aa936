//! One function for each backend: the device, what it is, and whether it computes.

use std::path::Path;

use burn::tensor::Device;
#[cfg(any(feature = "wgpu", feature = "cuda", feature = "tch"))]
use burn::tensor::Tensor;

#[cfg(any(feature = "wgpu", feature = "cuda", feature = "tch"))]
use super::caught::caught;
use super::spec::{Backend, DeviceSpec};
use crate::LmError;

/// What is known of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The processor's or the adapter's name.
    pub name: String,
    /// The driver, its version, and what kernels are compiled for.
    pub driver: String,
    /// Whether a GPU's driver computes on the processor, as Mesa's llvmpipe does.
    pub software: bool,
    /// Bytes of memory, where the driver tells.
    pub memory: Option<u64>,
    /// The most bytes that one tensor can have, where there is a limit below the memory.
    pub largest_buffer: Option<u64>,
    /// Devices of this backend that the driver shows.
    pub count: usize,
}

/// A device with what is known of it, or why there is none.
pub(super) type Answer = Result<(Device, Facts), Refusal>;

/// Why a device does not open.
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    #[allow(dead_code, reason = "not constructed where everything is built in")]
    NotBuilt,
    #[allow(dead_code, reason = "the CPU always opens")]
    Failed { found: String, expected: String },
}

impl Refusal {
    pub(super) fn of(self, spec: DeviceSpec) -> LmError {
        match self {
            Self::NotBuilt => {
                LmError::DeviceNotBuilt { device: spec.backend.name(), build: spec.backend.build_command() }
            }
            Self::Failed { found, expected } => LmError::Device { device: spec.to_string(), found, expected },
        }
    }
}

/// Constructs the device, has it compute and reads the answer back.
#[expect(clippy::disallowed_methods, reason = "this is the one place that opens devices")]
#[cfg_attr(not(any(feature = "wgpu", feature = "cuda", feature = "tch")), expect(unused_variables))]
pub(super) fn open(backend: Backend, index: Option<usize>) -> Answer {
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    if matches!(backend, Backend::Wgpu | Backend::Cuda) {
        fused::keep_kernels();
    }
    match backend {
        Backend::Cpu => Ok((Device::flex(), cpu())),
        #[cfg(feature = "wgpu")]
        Backend::Wgpu => wgpu::open(index),
        #[cfg(feature = "cuda")]
        Backend::Cuda => cuda::open(index),
        #[cfg(feature = "tch")]
        Backend::Tch => tch::open(index),
        #[allow(unreachable_patterns, reason = "reached where a backend is not built in")]
        _ => Err(Refusal::NotBuilt),
    }
}

fn cpu() -> Facts {
    let text = std::fs::read_to_string(Path::new("/proc/meminfo")).unwrap_or_default();
    let kilobytes = text.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    Facts {
        name: cpu_name(),
        driver: format!("burn-flex, {} cores", cores()),
        software: false,
        memory: kilobytes.map(|kilobytes| kilobytes * 1024).into_iter().chain(group_limit()).min(),
        largest_buffer: None,
        count: 1,
    }
}

/// The memory that a container may have at most, where there is a limit: of control groups of version 2 or 1.
fn group_limit() -> Option<u64> {
    let files = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    files.iter().find_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok())
}

/// Threads that the system gives this process.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The processor as it names itself, or the kind of machine.
pub fn cpu_name() -> String {
    let text = std::fs::read_to_string(Path::new("/proc/cpuinfo")).unwrap_or_default();
    text.lines()
        .find_map(|line| {
            line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// `ln(2 + 2)` on the device: it takes a kernel of the driver's compiler, one of its mathematical functions,
/// a launch and a read-back.
#[cfg(any(feature = "wgpu", feature = "cuda", feature = "tch"))]
fn computes(device: &Device) -> Result<(), String> {
    let answer = caught(|| {
        let two = Tensor::<1>::full([2], 2.0, device);
        let sum = (two.clone() + two).log().try_into_data().map_err(|error| error.to_string())?;
        sum.try_to_vec::<f32>().map_err(|error| format!("{error:?}"))
    })??;
    if answer.iter().all(|value| (value - 4.0_f32.ln()).abs() < 1e-4) {
        return Ok(());
    }
    Err(format!("ln(2 + 2) = {}, which is not 1.386", answer.first().copied().unwrap_or(f32::NAN)))
}

#[cfg(feature = "wgpu")]
mod wgpu {
    use burn::backend::{CubeDevice, DispatchDevice, WgpuDeviceKind};
    use burn::tensor::wgpu::wgpu::DeviceType as Kind;
    use burn::tensor::{Device, DeviceKind, DeviceType};

    use super::super::caught::caught;
    use super::{Answer, Facts, Refusal, computes};

    const EXPECTED: &str =
        "a GPU with a Vulkan, Metal or DirectX 12 driver; `vulkaninfo --summary` lists them on Linux";

    /// The adapters that wgpu finds, in its order.
    fn adapters() -> Vec<DeviceKind> {
        let kind = |device: &Device| match device.as_dispatch() {
            DispatchDevice::Cube(CubeDevice::Wgpu(adapter)) => match adapter.kind {
                WgpuDeviceKind::DiscreteGpu(index) => Some(DeviceKind::DiscreteGpu(index)),
                WgpuDeviceKind::IntegratedGpu(index) => Some(DeviceKind::IntegratedGpu(index)),
                WgpuDeviceKind::VirtualGpu(index) => Some(DeviceKind::VirtualGpu(index)),
                WgpuDeviceKind::Cpu => Some(DeviceKind::Cpu),
                _ => None,
            },
            _ => None,
        };
        Device::enumerate(DeviceType::Wgpu).into_vec().iter().filter_map(kind).collect()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that opens devices")]
    pub(super) fn open(index: Option<usize>) -> Answer {
        let failed = |found: String, expected: &str| Refusal::Failed { found, expected: expected.to_owned() };
        let adapters = caught(adapters).map_err(|message| failed(message, EXPECTED))?;
        if adapters.is_empty() {
            return Err(failed("no adapter".to_owned(), EXPECTED));
        }
        let kind = match index {
            None => DeviceKind::DefaultDevice,
            Some(index) => adapters.get(index).cloned().ok_or_else(|| {
                let found =
                    format!("{} adapter{}", adapters.len(), if adapters.len() == 1 { "" } else { "s" });
                failed(found, &format!("an index below {}", adapters.len()))
            })?,
        };
        let (device, setup) = caught(|| Device::wgpu_options().device_kind(kind).init_with_setup())
            .and_then(|opened| opened.map_err(|error| error.to_string()))
            .map_err(|message| failed(message, EXPECTED))?;
        computes(&device).map_err(|message| failed(message, EXPECTED))?;
        let (info, limits) = (setup.adapter.get_info(), setup.device.limits());
        let facts = Facts {
            name: info.name,
            driver: format!("{:?}, {} {}", info.backend, info.driver, info.driver_info),
            software: info.device_type == Kind::Cpu,
            memory: None,
            largest_buffer: Some(limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)),
            count: adapters.len(),
        };
        Ok((device, facts))
    }
}

#[cfg(feature = "cuda")]
mod cuda {
    use std::path::{Path, PathBuf};

    use burn::backend::DispatchDevice;
    use burn::tensor::{Device, DeviceType};

    use super::super::caught::caught;
    use super::{Answer, Facts, Refusal, computes};

    /// Where the compiler of kernels looks for mathematical functions, below a toolkit's folder.
    const LIBRARY: &str = "nvvm/libdevice/libdevice.10.bc";
    /// Where it looks for a toolkit unless `CUDA_PATH` says.
    const TOOLKITS: [&str; 4] = ["/usr/local/cuda", "/opt/cuda", "/usr/lib/cuda", "/usr"];

    #[expect(clippy::disallowed_methods, reason = "this is the one place that opens devices")]
    pub(super) fn open(index: Option<usize>) -> Answer {
        let failed = |found: String, expected: &str| Refusal::Failed { found, expected: expected.to_owned() };
        let with_driver = "an NVIDIA GPU and its driver; `nvidia-smi` lists both";
        let count = caught(|| Device::enumerate(DeviceType::Cuda).into_vec().len())
            .map_err(|message| failed(message, with_driver))?;
        let place = index.unwrap_or(0);
        if count == 0 {
            return Err(failed("no GPU, or no driver (libcuda)".to_owned(), with_driver));
        }
        if place >= count {
            let found = format!("{count} GPU{}", if count == 1 { "" } else { "s" });
            return Err(failed(found, &format!("an index below {count}")));
        }
        library().map_err(|found| {
            failed(
                found,
                &format!(
                    "CUDA_PATH naming a folder with {LIBRARY}: a CUDA toolkit, or nvidia/cu13 of the Python \
                          package nvidia-nvvm"
                ),
            )
        })?;
        let device = Device::cuda(place);
        computes(&device).map_err(|message| failed(message, with_driver))?;
        let (name, code, memory) = caught(|| identity(&device)).map_err(|m| failed(m, with_driver))?;
        let driver = [driver(), Some(code)].into_iter().flatten().collect::<Vec<_>>().join(", ");
        Ok((device, Facts { name, driver, software: false, memory, largest_buffer: None, count }))
    }

    fn library() -> Result<(), String> {
        let asked = std::env::var("CUDA_PATH").ok().map(PathBuf::from);
        let known = || TOOLKITS.map(Path::new).into_iter().find(|root| root.join("nvvm/libdevice").is_dir());
        let Some(root) = asked.or_else(|| known().map(Path::to_path_buf)) else {
            return Err(format!("no CUDA_PATH, and no {LIBRARY} in {}", TOOLKITS.join(", ")));
        };
        if root.join(LIBRARY).is_file() {
            return Ok(());
        }
        Err(format!("no {LIBRARY} in {}", root.display()))
    }

    /// Name, what kernels are compiled for, and bytes of memory.
    fn identity(device: &Device) -> (String, String, Option<u64>) {
        let identity = device.identity();
        let (name, code) = identity.map_or_else(Default::default, |found| (found.name, found.fingerprint));
        let memory = match device.as_dispatch() {
            DispatchDevice::Cube(cube) => cube.client().properties().memory.max_memory(),
            _ => None,
        };
        (name, code, memory)
    }

    /// The version of the kernel's driver.
    fn driver() -> Option<String> {
        let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
        let line = text.lines().next()?;
        let version = line.split_whitespace().find(|word| {
            word.contains('.') && word.chars().all(|letter| letter.is_ascii_digit() || letter == '.')
        })?;
        Some(format!("driver {version}"))
    }
}

#[cfg(feature = "tch")]
mod tch {
    use burn::tensor::Device;

    use super::super::caught::caught;
    use super::{Answer, Facts, Refusal, computes, cores, cpu_name};

    #[expect(clippy::disallowed_methods, reason = "this is the one place that opens devices")]
    #[expect(deprecated, reason = "burn-tch is deprecated upstream, and still the way to libtorch")]
    pub(super) fn open(index: Option<usize>) -> Answer {
        let failed = |found: String| Refusal::Failed {
            found,
            expected: "libtorch 2.9.0, for cuda with an NVIDIA GPU that it can use".to_owned(),
        };
        let device = caught(|| index.map_or_else(Device::libtorch, Device::libtorch_cuda)).map_err(failed)?;
        computes(&device).map_err(failed)?;
        let name = index.map_or_else(cpu_name, |index| format!("GPU {index}"));
        let driver = format!("libtorch, {} cores", cores());
        Ok((device, Facts { name, driver, software: false, memory: None, largest_buffer: None, count: 1 }))
    }
}
