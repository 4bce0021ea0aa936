//! The frontier and the report, from a folder's CSV files and its manifest alone.

use std::path::Path;

use anyhow::{Context, Result};
use frontier::claims::claims;
use frontier::figures::{
    Clock, FrontierFigure, ahead_figure, collapse_figure, drift_figure, frontier_figure, histogram_figure,
    overoptimization_figure, training_figure,
};
use frontier::{
    Analysis, Bootstrap, Curves, FrontierRow, Method, MethodCost, MethodCosts, PromptSamples, Run,
    markdown_table, read_evals, read_runs, summarise, write_frontier,
};
use serde_json::Value;

use crate::ablations;
use crate::cli::ReportOptions;
use crate::exit::{BadInput, Outcome};
use crate::folder::{Folder, read_json, write_json, write_text};
use crate::frontier_command::MANIFEST;
use crate::manifest::Manifest;
use crate::plan::Plan;
use crate::stages::shared::REFERENCE_SCORES;

mod pages;

/// Reference samples that must carry a reweighted mean, for the optimum to be drawn.
const MIN_EFFECTIVE_SAMPLES: f64 = 8.0;
/// Resamples of the prompts.
const BOOTSTRAP: Bootstrap = Bootstrap { resamples: 2000, seed: 0 };

/// Writes `frontier.csv`: one row for every evaluated checkpoint of the finished runs, in the order of the plan.
pub fn collect(plan: &Plan, folder: &Folder) -> Result<()> {
    let mut rows = Vec::new();
    for spec in &plan.runs {
        if folder.finished_run(&spec.name, &spec.key).is_some() {
            let evals = read_evals(folder.run(&spec.name).join("evals.csv"))?;
            rows.extend(evals.into_iter().map(|eval| FrontierRow { run: spec.name.clone(), eval }));
        }
    }
    Ok(write_frontier(folder.file("frontier.csv"), &rows)?)
}

/// `experiments report DIR`.
pub fn run(options: &ReportOptions) -> Result<Outcome> {
    let dir = options.dir.as_path();
    if dir.join(ablations::RECORD).is_file() {
        ablations::draw(dir)?;
        return Ok(Outcome::Done);
    }
    if !is_study(dir) {
        let found = format!("{}: no {MANIFEST}", dir.display());
        return Err(
            BadInput(format!("{found}; expected a folder that imdb-frontier or ablations wrote")).into()
        );
    }
    draw(dir)?;
    Ok(Outcome::Done)
}

/// Whether a folder is one of `imdb-frontier`.
pub fn is_study(dir: &Path) -> bool {
    dir.join(MANIFEST).is_file()
}

/// A finished study, as its CSV files and its manifest tell it.
pub struct Study {
    manifest: Manifest,
    runs: Vec<Run>,
    samples: PromptSamples,
}

impl Study {
    pub fn read(dir: &Path) -> Result<Self> {
        let manifest = read_json(&dir.join(MANIFEST))?;
        let samples = read_scores(&dir.join(REFERENCE_SCORES))?;
        Ok(Self { manifest, runs: read_runs(dir)?, samples })
    }

    /// The study with its prompts resampled.
    pub fn analysis(&self) -> Result<Analysis<'_>> {
        Ok(Analysis::new(&self.runs, &self.samples, MIN_EFFECTIVE_SAMPLES, BOOTSTRAP)?)
    }

    /// Preset, seeds and data in one line.
    pub fn subtitle(&self) -> String {
        subtitle(&self.manifest, seeds(&self.manifest))
    }
}

/// Draws every figure and writes the summary, the claims and the report, from the CSV files and the manifest.
pub fn draw(dir: &Path) -> Result<()> {
    let study = Study::read(dir)?;
    let analysis = study.analysis()?;
    let subtitle = study.subtitle();
    let Study { manifest, runs, samples } = &study;
    let failed: Vec<String> =
        manifest.runs.iter().filter(|run| run.status != "done").map(|run| run.name.clone()).collect();
    let costs = costs(manifest, runs);
    let (summary, curves) = summarise(&analysis, &costs, &failed);
    let labels = manifest.preset.pointer("/preferences/labels").and_then(Value::as_str).unwrap_or("unknown");
    let claims = claims(&summary, runs, labels)?;
    let figures = figures(&analysis, (runs, &curves, samples), failed.len(), &subtitle)?;
    for (name, svg) in &figures {
        write_text(&dir.join(name), svg)?;
    }
    write_json(&dir.join("summary.json"), &summary)?;
    write_json(&dir.join("claims.json"), &claims)?;
    write_text(&dir.join("SUMMARY.md"), &format!("# {subtitle}\n\n{}", markdown_table(&summary)))?;
    let varied = dir.join(ablations::FOLDER);
    let has_ablations = varied.join(ablations::RECORD).is_file();
    let of_seeds = |seeds| self::subtitle(manifest, seeds);
    let ablations = has_ablations.then(|| ablations::shown(&varied, of_seeds)).transpose()?;
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
    analysis: &Analysis<'_>,
    (runs, curves, samples): (&[Run], &Curves, &PromptSamples),
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
    Ok(figures)
}

/// What methods spend beside the tokens of their runs.
fn costs(manifest: &Manifest, runs: &[Run]) -> MethodCosts {
    let reward_model = manifest.stages.iter().find(|stage| stage.name == "reward-model");
    let of_method = |method: Method| {
        let flops = manifest.flops.as_ref().and_then(|flops| flops.get(&method));
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

/// Preset, seeds and data in one line, with the word *embedded* where it is due.
fn subtitle(manifest: &Manifest, seeds: usize) -> String {
    let name =
        Path::new(&manifest.preset_name).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let data = if manifest.embedded {
        "embedded models, no reviews"
    } else if manifest.data == "synthetic" {
        "synthetic reviews"
    } else {
        "IMDb reviews"
    };
    let plural = if seeds == 1 { "" } else { "s" };
    format!("preset {name}, {seeds} seed{plural}, {data}")
}

fn seeds(manifest: &Manifest) -> usize {
    manifest.preset.get("seeds").and_then(Value::as_array).map_or(0, Vec::len)
}

/// Scores of the reference samples, a list for each prompt.
fn read_scores(path: &Path) -> Result<PromptSamples> {
    let mut csv = csv::Reader::from_path(path).with_context(|| path.display().to_string())?;
    let mut scores: Vec<Vec<f64>> = Vec::new();
    for (line, record) in csv.deserialize::<(usize, usize, f64)>().enumerate() {
        let (prompt, _, score) =
            record.map_err(|error| BadInput(format!("{}:{}: {error}", path.display(), line + 2)))?;
        if prompt >= scores.len() {
            scores.resize_with(prompt + 1, Vec::new);
        }
        scores[prompt].push(score);
    }
    Ok(PromptSamples::new(scores)?)
}
