//! The reward-KL frontier of RLHF-PPO and DPO, from one command.
//!
//! `experiments imdb-frontier` goes from a preset to a plan, from the plan to stages (data,
//! reference, preferences, reward model) and runs (one child process each), and from their CSV files
//! to the figures and the report.

#![expect(unreachable_pub, reason = "a binary has no API: everything is as visible as its module")]

mod appended;
mod cli;
mod commands;
mod exit;
mod imdb_frontier;
mod jsonl;
mod needs;
mod progress;
mod repository;
mod settings;
mod study;
mod tldr;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is logged unless `RUST_LOG` says otherwise. A GPU's kernels are tuned by trying several, of which
/// some do not compile on it: that is no news, and the code of each kernel is thousands of lines.
const LOG: &str = "info,pliron=error,cubecl=error,cubek=error,burn=error,wgpu=error,naga=error";

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
        // Whoever read the log may have stopped (`2>&1 | head`): the work goes on without it. The
        // subscriber's own complaint would panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .init();
    match study::interrupt::listen(imdb::reviews::stop_downloads)
        .and_then(|()| lm::device::host(|| run(arguments.command)))
    {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            tracing::error!("{error:#}");
            exit::of(&error).into()
        }
    }
}

fn run(command: cli::Command) -> anyhow::Result<exit::Outcome> {
    match command {
        cli::Command::ImdbFrontier(options) => imdb_frontier::command::run(&options),
        cli::Command::Ablations(options) => commands::ablations::run(&options),
        cli::Command::TrainReference(options) => commands::train_reference::run(&options),
        cli::Command::TrainGroundTruth(options) => commands::train_ground_truth::run(&options),
        cli::Command::TrainClassifier(options) => commands::train_classifier::run(&options),
        cli::Command::Fetch(options) => commands::fetch::fetch(&options),
        cli::Command::Import(options) => commands::import::run(&options),
        cli::Command::Report(options) => commands::report::run(&options),
        cli::Command::Publish(options) => commands::publish::run(&options),
        cli::Command::TldrWinrate(options) => tldr::command::run(&options),
        cli::Command::TldrData(options) => tldr::data::run(&options),
        cli::Command::TldrAgreement(options) => tldr::agreement::run(&options),
        cli::Command::ClosedForm(options) => commands::closed_form::run(&options),
        cli::Command::Sft(options) => commands::sft::run(&options),
        cli::Command::RewardModel(options) => commands::reward_model::run(&options),
        cli::Command::Dpo(options) => commands::dpo::run(&options),
        cli::Command::Ppo(options) => commands::ppo::run(&options),
        cli::Command::Merge(options) => commands::merge::run(&options),
        cli::Command::Generate(options) => commands::generate::run(&options),
        cli::Command::Score(options) => commands::score::run(&options),
        cli::Command::Evaluate(options) => commands::evaluate::run(&options),
        cli::Command::Run(options) => imdb_frontier::run::child(&options),
        cli::Command::Gather(options) => imdb_frontier::gather::gather(&options),
        cli::Command::Devices(options) => commands::devices::run(&options),
        cli::Command::Measure(options) => commands::measure::run(&options),
    }
}
