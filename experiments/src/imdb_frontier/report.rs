//! The frontier and the report, from a folder's CSV files and its manifest alone.

use std::path::Path;

use anyhow::Result;
use frontier::claims::claims;
use frontier::figures::{
    Clock, FrontierFigure, ahead_figure, collapse_figure, drift_figure, frontier_figure, histogram_figure,
    law_figure, overoptimization_figure, responses_figure, stages_figure, training_figure, why_figure,
};
use frontier::why::WHY_KLS;
use frontier::{
    Analysis, Curves, FrontierRow, Method, MethodCost, MethodCosts, Run, Summary, markdown_table, read_evals,
    read_responses, summarise, write_frontier,
};
use serde_json::Value;

use crate::imdb_frontier::ablations::{page, record};
use crate::imdb_frontier::results::{self, Study};
use crate::study::folder::{Folder, write_json, write_text};
use crate::study::manifest::Manifest;
use crate::study::work::RunWork;

mod pages;

pub use pages::cell;

/// Writes `frontier.csv`: one row for every evaluated checkpoint of the finished runs, in the order of the
/// plan.
pub fn collect(runs: &[RunWork], folder: &Folder) -> Result<()> {
    let mut rows = Vec::new();
    for run in runs {
        if folder.finished_run(&run.name, &run.key).is_some() {
            let evals = read_evals(folder.run(&run.name).join("evals.csv"))?;
            rows.extend(evals.into_iter().map(|eval| FrontierRow { run: run.name.clone(), eval }));
        }
    }
    Ok(write_frontier(folder.file("frontier.csv"), &rows)?)
}

/// Draws every figure and writes the summary, the claims and the report, from the CSV files and the manifest.
pub fn draw(dir: &Path) -> Result<()> {
    let study = Study::read(dir)?;
    let analysis = study.analysis()?;
    let subtitle = study.subtitle();
    let Study { manifest, runs, .. } = &study;
    let failed: Vec<String> =
        manifest.runs.iter().filter(|run| run.status != "done").map(|run| run.name.clone()).collect();
    let costs = costs(manifest, runs);
    let (summary, curves) = summarise(&analysis, &costs, &failed);
    let labels = manifest.preset.pointer("/preferences/labels").and_then(Value::as_str).unwrap_or("unknown");
    let claims = claims(&summary, runs, labels)?;
    let mut figures = figures(&study, (&analysis, &curves), failed.len(), &subtitle)?;
    figures.extend(reasons(dir, &summary, &subtitle)?);
    for (name, svg) in &figures {
        write_text(&dir.join(name), svg)?;
    }
    write_json(&dir.join("summary.json"), &summary)?;
    write_json(&dir.join("claims.json"), &claims)?;
    write_text(&dir.join("SUMMARY.md"), &format!("# {subtitle}\n\n{}", markdown_table(&summary)))?;
    let varied = dir.join(record::FOLDER);
    let has_ablations = varied.join(record::RECORD).is_file();
    let of_seeds = |seeds| results::subtitle(manifest, seeds);
    let ablations = has_ablations.then(|| page::draw_again(&varied, of_seeds)).transpose()?;
    let page = pages::Page {
        dir,
        manifest,
        summary: &summary,
        claims: &claims,
        runs,
        figures: &figures,
        ablations: ablations.as_ref(),
        subtitle: &subtitle,
    };
    for (name, text) in page.render()? {
        write_text(&dir.join(name), &text)?;
    }
    Ok(())
}

/// File names and SVG of all figures.
fn figures(
    Study { runs, samples, stages: [reference_training, reward_model_training], .. }: &Study,
    (analysis, curves): (&Analysis<'_>, &Curves),
    failed_runs: usize,
    subtitle: &str,
) -> Result<Vec<(&'static str, String)>> {
    let rows = Run::rows(runs);
    let reference = analysis.reference();
    let frontier = |paper| {
        frontier_figure(&FrontierFigure {
            rows: &rows,
            curves,
            reference,
            optimum: analysis.optimum(),
            hard_labels: analysis.hard_labels(),
            best_of_n: analysis.best_of_n(),
            failed_runs,
            subtitle,
            paper,
        })
    };
    let best_of_n = analysis.best_of_n();
    let mut figures = vec![
        ("frontier.svg", frontier(true)?),
        ("frontier_without_paper.svg", frontier(false)?),
        ("ahead.svg", ahead_figure(curves, subtitle)?),
        ("overoptimization.svg", overoptimization_figure(runs, reference.mean, best_of_n, subtitle)?),
        ("training.svg", training_figure(runs, Clock::Tokens, subtitle)?),
        ("training_seconds.svg", training_figure(runs, Clock::Seconds, subtitle)?),
        ("drift.svg", drift_figure(runs, subtitle)?),
        ("reference_scores.svg", histogram_figure(samples, runs, subtitle)?),
    ];
    figures.extend(collapse_figure(runs, subtitle)?.map(|svg| ("collapse.svg", svg)));
    let stages = stages_figure(reference_training.as_ref(), reward_model_training.as_ref(), subtitle)?;
    figures.extend(stages.map(|svg| ("stages.svg", svg)));
    Ok(figures)
}

/// File names and SVG of the figures that say why methods differ, as far as the study has what they show.
fn reasons(dir: &Path, summary: &Summary, subtitle: &str) -> Result<Vec<(&'static str, String)>> {
    let ceiling = |kl: f64| {
        let at = summary.hard_labels.iter().find(|at| at.kl.total_cmp(&kl).is_eq());
        at.map(|at| at.gain_share.value)
    };
    let responses = read_responses(dir.join(record::FOLDER))?.unwrap_or_default();
    let figures = [
        ("why.svg", why_figure(&summary.why, &WHY_KLS.map(ceiling), subtitle)?),
        ("law.svg", law_figure(&summary.law, subtitle)?),
        ("responses.svg", responses_figure(&responses, subtitle)?),
    ];
    Ok(figures.into_iter().filter_map(|(name, svg)| Some((name, svg?))).collect())
}

/// What methods spend beside the tokens of their runs.
fn costs(manifest: &Manifest, runs: &[Run]) -> MethodCosts {
    let reward_model = manifest.stages.iter().find(|stage| stage.name.starts_with("reward-model"));
    let of_method = |method: Method| {
        let flops = manifest.flops.get(method.name());
        // Who pays for the reward model's operations pays for its tokens and its seconds.
        let upfront = reward_model.filter(|_| flops.is_some_and(|flops| flops.upfront > 0.0));
        MethodCost {
            upfront_tokens: upfront.map_or(0.0, |stage| stage.tokens as f64),
            upfront_seconds: upfront.map_or(0.0, |stage| stage.seconds),
            upfront_flops: flops.map_or(0.0, |flops| flops.upfront),
            flops_per_token: flops.map(|flops| flops.per_token),
        }
    };
    Run::methods(runs).into_iter().map(|method| (method, of_method(method))).collect()
}
