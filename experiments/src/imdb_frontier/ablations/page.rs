//! The comparison of variations: `ablations.csv`, `ABLATIONS.md` and the figures, from the variations' CSV
//! files.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use frontier::ablation::{ABLATION_KLS, AblationRow, ablation_rows, read_ablations, write_ablations};
use frontier::figures::{ablation_figure, labels_figure, responses_figure};
use frontier::{
    Method, MethodCosts, RESPONSES, ResponsesRow, nats, percent, read_responses, summarise, write_responses,
};
use serde::Serialize;

use crate::exit::BadInput;
use crate::imdb_frontier::ablations::record::{Ablations, RECORD, Variation, read};
use crate::imdb_frontier::ablations::responses;
use crate::imdb_frontier::results::Study;
use crate::study::folder::write_text;

/// The suspect whose variations make the figure of label kinds.
const LABELS: &str = "labels";
/// The suspect whose variations, with the base, tell what a response is worth.
const SAMPLES: &str = "samples";

const LABELS_FIGURE: &str = "labels.svg";
const RESPONSES_FIGURE: &str = "responses.svg";

/// What a comparison of variations consists of; the last three only where labels or samples were varied.
pub const FILES: [&str; 7] =
    [RECORD, "ablations.csv", "ABLATIONS.md", "ablations.svg", LABELS_FIGURE, RESPONSES, RESPONSES_FIGURE];

/// Writes `ablations.csv`, `ABLATIONS.md`, `ablations.svg` and, where labels or samples were varied,
/// `labels.svg`, or `responses.csv` and `responses.svg`.
pub fn draw(dir: &Path) -> Result<()> {
    let ablations = read(dir)?;
    let mut studies = Vec::new();
    for variation in &ablations.variation {
        // A folder whose variations were not all reached shows those that were.
        let path = dir.join(&variation.name);
        if path.join("frontier.csv").is_file() {
            studies.push((variation, Study::read(&path)?));
        }
    }
    let Some((base, base_study)) = studies.first() else {
        let found = format!("{}: no finished variation", dir.display());
        return Err(BadInput(format!("{found}; expected the folder of experiments ablations")).into());
    };
    let of_base = base_study.analysis()?;
    let mut rows = ablation_rows((&base.name, &base.suspect), &of_base, None);
    let mut labels = Vec::new();
    let mut of_samples = Vec::new();
    for (variation, study) in &studies {
        let analysis = study.analysis()?;
        if variation.name != base.name {
            rows.extend(ablation_rows((&variation.name, &variation.suspect), &analysis, Some(&of_base)));
        }
        if variation.suspect == LABELS {
            let (_, curves) = summarise(&analysis, &MethodCosts::new(), &[]);
            let of_dpo = curves.methods.into_iter().find(|(method, _)| *method == Method::DPO);
            labels.extend(of_dpo.map(|(_, curve)| (variation.name.clone(), curve)));
        }
        if variation.name == base.name || variation.suspect == SAMPLES {
            of_samples.extend(responses::rows(study, &analysis)?);
        }
    }
    let subtitle = base_study.subtitle();
    write_ablations(dir.join("ablations.csv"), &rows)?;
    if !labels.is_empty() {
        let title = "DPO's envelope by the kind of label";
        let start = of_base.reference().mean;
        let svg = labels_figure(title, &labels, start, of_base.optimum(), &subtitle)?;
        write_text(&dir.join(LABELS_FIGURE), &svg)?;
    }
    if studies.iter().any(|(variation, _)| variation.suspect == SAMPLES) {
        write_responses(dir, &of_samples)?;
    }
    write(dir, &ablations, &rows, &subtitle)?;
    Ok(())
}

/// Writes the page and the figures of `rows` and of `responses.csv`; returns that of `rows`.
fn write(dir: &Path, ablations: &Ablations, rows: &[AblationRow], subtitle: &str) -> Result<String> {
    let figure = ablation_figure(rows, subtitle)?;
    write_text(&dir.join("ablations.svg"), &figure)?;
    let responses = read_responses(dir)?.unwrap_or_default();
    let of_responses = responses_figure(&responses, subtitle)?;
    if let Some(svg) = &of_responses {
        write_text(&dir.join(RESPONSES_FIGURE), svg)?;
    }
    let mut text = page(ablations, rows, subtitle)?;
    if dir.join(LABELS_FIGURE).is_file() {
        text.push_str("\n## Kinds of labels\n\n![DPO's envelope by the kind of label](labels.svg)\n");
    }
    if of_responses.is_some() {
        text.push_str("\n## What a response is worth\n\n");
        text.push_str("![Share of the optimum's gain by the number of responses](responses.svg)\n\n");
        text.push_str(&responses_table(&responses)?);
    }
    text.push_str(&changes(ablations, rows)?);
    write_text(&dir.join("ABLATIONS.md"), &text)?;
    Ok(figure)
}

/// What the report of the base study shows of its ablations.
#[derive(Debug, Serialize)]
pub struct Shown {
    figure: String,
    /// The header first.
    table: Vec<Vec<String>>,
    best: Vec<String>,
}

/// The ablations in `dir`, whose page and figure are written again, from `ablations.csv` and the record of
/// the variations alone; `subtitle` tells preset and data with a number of seeds.
pub fn draw_again(dir: &Path, subtitle: impl Fn(usize) -> String) -> Result<Shown> {
    let (ablations, rows) = (read(dir)?, read_ablations(dir.join("ablations.csv"))?);
    let seeds = rows.iter().map(|row| row.reward.seeds).max().unwrap_or_default();
    Ok(Shown {
        figure: write(dir, &ablations, &rows, &subtitle(seeds))?,
        table: table(&ablations, &rows),
        best: ABLATION_KLS.into_iter().map(|kl| best_at(&rows, kl)).collect(),
    })
}

