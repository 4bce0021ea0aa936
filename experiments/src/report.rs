//! The frontier and the report, from a folder's CSV files and its manifest alone.

use std::path::Path;

use anyhow::{Context, Result};
use frontier::best_of_n::best_of_n_curve;
use frontier::comparison::Bootstrap;
use frontier::figures::{FrontierFigure, frontier_figure, histogram_figure, training_figure};
use frontier::optimum::optimum_curve;
use frontier::{
    FrontierRow, Method, PromptSamples, Reference, Summary, SummaryInputs, markdown_table, read_evals,
    read_frontier, summary, write_frontier,
};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, context};
use serde::Serialize;

use crate::exit::{BadInput, Outcome};
use crate::folder::{Folder, read_json, write_json, write_text};
use crate::frontier_command::MANIFEST;
use crate::manifest::Manifest;
use crate::plan::Plan;
use crate::stages::shared::{REFERENCE_SAMPLES, REFERENCE_SCORES};

/// Reference samples that must carry a reweighted mean, for the optimum to be drawn.
const MIN_EFFECTIVE_SAMPLES: f64 = 8.0;
/// Resamples of the paired bootstrap.
const BOOTSTRAP: Bootstrap = Bootstrap { resamples: 2000, seed: 0 };
/// Prompts in the report's table of samples.
const SHOWN_PROMPTS: usize = 8;

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

/// `experiments plot DIR`.
pub fn plot(dir: &Path) -> Result<Outcome> {
    if !dir.join(MANIFEST).is_file() {
        let found = format!("{}: no {MANIFEST}", dir.display());
        return Err(BadInput(format!("{found}; expected a folder that imdb-frontier wrote")).into());
    }
    draw(dir)?;
    Ok(Outcome::Done)
}

/// Draws every figure and writes the summary and the report.
pub fn draw(dir: &Path) -> Result<()> {
    let manifest: Manifest = read_json(&dir.join(MANIFEST))?;
    let rows = read_frontier(dir.join("frontier.csv"))?;
    let samples = read_scores(&dir.join(REFERENCE_SCORES))?;
    let reference = Reference::from_samples(&samples);
    let optimum = optimum_curve(&samples, MIN_EFFECTIVE_SAMPLES);
    let best_of_n = best_of_n_curve(&samples);
    let failed: Vec<String> =
        manifest.runs.iter().filter(|run| run.status != "done").map(|run| run.name.clone()).collect();
    let inputs = SummaryInputs {
        reference,
        optimum: &optimum,
        best_of_n: &best_of_n,
        failed_runs: &failed,
        bootstrap: BOOTSTRAP,
    };
    let summary = summary(&rows, &inputs);
    let subtitle = subtitle(&manifest);
    let figure = |paper| FrontierFigure {
        rows: &rows,
        reference,
        optimum: &optimum,
        best_of_n: &best_of_n,
        failed_runs: failed.len(),
        subtitle: &subtitle,
        paper,
    };
    let figures = [
        ("frontier.svg", frontier_figure(&figure(true))?),
        ("frontier_without_paper.svg", frontier_figure(&figure(false))?),
        ("training.svg", training_figure(&rows, &subtitle)?),
        ("reference_scores.svg", histogram_figure(&samples, &subtitle)?),
    ];
    for (name, svg) in &figures {
        write_text(&dir.join(name), svg)?;
    }
    write_json(&dir.join("summary.json"), &summary)?;
    let tables = markdown_table(&summary);
    write_text(&dir.join("SUMMARY.md"), &format!("# {subtitle}\n\n{tables}"))?;
    let html = html(dir, &manifest, &summary, &rows, &figures)?;
    write_text(&dir.join("report.html"), &html)
}

/// Preset, seeds and data in one line, with the word *embedded* where it is due.
fn subtitle(manifest: &Manifest) -> String {
    let seeds = manifest.preset.get("seeds").and_then(serde_json::Value::as_array).map_or(0, Vec::len);
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

/// A row of the samples table: the same prompt, continued by several policies.
#[derive(Serialize)]
struct Shown {
    prompt: String,
    responses: Vec<imdb::Sample>,
}

fn html(
    dir: &Path,
    manifest: &Manifest,
    summary: &Summary,
    rows: &[FrontierRow],
    figures: &[(&str, String)],
) -> Result<String> {
    let columns: Vec<(Method, String)> = [Method::Dpo, Method::Ppo, Method::PpoGt]
        .into_iter()
        .filter_map(|method| best_run(rows, method).map(|run| (method, run)))
        .collect();
    let samples = shown_samples(dir, &columns)?;
    let mut environment = Environment::new();
    // Everything is escaped but the figures, which this program drew.
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.add_template("report", include_str!("report.html"))?;
    let svg =
        |name: &str| figures.iter().find(|(found, _)| *found == name).map_or("", |(_, svg)| svg.as_str());
    let rendered = environment.get_template("report")?.render(context! {
        subtitle => subtitle(manifest),
        embedded => manifest.embedded,
        frontier => svg("frontier.svg"),
        training => svg("training.svg"),
        scores => svg("reference_scores.svg"),
        summary => Serde(summary.clone()),
        checks_passed => summary.checks.passed(),
        manifest => Serde(manifest.clone()),
        preset => toml::to_string_pretty(&toml_value(&manifest.preset)).unwrap_or_default(),
        columns => columns.iter().map(|(method, run)| (method.label(), run.clone())).collect::<Vec<_>>(),
        samples => Serde(samples),
    })?;
    Ok(rendered)
}

/// TOML has no null: keys without a value are left out.
fn toml_value(value: &serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(map) => serde_json::Value::Object(
            map.iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| (key.clone(), toml_value(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// The run of a method whose last checkpoint earned most.
fn best_run(rows: &[FrontierRow], method: Method) -> Option<String> {
    let mut last: Vec<&FrontierRow> = Vec::new();
    for row in rows.iter().filter(|row| row.eval.method == method) {
        match last.last_mut() {
            Some(previous) if previous.run == row.run => *previous = row,
            _ => last.push(row),
        }
    }
    last.into_iter().max_by(|a, b| a.eval.score.total_cmp(&b.eval.score)).map(|row| row.run.clone())
}

/// The same prompts, continued by the best run of each method.
fn shown_samples(dir: &Path, columns: &[(Method, String)]) -> Result<Vec<Shown>> {
    let reference = read_samples(&dir.join(REFERENCE_SAMPLES))?;
    let mut methods = Vec::new();
    for (_, run) in columns {
        methods.push(read_samples(&dir.join("runs").join(run).join("samples.jsonl"))?);
    }
    Ok(reference
        .into_iter()
        .enumerate()
        .take(SHOWN_PROMPTS)
        .map(|(i, first)| {
            let prompt = first.prompt.clone();
            let others = methods.iter().filter_map(|samples| samples.get(i).cloned());
            Shown { prompt, responses: std::iter::once(first).chain(others).collect() }
        })
        .collect())
}

fn read_samples(path: &Path) -> Result<Vec<imdb::Sample>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.lines()
        .enumerate()
        .map(|(i, line)| serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), i + 1)))
        .collect()
}
