//! Numbers of pairs between host and device.

use burn::tensor::{Device, Tensor};

/// Numbers on a device, `[B]`.
pub(crate) fn floats(values: &[f64], device: &Device) -> Tensor<1> {
    let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
    Tensor::from_floats(values.as_slice(), device)
}

pub(crate) fn mean(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64
}

pub(crate) fn share_positive(values: &[f32]) -> f64 {
    values.iter().filter(|&&value| value > 0.0).count() as f64 / values.len() as f64
}