/// A line for each method of each variation, after the header.
fn table(ablations: &Ablations, rows: &[AblationRow]) -> Vec<Vec<String>> {
    let columns = ABLATION_KLS.map(nats);
    let header = ["variation", "suspect", "method"].map(str::to_owned).into_iter().chain(columns).collect();
    let mut lines = vec![header];
    for variation in &ablations.variation {
        for method in methods(rows) {
            let of_method = |row: &&AblationRow| row.variation == variation.name && row.method == method;
            let cells: Vec<String> = rows.iter().filter(of_method).map(cell).collect();
            if !cells.is_empty() {
                let names = [variation.name.clone(), variation.suspect.clone(), method.label().to_owned()];
                lines.push(names.into_iter().chain(cells).collect());
            }
        }
    }
    lines
}

/// The methods of these rows, in order.
fn methods(rows: &[AblationRow]) -> Vec<Method> {
    Method::trained(rows.iter().map(|row| row.method))
}

/// The comparison of all variations.
fn page(ablations: &Ablations, rows: &[AblationRow], subtitle: &str) -> Result<String> {
    let mut text = String::from("# What keeps the methods from the optimum\n\n");
    write!(
        text,
        "{subtitle}\n\nEach variation is the same study with one thing changed. Numbers are shares of the reweighted \
         optimum's gain in reward that a method's upper envelope earns, with 95% intervals over prompts, and over seeds where there are two or more; \
         after the semicolon, what the variation adds to the base's share, paired by seed and prompt. A dagger marks a KL that the \
         method's points do not reach: its envelope is flat there for want of training. *as base* is a method that the \
         variation leaves alone. A reference model of its own has an optimum of its own, and its shares are of that.\n\n\
         ![Share of the optimum's gain of every variation](ablations.svg)\n\n"
    )?;
    for (index, line) in table(ablations, rows).iter().enumerate() {
        writeln!(text, "| {} |", line.join(" | "))?;
        if index == 0 {
            writeln!(text, "|{}", "-|".repeat(line.len()))?;
        }
    }
    text.push_str("\n## The best of each method\n\n");
    for kl in ABLATION_KLS {
        writeln!(text, "- {}", best_at(rows, kl))?;
    }
    Ok(text)
}

/// The runs that `responses.csv` has.
fn responses_table(responses: &[ResponsesRow]) -> Result<String> {
    let mut text = String::from(
        "| method | responses | passes | seed | share ± s.e. | KL, nats | accuracy on held-out pairs |\n\
         |-|-:|-:|-:|-:|-:|-:|\n",
    );
    for row in responses {
        let ResponsesRow { responses, passes, seed, share, share_se, kl, pair_accuracy, .. } = row;
        let (method, share, share_se) = (row.method.label(), 100.0 * share, 100.0 * share_se);
        writeln!(
            text,
            "| {method} | {responses} | {passes} | {seed} | {share:.0}% ± {share_se:.0} | {kl:.2} | {pair_accuracy:.3} |"
        )?;
    }
    Ok(text)
}

/// What each variation changes.
fn changes(ablations: &Ablations, rows: &[AblationRow]) -> Result<String> {
    let mut text = String::new();
    write!(text, "\n## Variations\n\nBase: preset `{}`", ablations.base)?;
    text.push_str(if ablations.set.is_empty() { ".\n\n" } else { " with " });
    if !ablations.set.is_empty() {
        writeln!(text, "{}.\n", code(&ablations.set))?;
    }
    for Variation { name, set, .. } in &ablations.variation {
        let changes = if set.is_empty() { "no change".to_owned() } else { code(set) };
        let finished = rows.iter().any(|row| row.variation == *name);
        writeln!(text, "- **{name}**{}: {changes}", if finished { "" } else { " (not run)" })?;
    }
    text.push_str("\nThe folder of each variation has its own `REPORT.md`.\n");
    Ok(text)
}

fn code(set: &[String]) -> String {
    set.iter().map(|entry| format!("`{entry}`")).collect::<Vec<_>>().join(", ")
}

fn cell(row: &AblationRow) -> String {
    if row.is_as_base() {
        return "as base".to_owned();
    }
    let Some(share) = row.share else { return "-".to_owned() };
    let dagger = if row.covered { "" } else { "†" };
    let difference = row.difference.map_or_else(String::new, |difference| {
        let signed = |x: f64| format!("{:+.0}", 100.0 * x);
        let (low, high) = difference.interval;
        format!("; {} [{}, {}]", signed(difference.value), signed(low), signed(high))
    });
    format!("{}{dagger}{difference}", percent(&share))
}

/// The best variation of each method at one KL, in a sentence. A flat envelope counts: its policies are
/// within that KL. Variations that leave the method alone are its base.
fn best_at(rows: &[AblationRow], kl: f64) -> String {
    let best = |method: Method| {
        let own = rows
            .iter()
            .filter(|row| row.method == method && row.kl.total_cmp(&kl).is_eq() && !row.is_as_base());
        let (row, share) =
            own.filter_map(|row| Some((row, row.share?))).max_by(|a, b| a.1.value.total_cmp(&b.1.value))?;
        Some(format!(
            "{} earns most with the variation “{}”, {}",
            method.label(),
            row.variation,
            percent(&share)
        ))
    };
    let found: Vec<String> = methods(rows).into_iter().filter_map(best).collect();
    let sentence = if found.is_empty() { "nothing is known".to_owned() } else { found.join("; ") };
    format!("At {} {sentence}.", nats(kl))
}
