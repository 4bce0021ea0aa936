//! `experiments devices`: what this binary can compute on, how fast, and whether it computes what the CPU
//! does.
//!
//! The self-check is the one body of tests for every device. On the CPU it sets the kernels of
//! `fused` against the same mathematics in burn's own operations; on any other device, that device
//! against the CPU's kernels.

mod check;
mod lines;
mod probe;

use std::io::Write;

use anyhow::Result;
use lm::device::{Backend, Facts};
use lm::{DeviceSpec, OpenDevice};
use serde::Serialize;

use crate::cli::{DevicesOptions, Format};
use crate::exit::Outcome;
use crate::imdb_frontier::needs::Needs;
use crate::imdb_frontier::preset;
use crate::study::manifest::Environment;
use check::checks::Check;
use lines::Lines;
use probe::Rates;

/// All that the command finds out.
#[derive(Debug, Serialize)]
struct Report {
    environment: Environment,
    devices: Vec<Found>,
    /// Devices that are not there, and why.
    missing: Vec<Missing>,
}

#[derive(Debug, Serialize)]
struct Missing {
    device: String,
    why: String,
}

/// One device.
#[derive(Debug, Serialize)]
struct Found {
    device: String,
    precision: String,
    name: String,
    driver: String,
    software: bool,
    memory_bytes: Option<u64>,
    largest_buffer_bytes: Option<u64>,
    devices: usize,
    rates: Rates,
    presets: Vec<Fit>,
    checks: Vec<Check>,
}

/// Whether a preset would run.
#[derive(Debug, Serialize)]
struct Fit {
    preset: &'static str,
    fits: bool,
    why: String,
}

/// `experiments devices`.
pub fn run(options: &DevicesOptions) -> Result<Outcome> {
    let lines = Lines { format: options.format };
    let mut report = Report { environment: Environment::here(), devices: Vec::new(), missing: Vec::new() };
    if let Some(spec) = options.device {
        let open = spec.with_precision(options.precision).describe()?;
        report.devices.push(examine(&open, options, &lines)?);
    } else {
        for backend in Backend::ALL {
            match DeviceSpec::new(backend, None).with_precision(options.precision).describe() {
                Ok(open) => report.devices.push(examine(&open, options, &lines)?),
                Err(error) => {
                    lines.say(&format!("{}: {error}\n", backend.name()))?;
                    report
                        .missing
                        .push(Missing { device: backend.name().to_owned(), why: error.to_string() });
                }
            }
        }
    }
    if options.format == Format::Json {
        writeln!(std::io::stdout().lock(), "{}", serde_json::to_string_pretty(&report)?)?;
    }
    let failed = report.devices.iter().flat_map(|found| &found.checks).any(|check| !check.passed);
    Ok(if failed { Outcome::Failure } else { Outcome::Done })
}

fn examine(open: &OpenDevice, options: &DevicesOptions, lines: &Lines) -> Result<Found> {
    let facts = &open.facts;
    lines.say(&format!("{} in {}: {}", open.spec, open.spec.precision, described(facts)))?;
    // A part of the checks was asked for, and nothing else.
    let rates = if options.only.is_empty() { Rates::measure(open) } else { Rates::default() };
    for line in rates.lines() {
        lines.say(&format!("  {line}"))?;
    }
    let presets = fits(facts)?;
    for Fit { preset, fits, why } in &presets {
        lines.say(&format!("  would run {preset}: {}, because {why}", if *fits { "yes" } else { "no" }))?;
    }
    // A driver that computes on the CPU takes an hour for what a GPU does in a minute: it is checked if it is
    // named.
    let checks = if facts.software && options.device.is_none() {
        lines.say(&format!("  not checked, being software: name it with --device {}", open.spec))?;
        Vec::new()
    } else {
        check::all(open, &options.only, lines)?
    };
    let failed = checks.iter().filter(|check| !check.passed).count();
    lines.say(&format!("  {} checks, {failed} failed\n", checks.len()))?;
    Ok(Found {
        device: open.spec.to_string(),
        precision: open.spec.precision.to_string(),
        name: facts.name.clone(),
        driver: facts.driver.clone(),
        software: facts.software,
        memory_bytes: facts.memory,
        largest_buffer_bytes: facts.largest_buffer,
        devices: facts.count,
        rates,
        presets,
        checks,
    })
}

fn described(facts: &Facts) -> String {
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let parts = [
        Some(facts.name.clone()),
        Some(facts.driver.clone()),
        facts.memory.map(|bytes| format!("{} of memory", mib(bytes))),
        facts.largest_buffer.map(|bytes| format!("buffers up to {}", mib(bytes))),
        facts.software.then(|| "software".to_owned()),
        (facts.count > 1).then(|| format!("one of {}", facts.count)),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn fits(facts: &Facts) -> Result<Vec<Fit>> {
    preset::SHIPPED
        .iter()
        .map(|(name, _)| {
            let (fits, why) = Needs::of(&preset::load(name, &[])?)?.fit(facts);
            Ok(Fit { preset: name, fits, why })
        })
        .collect()
}
