//! The report's pages: `report.html` and `REPORT.md`.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use frontier::claims::Claim;
use frontier::{
    Method, Run, Summary, Table, answer, checks_table, claims_table, interval_note, law_table, on_frontier,
    reasons, tables, why_tables,
};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value, context};
use serde::Serialize;

use crate::imdb_frontier::ablations::page::Shown as Ablations;
use crate::imdb_frontier::samples;
use crate::study::manifest::Manifest;

const HTML: &str = "report.html";
const MARKDOWN: &str = "REPORT.md";
/// Prompts in the table of samples.
const SHOWN_PROMPTS: usize = samples::PUBLISHED;
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
    pub(super) ablations: Option<&'a Ablations>,
    pub(super) subtitle: &'a str,
}

/// A row of the samples table: the same prompt, continued by several policies.
#[derive(Serialize)]
struct Shown {
    prompt: String,
    responses: Vec<feedback::Sample>,
}

impl Page<'_> {
    /// File names and text: `report.html`, one file with the figures inline, where everything is escaped but
    /// the figures, which this program drew; and `REPORT.md`, the same as Markdown with links to the figures.
    pub(super) fn render(&self) -> Result<[(&'static str, String); 2]> {
        let mut environment = Environment::new();
        environment.set_auto_escape_callback(|name| match name {
            HTML => AutoEscape::Html,
            _ => AutoEscape::None,
        });
        environment.add_filter("cell", cell);
        environment.add_filter("fixed", fixed);
        environment.add_filter("markdown", |Serde(table): Serde<Table>| table.markdown());
        environment.add_filter("cells", |Serde(table): Serde<Table>| table.cells());
        environment.add_template(HTML, include_str!("../report.html"))?;
        environment.add_template(MARKDOWN, include_str!("../report.md"))?;
        let context = self.context()?;
        let page = |name| -> Result<_> { Ok((name, environment.get_template(name)?.render(&context)?)) };
        Ok([page(HTML)?, page(MARKDOWN)?])
    }

    fn context(&self) -> Result<Value> {
        let (shown_kl, columns) = runs_at_one_distance(&ends(self.runs));
        let samples = shown_samples(self.dir, &columns, SHOWN_PROMPTS)?;
        let free: Vec<(Method, String)> = self
            .runs
            .iter()
            .find(|run| run.without_penalty())
            .map(|run| (Method::PPO, run.name.clone()))
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
            answer => Serde(answer(self.summary)),
            claims_table => Serde(claims_table(self.claims)),
            intervals => interval_note(self.summary),
            tables => Serde(tables(self.summary)),
            reasons => Serde(reasons(self.summary)),
            why_tables => Serde(why_tables(self.summary)),
            law_table => law_table(self.summary).map(Serde),
            checks => Serde(checks_table(self.summary)),
            manifest => Serde(self.manifest.clone()),
            preset => toml::to_string_pretty(&toml_value(&self.manifest.preset)).unwrap_or_default(),
            columns => columns.iter().map(|(method, run)| (method.label(), run.clone())).collect::<Vec<_>>(),
            shown_kl => shown_kl,
            samples => Serde(samples),
            without_penalty => Serde(without_penalty),
            without_penalty_run => free.first().map(|(_, run)| run.clone()),
        })
    }
}

/// A model's text as a cell of a Markdown table: nothing in it is markup.
pub fn cell(text: &str) -> String {
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

/// A number with as many decimals as are asked for, zeros included.
fn fixed(x: f64, digits: usize) -> String {
    format!("{x:.digits$}")
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

/// Method, KL and name of every run whose last checkpoint is on its method's frontier.
fn ends(runs: &[Run]) -> Vec<(Method, f64, String)> {
    let last = runs.iter().filter_map(|run| Some((run, run.evals.last()?)));
    let on_frontier = last.filter(|(_, eval)| on_frontier(eval));
    on_frontier.map(|(run, eval)| (eval.method, eval.sequence_kl, run.name.clone())).collect()
}

/// The run of DPO, PPO, PPO-GT and every method that is new here that ends nearest to one KL, and that KL:
/// the largest that all of them reach.
fn runs_at_one_distance(ends: &[(Method, f64, String)]) -> (f64, Vec<(Method, String)>) {
    let of = |method| ends.iter().filter(move |end| end.0 == method);
    let of_paper = [Method::DPO, Method::PPO, Method::PPO_GT];
    let all = Method::trained(ends.iter().map(|end| end.0));
    let methods: Vec<Method> =
        all.into_iter().filter(|method| of_paper.contains(method) || !method.is_known()).collect();
    let furthest = |method: &Method| of(*method).map(|end| end.1).reduce(f64::max);
    let common = methods.iter().filter_map(furthest).reduce(f64::min).unwrap_or_default();
    let off = |end: &(Method, f64, String)| (end.1 - common).abs();
    let nearest = |method: Method| of(method).min_by(|a, b| off(a).total_cmp(&off(b)));
    (common, methods.into_iter().filter_map(nearest).map(|end| (end.0, end.2.clone())).collect())
}

/// The same prompts, continued by the reference and by these runs.
fn shown_samples(dir: &Path, columns: &[(Method, String)], prompts: usize) -> Result<Vec<Shown>> {
    let reference = samples::of_reference(dir)?;
    let mut methods = Vec::new();
    for (_, run) in columns {
        methods.push(samples::of_run(dir, run)?);
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

#[cfg(test)]
mod tests {
    use frontier::Method;

    use super::{cell, runs_at_one_distance};

    #[test]
    fn samples_are_shown_at_the_largest_kl_that_all_methods_come_to() {
        let run = |name: &str, method, kl| (method, kl, name.to_owned());
        let runs = [
            run("dpo-far", Method::DPO, 14.0),
            run("dpo-near", Method::DPO, 4.0),
            run("ppo-far", Method::PPO, 8.0),
            run("ppo-near", Method::PPO, 0.5),
            run("gt", Method::PPO_GT, 5.0),
        ];
        let (kl, shown) = runs_at_one_distance(&runs);
        let names: Vec<&str> = shown.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!((kl, names), (5.0, vec!["dpo-near", "ppo-far", "gt"]));
        assert_eq!(runs_at_one_distance(&[]), (0.0, vec![]));
    }

    #[test]
    fn nothing_in_a_cell_is_markup() {
        let text = "a|b <script>\n[x](y) `c` *d* & \\e";
        assert_eq!(cell(text), "a\\|b &lt;script&gt; \\[x\\](y) \\`c\\` \\*d\\* &amp; \\\\e");
    }
}
