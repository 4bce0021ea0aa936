//! The report's pages: `report.html` and `REPORT.md`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use frontier::claims::Claim;
use frontier::{Method, Run, Summary, claims_table, markdown_table, on_frontier};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value, context};
use serde::Serialize;

use crate::ablations;
use crate::manifest::Manifest;
use crate::stages::shared::REFERENCE_SAMPLES;

/// Prompts in the table of samples.
const SHOWN_PROMPTS: usize = 8;
/// Prompts in the table of samples without a KL penalty.
const SHOWN_WITHOUT_PENALTY: usize = 4;

/// What both pages show.
pub(super) struct Page<'a> {
    pub(super) dir: &'a Path,
    pub(super) manifest: &'a Manifest,
    pub(super) summary: &'a Summary,
    pub(super) claims: &'a [Claim],
    pub(super) runs: &'a [Run],
    /// File names and SVG.
    pub(super) figures: &'a [(&'static str, String)],
    /// Where the study was varied.
    pub(super) ablations: Option<&'a ablations::Shown>,
    pub(super) subtitle: &'a str,
}

/// A row of the samples table: the same prompt, continued by several policies.
#[derive(Serialize)]
struct Shown {
    prompt: String,
    responses: Vec<imdb::Sample>,
}

impl Page<'_> {
    /// One file with the figures inline. Everything is escaped but the figures, which this program drew.
    pub(super) fn html(&self) -> Result<String> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.add_template("report", include_str!("../report.html"))?;
        Ok(environment.get_template("report")?.render(self.context()?)?)
    }

    /// The same as Markdown with links to the figures.
    pub(super) fn markdown(&self) -> Result<String> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.add_filter("cell", cell);
        environment.add_template("report", include_str!("../report.md"))?;
        Ok(environment.get_template("report")?.render(self.context()?)?)
    }

    fn context(&self) -> Result<Value> {
        let columns: Vec<(Method, String)> = [Method::Dpo, Method::Ppo, Method::PpoGt]
            .into_iter()
            .filter_map(|method| best_run(self.runs, method).map(|run| (method, run)))
            .collect();
        let samples = shown_samples(self.dir, &columns, SHOWN_PROMPTS)?;
        let free: Vec<(Method, String)> = self
            .runs
            .iter()
            .find(|run| run.without_penalty())
            .map(|run| (Method::Ppo, run.name.clone()))
            .into_iter()
            .collect();
        let without_penalty =
            if free.is_empty() { Vec::new() } else { shown_samples(self.dir, &free, SHOWN_WITHOUT_PENALTY)? };
        // `frontier.svg` is `svg.frontier` in the templates.
        let svg: BTreeMap<String, String> = self
            .figures
            .iter()
            .map(|(name, svg)| (name.trim_end_matches(".svg").to_owned(), svg.clone()))
            .collect();
        Ok(context! {
            subtitle => self.subtitle,
            embedded => self.manifest.embedded,
            svg => Serde(svg),
            ablations => self.ablations.map(Serde),
            summary => Serde(self.summary.clone()),
            claims => Serde(self.claims.to_vec()),
            claims_table => claims_table(self.claims),
            tables => markdown_table(self.summary),
            checks_passed => self.summary.checks.passed(),
            manifest => Serde(self.manifest.clone()),
            preset => toml::to_string_pretty(&toml_value(&self.manifest.preset)).unwrap_or_default(),
            columns => columns.iter().map(|(method, run)| (method.label(), run.clone())).collect::<Vec<_>>(),
            samples => Serde(samples),
            without_penalty => Serde(without_penalty),
            without_penalty_run => free.first().map(|(_, run)| run.clone()),
        })
    }
}

/// A model's text as a cell of a Markdown table: nothing in it is markup.
fn cell(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\n' | '\r' | '\t' => escaped.push(' '),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '#' | '~' | '!' | '$' => {
                escaped.push('\\');
                escaped.push(character);
            }
            other => escaped.push(other),
        }
    }
    escaped
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

/// The run on a method's frontier whose last checkpoint earned most.
fn best_run(runs: &[Run], method: Method) -> Option<String> {
    let last = runs.iter().filter_map(|run| Some((run, run.evals.last()?)));
    let of_method = last.filter(|(_, eval)| eval.method == method && on_frontier(eval));
    of_method.max_by(|a, b| a.1.score.total_cmp(&b.1.score)).map(|(run, _)| run.name.clone())
}

/// The same prompts, continued by the reference and by these runs.
fn shown_samples(dir: &Path, columns: &[(Method, String)], prompts: usize) -> Result<Vec<Shown>> {
    let reference = read_samples(&dir.join(REFERENCE_SAMPLES))?;
    let mut methods = Vec::new();
    for (_, run) in columns {
        methods.push(read_samples(&dir.join("runs").join(run).join("samples.jsonl"))?);
    }
    Ok(reference
        .into_iter()
        .enumerate()
        .take(prompts)
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

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn nothing_in_a_cell_is_markup() {
        let text = "a|b <script>\n[x](y) `c` *d* & \\e";
        assert_eq!(cell(text), "a\\|b &lt;script&gt; \\[x\\](y) \\`c\\` \\*d\\* &amp; \\\\e");
    }
}
