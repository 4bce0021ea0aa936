//! The reward-KL frontier of RLHF-PPO and DPO, from one command.
//!
//! `experiments imdb-frontier` goes from a preset to a plan, from the plan to stages (data, reference, preferences,
//! reward model) and runs (one child process each), and from their CSV files to the figures and the report.

#![allow(unreachable_pub, reason = "a binary has no API: everything is as visible as its module")]

mod ablations;
mod adopt;
mod children;
mod cli;
mod closed_form;
mod devices;
mod estimate;
mod exit;
mod flops;
mod folder;
mod frontier_command;
mod manifest;
mod measure_command;
mod plan;
mod preset;
mod progress;
mod reference;
mod report;
mod run;
mod schedule;
mod stages;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is logged unless `RUST_LOG` says otherwise. A GPU's kernels are tuned by trying several, of which some do not
/// compile on it: that is no news, and their sources are thousands of lines.
const LOG: &str = "info,cubecl=error,cubek=error,burn=error,wgpu=error,naga=error";

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(LOG)),
        )
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .without_time()
        // Whoever read the log may have stopped (`2>&1 | head`): the work goes on without it. The subscriber's own
        // complaint would panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .init();
    match lm::device::host(|| run(arguments.command)) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            tracing::error!("{error:#}");
            exit::of(&error).into()
        }
    }
}

fn run(command: cli::Command) -> anyhow::Result<exit::Outcome> {
    match command {
        cli::Command::ImdbFrontier(options) => frontier_command::run(&options),
        cli::Command::Ablations(options) => ablations::run(&options),
        cli::Command::TrainReference(options) => reference::run(&options),
        cli::Command::TrainGroundTruth(options) => stages::ground_truth::run(&options),
        cli::Command::Fetch(options) => stages::data::fetch(&options),
        cli::Command::Report(options) => report::run(&options),
        cli::Command::ClosedForm(options) => closed_form::run(&options),
        cli::Command::Run(options) => run::child(&options),
        cli::Command::Gather(options) => frontier_command::gather(&options),
        cli::Command::Devices(options) => devices::run(&options),
        cli::Command::Measure(options) => measure_command::run(&options),
    }
}
