//! How fast a device is: matrix products, memory, launches.

use std::time::Instant;

use burn::tensor::{DType, Device, FloatDType, Tensor};
use lm::OpenDevice;
use lm::device::{caught, on_host};
use serde::Serialize;

/// What was measured; nothing where the device does not do it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Side of the square matrices that were multiplied.
    pub side: usize,
    /// 10^12 floating-point operations a second of burn's own product of f32 matrices, which on CUDA are
    /// rounded to TF32 first: what the device can do. Our f32 products are not rounded, and slower.
    pub f32_teraflops: Option<f64>,
    /// The same of bf16 matrices.
    pub bf16_teraflops: Option<f64>,
    /// 10^9 bytes a second, read and written, of a product of a vector and a number.
    pub copy_gigabytes: Option<f64>,
    /// 10^-6 seconds from one small operation to the next, none of which is waited for.
    pub launch_microseconds: Option<f64>,
}

/// Samples of which the median is taken.
const SAMPLES: usize = 5;

impl Rates {
    pub fn measure(open: &OpenDevice) -> Self {
        let device = &open.device;
        let (side, repeats, numbers) = match (on_host(device), open.facts.software) {
            (true, _) => (2048, 1, 1 << 24),
            (_, true) => (256, 1, 1 << 20),
            _ => (2048, 16, 1 << 26),
        };
        let product = |dtype: FloatDType| {
            let flops = 2.0 * (side as f64).powi(3);
            seconds(device, repeats, || {
                let matrix = Tensor::<2>::ones([side, side], device).cast(dtype);
                move || drop(matrix.clone().matmul(matrix.clone()))
            })
            .map(|seconds| flops / seconds / 1e12)
        };
        let vector = |numbers: usize| {
            move || {
                let vector = Tensor::<1>::ones([numbers], device);
                move || drop(vector.clone() * 3.0)
            }
        };
        let bytes = 2.0 * 4.0 * numbers as f64;
        let has_bf16 = !on_host(device) && device.supports_dtype(DType::BF16);
        Self {
            side,
            f32_teraflops: product(FloatDType::F32),
            bf16_teraflops: if has_bf16 { product(FloatDType::BF16) } else { None },
            copy_gigabytes: seconds(device, repeats, vector(numbers)).map(|seconds| bytes / seconds / 1e9),
            launch_microseconds: seconds(device, 1000, vector(256)).map(|seconds| seconds * 1e6),
        }
    }

    /// For people.
    pub fn lines(&self) -> Vec<String> {
        let side = self.side;
        [
            self.f32_teraflops.map(|rate| {
                format!("f32 products of {side} x {side} by burn (TF32 on CUDA): {rate:.3} TFLOP/s")
            }),
            self.bf16_teraflops
                .map(|rate| format!("bf16 products of {side} x {side} by burn: {rate:.3} TFLOP/s")),
            self.copy_gigabytes.map(|rate| format!("memory: {rate:.1} GB/s read and written")),
            self.launch_microseconds.map(|time| format!("a small operation: {time:.1} us")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Median seconds of one of `repeats` pieces of work that are waited for together, after a
/// first one that compiles.
fn seconds<W: FnMut()>(device: &Device, repeats: usize, prepare: impl FnOnce() -> W) -> Option<f64> {
    let measured = caught(|| {
        let mut work = prepare();
        let mut sample = |repeats: usize| {
            let start = Instant::now();
            for _ in 0..repeats {
                work();
            }
            device.sync().map(|()| start.elapsed().as_secs_f64() / repeats as f64)
        };
        sample(1)?;
        (0..SAMPLES).map(|_| sample(repeats)).collect::<Result<Vec<f64>, _>>()
    });
    let mut samples = measured.ok()?.ok()?;
    samples.sort_by(f64::total_cmp);
    Some(samples[SAMPLES / 2])
}
