//! `experiments measure`: the time of one case, on any device, as one line of JSON.
//!
//! A device may work on after a call has returned. Every step that is timed here ends with all its work:
//! `score`, `sample` and `ppo` return numbers that were read back, and steps that train wait for the device
//! at their end, as their last kernels, the optimiser's, write weights that nobody reads.

mod runs;
mod settings;
mod steps;
mod texts;

use std::io::BufRead;

use anyhow::{Context, Result};
use burn::tensor::Device;
use lm::DeviceSpec;
use lm::device::Precision;
use measure::Case;

use crate::cli::MeasureOptions;
use crate::exit::Outcome;

/// A case: its name, its own keys, and what it does.
struct Known {
    name: &'static str,
    keys: &'static [&'static str],
    run: fn(&Case, &Device) -> Result<()>,
}

/// All cases. The text of `experiments measure --help` says what they are.
const CASES: [Known; 9] = [
    Known {
        name: "train",
        keys: &["family", "shape", "context", "batch", "lora", "gradient_checkpointing"],
        run: steps::train,
    },
    Known { name: "score", keys: &["family", "shape", "context", "batch"], run: steps::score },
    Known { name: "sample", keys: &["family", "shape", "batch", "prompt", "new"], run: steps::sample },
    Known {
        name: "dpo",
        keys: &["family", "shape", "pairs", "prompt", "response", "gradient_checkpointing"],
        run: steps::dpo,
    },
    Known {
        name: "ppo",
        keys: &["family", "shape", "rollouts", "minibatch", "prompt", "response", "gradient_checkpointing"],
        run: steps::ppo,
    },
    Known { name: "dpo-trainer", keys: &["model", "pairs", "steps", "batch", "beta", "lr"], run: runs::dpo },
    Known {
        name: "ppo-trainer",
        keys: &["model", "pairs", "steps", "rollouts", "minibatch", "response"],
        run: runs::ppo,
    },
    Known { name: "classify", keys: &["model", "texts", "tokens"], run: texts::classify },
    Known { name: "classifier-trainer", keys: &["model", "texts", "tokens"], run: texts::train },
];

/// `experiments measure`.
pub fn run(options: &MeasureOptions) -> Result<Outcome> {
    if options.case == "-" && options.keys.is_empty() {
        return run_lines();
    }
    let words = std::iter::once(&options.case).chain(&options.keys);
    measure(words.map(String::as_str))?;
    Ok(Outcome::Done)
}

/// Cases from standard input, one a line: a process that measures several opens its device and compiles its
/// kernels once. Each line has one line as its answer, `{"case": LINE, "error": MESSAGE}` if it failed.
#[expect(clippy::print_stdout, reason = "these lines are what the command is run for")]
fn run_lines() -> Result<Outcome> {
    let mut outcome = Outcome::Done;
    for line in std::io::stdin().lock().lines() {
        let line = line.context("standard input")?;
        if let Err(error) = measure(line.split_whitespace()) {
            println!("{}", serde_json::json!({ "case": line, "error": format!("{error:#}") }));
            outcome = Outcome::Failure;
        }
    }
    Ok(outcome)
}

fn measure<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let case = Case::parse(words)?;
    let known = CASES
        .iter()
        .find(|known| known.name == case.name())
        .ok_or_else(|| case.unknown(CASES.iter().map(|known| known.name)))?;
    case.check_keys(&[known.keys, &["device", "precision"]].concat())?;
    (known.run)(&case, &device(&case)?)
}

/// The device of the keys `device`, by default the CPU, and `precision`.
fn device(case: &Case) -> Result<Device> {
    let device: DeviceSpec = case.find("device")?.unwrap_or(DeviceSpec::CPU);
    Ok(device.with_precision(case.find("precision")?.unwrap_or(Precision::F32)).open()?)
}
