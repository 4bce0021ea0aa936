//! The checks of a device: what is compared, how far apart it may be, and what was found.

use std::time::Instant;

use anyhow::{Result, anyhow};
use burn::tensor::Device;
use lm::device::{Backend, Precision, caught};
use lm::{DeviceSpec, OpenDevice};
use serde::Serialize;

use crate::commands::devices::lines::Lines;

/// How far a device may be from the CPU.
///
/// Both sum in another order, which is rounding of f32; bf16 rounds the factors of products to 7
/// bits of mantissa besides, about 4e-3 of a product. Errors are relative to the largest
/// magnitude of what is compared.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Values and gradients of operations.
    pub values: f64,
    /// A loss, and the norm of a gradient.
    pub loss: f64,
    /// What some optimiser steps change: where a gradient is all rounding, Adam and RMSprop step the other
    /// way.
    pub change: f64,
    /// The share of tokens drawn that may differ from the CPU's.
    pub draws: f64,
    /// How far outside the interval of the drawn token the uniform number may be.
    pub boundary: f64,
}

impl Tolerance {
    fn of(spec: DeviceSpec) -> Self {
        match (spec.precision, spec.backend) {
            (Precision::Bf16, _) => {
                Self { values: 4e-2, loss: 2e-2, change: 3e-1, draws: 1e-1, boundary: 5e-2 }
            }
            // The norm of a gradient is a sum of millions of squares, which burn's own operation on the CPU
            // adds up one after another.
            (Precision::F32, Backend::Cpu) => {
                Self { values: 1e-4, loss: 1e-3, change: 1e-3, draws: 1e-2, boundary: 1e-4 }
            }
            (Precision::F32, Backend::Wgpu | Backend::Cuda | Backend::Tch) => {
                Self { values: 1e-4, loss: 1e-4, change: 1e-3, draws: 1e-2, boundary: 1e-4 }
            }
        }
    }
}

/// One number that was compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measure {
    pub what: String,
    /// Not a number in JSON (null) where the device's values are not finite.
    pub error: f64,
    pub tolerance: f64,
}

impl Measure {
    pub fn new(what: impl Into<String>, error: f64, tolerance: f64) -> Self {
        Self { what: what.into(), error, tolerance }
    }

    fn passed(&self) -> bool {
        self.error <= self.tolerance
    }
}

/// A check that was done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    pub name: String,
    pub passed: bool,
    pub measures: Vec<Measure>,
    /// What stopped it, if anything did.
    pub message: Option<String>,
    pub seconds: f64,
}

/// A line for people: the largest error of each tolerance beside it, and whatever failed by its name.
impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}:", if self.passed { "PASS" } else { "FAIL" }, self.name)?;
        if let Some(message) = &self.message {
            // A driver's message may hold the source of a kernel.
            let line = message.lines().map(str::trim).filter(|line| !line.is_empty()).take(6);
            return write!(f, " {}", line.collect::<Vec<_>>().join(" | "));
        }
        for (index, measure) in self.measures.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let mark = if measure.passed() { "" } else { " !" };
            write!(f, "{comma} {} {:.1e} of {:.0e}{mark}", measure.what, measure.error, measure.tolerance)?;
        }
        write!(f, " ({:.1} s)", self.seconds)
    }
}

/// The device, the CPU, and what was found so far.
pub struct Checks<'a> {
    pub host: Device,
    pub device: Device,
    pub tolerance: Tolerance,
    /// Whether the device is the CPU itself.
    is_host: bool,
    only: &'a str,
    lines: &'a Lines,
    done: Vec<Check>,
}

impl<'a> Checks<'a> {
    /// No check done yet; those whose name lacks `only` will be left out.
    pub fn new(open: &OpenDevice, only: &'a str, lines: &'a Lines) -> Result<Self> {
        Ok(Self {
            host: DeviceSpec::CPU.open()?,
            device: open.device.clone(),
            tolerance: Tolerance::of(open.spec),
            is_host: open.spec.is_cpu(),
            only,
            lines,
            done: Vec::new(),
        })
    }

    /// What was found.
    pub fn done(self) -> Vec<Check> {
        self.done
    }

    /// Does a check, says how it ended and keeps it. What panics or fails is a failed check,
    /// and the next one goes on.
    pub fn check(&mut self, name: &str, work: impl FnOnce(&Self) -> Result<Vec<Measure>>) -> Result<()> {
        if !name.contains(self.only) {
            return Ok(());
        }
        let start = Instant::now();
        let outcome = caught(|| work(self)).map_err(|panic| anyhow!(panic)).flatten();
        let seconds = start.elapsed().as_secs_f64();
        let name = name.to_owned();
        let check = match outcome {
            Ok(measures) => {
                let passed = measures.iter().all(Measure::passed);
                Check { name, passed, measures, message: None, seconds }
            }
            Err(error) => {
                let message = Some(format!("{error:#}"));
                Check { name, passed: false, measures: Vec::new(), message, seconds }
            }
        };
        self.lines.say(&format!("  {check}"))?;
        self.done.push(check);
        Ok(())
    }

    /// Computes what the device is compared with: on the CPU, or where the device is the CPU
    /// in burn's own operations.
    pub fn expected<T>(&self, work: impl FnOnce(&Device) -> T) -> T {
        struct Enabled;
        impl Drop for Enabled {
            fn drop(&mut self) {
                fused::set_enabled(true);
            }
        }
        let _kernels = self.is_host.then(|| {
            fused::set_enabled(false);
            Enabled
        });
        work(&self.host)
    }
}

/// Largest difference relative to the largest magnitude expected; infinite where anything is not
/// finite or lengths differ.
pub fn relative(found: &[f32], expected: &[f32]) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    let largest = expected.iter().map(|value| f64::from(value.abs())).fold(0.0, f64::max);
    let difference = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs())
        .fold(0.0, |most, next| if next.is_nan() { f64::INFINITY } else { most.max(next) });
    if largest > 0.0 { difference / largest } else { difference }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_relative_to_the_largest_magnitude() {
        assert!((relative(&[1.0, 2.5], &[1.0, -2.0]) - 2.25).abs() < 1e-12);
        assert!((relative(&[0.5], &[0.0]) - 0.5).abs() < 1e-12);
        assert!(relative(&[f32::NAN], &[1.0]).is_infinite());
        assert!(relative(&[1.0], &[1.0, 1.0]).is_infinite());
        assert!(!Measure::new("", f64::NAN, 1.0).passed());
    }
}
