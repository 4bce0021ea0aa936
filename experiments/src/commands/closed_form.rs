//! `experiments closed-form`: the paper's equations with numbers, on a space where every response is listed.
//!
//! Rafailov et al. 2023 (arXiv 2305.18290) go from the KL-regularised objective to DPO's loss in five
//! equations. Each is computed here by enumeration, and stands beside the number that it must equal; then DPO
//! and PPO are trained, and their distance to the optimum is measured exactly.

mod enumeration;
mod equations;
mod partition;
mod responses;
mod rows;
mod settings;
mod space;
mod walk;

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use frontier::figures::{ClosedFormFigure, PartitionCurve, WalkCurve, closed_form_figure};

use crate::cli::ClosedFormOptions;
use crate::exit::{BadInput, Outcome};
use crate::study::folder::write_text;
use enumeration::Optimum;
use equations::Problem;
use partition::{Partition, rounded};
use rows::{page, write_csv};
use settings::Settings;
use space::Space;
use walk::Walk;

/// `experiments closed-form`.
pub fn run(options: &ClosedFormOptions) -> Result<Outcome> {
    let settings = Settings::load(options)?;
    let out = &options.out;
    std::fs::create_dir_all(out)
        .map_err(|error| BadInput(format!("output folder {}: {error}", out.display())))?;
    let device = options.device.open(settings.model.parameters())?.device;
    let space = Space::new(&settings, &device)?;
    let optimum = Optimum::new(&space.reference, &space.rewards, settings.beta());
    let problem = Problem { space: &space, settings: &settings, optimum: &optimum };
    let partitions = partition::estimate(&space, &settings);
    tracing::info!("equations done; DPO and PPO walk");
    let walks = [walk::dpo(&problem)?, walk::ppo(&problem)?];
    let sections = [
        problem.optimality(),
        partition::section(&space, &partitions, settings.partition.repetitions),
        problem.reparameterisation(),
        problem.cancellation(),
        problem.losses(),
        walk::section(&problem, &walks),
    ];
    let subtitle = format!(
        "one prompt, {} responses, β = {}, KL(π* ‖ π_ref) = {:.3} nats",
        space.len(),
        settings.beta(),
        enumeration::kl(&optimum.logprobs, &space.reference)
    );
    write_csv(&out.join("closed_form.csv"), &sections)?;
    write_text(&out.join("closed_form.svg"), &figure(&partitions, &walks, &subtitle)?)?;
    let head = head(&subtitle);
    let figure =
        "\n![Error of Z against samples, and distance to the optimum against steps](closed_form.svg)\n";
    write_text(&out.join("CLOSED_FORM.md"), &page(&format!("{head}{figure}"), &sections))?;
    std::io::stdout().lock().write_all(page(&head, &sections).as_bytes())?;
    log_files(out);
    Ok(Outcome::Done)
}

fn head(subtitle: &str) -> String {
    format!(
        "# From the objective to DPO's loss, in numbers\n\n\
         The equations of Rafailov et al. 2023 ([arXiv 2305.18290](https://arxiv.org/abs/2305.18290)) on a space that can \
         be listed: {subtitle}. A small random GPT-2 is π_ref, and the rewards are random. \
         Every number stands beside the one to expect: in the equations the two are the same but for rounding, samples \
         and training approach it. Made by `cargo run -p experiments -- closed-form`.\n"
    )
}

fn log_files(out: &Path) {
    for name in ["CLOSED_FORM.md", "closed_form.csv", "closed_form.svg"] {
        tracing::info!("{}", out.join(name).display());
    }
}

fn figure(partitions: &[Partition], walks: &[Walk], subtitle: &str) -> Result<String> {
    let curve = |p: &Partition| PartitionCurve {
        label: format!("β = {}: {} samples for an error of 1%", p.beta, rounded(p.samples_for(0.01))),
        measured: p.sizes.iter().map(|size| (size.samples as f64, size.error)).collect(),
        expected: p
            .sizes
            .iter()
            .map(|size| (size.samples as f64, p.expected_error(size.samples as f64)))
            .collect(),
    };
    let walk = |walk: &Walk| WalkCurve {
        method: walk.method,
        points: walk.points.iter().map(|(step, distance)| (*step as f64, *distance)).collect(),
    };
    let figure = ClosedFormFigure {
        partitions: partitions.iter().map(curve).collect(),
        walks: walks.iter().map(walk).collect(),
        subtitle,
    };
    Ok(closed_form_figure(&figure)?)
}
