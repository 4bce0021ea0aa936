//! Figure, tables and pages of win rates, from a folder's tables and its manifest alone.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use frontier::claims::Claim;
use frontier::figures::{WinRateFigure, win_rate_figure};
use frontier::intervals::mean;
use frontier::win_rate::{WinRate, WinRates, win_rates};
use frontier::{
    Bootstrap, JUDGEMENTS, Method, TEMPERATURES, Table, TemperatureRow, claims_table, read_judgements,
    read_temperatures, win_rate_answer, win_rate_claims, win_rate_tables,
};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Value, context};
use serde::Serialize;

use crate::exit::{BadInput, Outcome};
use crate::imdb_frontier::results::copy;
use crate::study::folder::{read_json, write_json, write_text};
use crate::study::manifest::{DONE, MANIFEST};
use crate::tldr::manifest::Manifest;
use crate::tldr::samples::{self, SAMPLES, Sample};
use crate::tldr::words::Words;

const HTML: &str = "report.html";
const MARKDOWN: &str = "REPORT.md";
const FIGURE: &str = "win_rate.svg";
const NUMBERS: &str = "win_rates.csv";
const BOOTSTRAP: Bootstrap = Bootstrap { resamples: 2000, seed: 0 };

/// Whether a folder has win rates to draw.
pub fn is_drawn(dir: &Path) -> bool {
    dir.join(JUDGEMENTS).is_file()
}

/// Copies what win rates are drawn from into a folder for a repository, and draws it there. What people wrote
/// and answers of endpoints stay behind.
pub fn publish(from: &Path, to: &Path) -> Result<Outcome> {
    let manifest: Manifest = read_json(&from.join(MANIFEST))?;
    if manifest.status != DONE {
        let found = format!("{}: found status {}", from.display(), manifest.status);
        return Err(BadInput(format!("{found}, expected {DONE}; the command that began it goes on")).into());
    }
    std::fs::create_dir_all(to).map_err(|error| BadInput(format!("{}: {error}", to.display())))?;
    for name in [MANIFEST, JUDGEMENTS, TEMPERATURES, SAMPLES] {
        copy(from, to, name)?;
    }
    draw(to)?;
    tracing::info!("{}", to.join(MARKDOWN).display());
    Ok(Outcome::Done)
}

/// A judge's claims, for the pages.
#[derive(Serialize)]
struct Tested {
    judge: String,
    answer: String,
    claims: Table,
}

/// Draws the figure and writes the tables, the claims and the report.
pub fn draw(dir: &Path) -> Result<()> {
    let manifest: Manifest = read_json(&dir.join(MANIFEST))?;
    let rates = win_rates(&read_judgements(dir.join(JUDGEMENTS))?, BOOTSTRAP)?;
    let rows = read_temperatures(dir.join(TEMPERATURES))?;
    let words = Words::of(&manifest);
    let figure =
        WinRateFigure { rates: &rates, title: words.title, subtitle: &words.subtitle, paper: words.paper };
    let svg = win_rate_figure(&figure)?;
    write_text(&dir.join(FIGURE), &svg)?;
    write_text(&dir.join(NUMBERS), &numbers(&rates, &rows)?)?;
    let mut claims: BTreeMap<&str, Vec<Claim>> = BTreeMap::new();
    let mut tested = Vec::new();
    for by in &rates.judges {
        let of_judge = win_rate_claims(by)?;
        let answer = win_rate_answer(by).unwrap_or_default();
        tested.push(Tested { judge: by.judge.clone(), answer, claims: claims_table(&of_judge) });
        claims.insert(&by.judge, of_judge);
    }
    write_json(&dir.join("summary.json"), &rates)?;
    write_json(&dir.join("claims.json"), &claims)?;
    let mut tables = win_rate_tables(&rates);
    tables.push(earned(&rows, words.reward));
    let shown = samples::read(&dir.join(SAMPLES))?;
    let page = context! {
        words => Serde(words),
        svg => svg,
        tested => Serde(tested),
        tables => Serde(tables),
        samples => Serde(by_prompt(&shown)),
        columns => columns(&shown).iter().map(|(method, t)| format!("{} at {t}", method.label())).collect::<Vec<_>>(),
        manifest => Serde(manifest.clone()),
        settings => toml::to_string_pretty(&manifest.settings)?,
    };
    for (name, text) in pages(&page)? {
        write_text(&dir.join(name), &text)?;
    }
    Ok(())
}

/// Mean over seeds of a number of a method at a temperature.
fn over_seeds(
    rows: &[TemperatureRow],
    (method, temperature): (Method, f64),
    of: fn(&TemperatureRow) -> f64,
) -> f64 {
    let here =
        |row: &&TemperatureRow| row.method == method && row.temperature.total_cmp(&temperature).is_eq();
    mean(&rows.iter().filter(here).map(of).collect::<Vec<f64>>())
}

/// `win_rates.csv`: a line for each judge, method and temperature.
fn numbers(rates: &WinRates, rows: &[TemperatureRow]) -> Result<String> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record([
        "judge",
        "method",
        "temperature",
        "win_rate",
        "low",
        "high",
        "balanced",
        "seeds",
        "score",
        "second_opinion",
        "sequence_kl",
        "length",
    ])?;
    for by in &rates.judges {
        for one in &by.rates {
            let WinRate { method, temperature, rate, balanced } = one;
            let of_policy = |of| over_seeds(rows, (*method, *temperature), of);
            let rates = [rate.value, rate.interval.0, rate.interval.1];
            let earned: [fn(&TemperatureRow) -> f64; 4] =
                [|row| row.score, |row| row.second_opinion, |row| row.sequence_kl, |row| row.length];
            let fixed = |x: f64| format!("{x:.4}");
            let fields = [by.judge.clone(), method.name().to_owned(), temperature.to_string()]
                .into_iter()
                .chain(rates.map(fixed))
                .chain([balanced.map_or_else(String::new, |balanced| fixed(balanced.value))])
                .chain([rate.seeds.to_string()])
                .chain(earned.map(|of| fixed(of_policy(of))));
            csv.write_record(fields)?;
        }
    }
    Ok(String::from_utf8(csv.into_inner()?)?)
}

/// What responses earn at each temperature, and how far they are from the reference.
fn earned(rows: &[TemperatureRow], reward: &str) -> Table {
    let mut seen: Vec<(Method, f64)> = Vec::new();
    for row in rows {
        if !seen.contains(&(row.method, row.temperature)) {
            seen.push((row.method, row.temperature));
        }
    }
    let line = |cell: &(Method, f64)| {
        let of = |of| over_seeds(rows, *cell, of);
        vec![
            cell.0.label().to_owned(),
            cell.1.to_string(),
            format!("{:.3}", of(|row| row.score)),
            format!("{:.3}", of(|row| row.second_opinion)),
            format!("{:.2}", of(|row| row.sequence_kl)),
            format!("{:.2}", of(|row| row.distinct_2)),
            format!("{:.1}", of(|row| row.length)),
        ]
    };
    let header =
        ["Method", "Temperature", reward, "Second opinion", "KL, nats", "Distinct bigrams", "Tokens"];
    Table {
        title: "Reward and distance by temperature".to_owned(),
        note: "Means over seeds. The KL is that of the policy at this temperature from the reference at temperature 1; of \
               best-of-n an upper bound."
            .to_owned(),
        header: header.map(str::to_owned).to_vec(),
        rows: seen.iter().map(line).collect(),
        words: 1,
        folded: true,
    }
}

/// The methods and temperatures of the samples that are shown: the coldest and the hottest of each method.
fn columns(samples: &[Sample]) -> Vec<(Method, f64)> {
    let temperatures = || samples.iter().map(|sample| sample.temperature);
    let ends = [temperatures().fold(f64::INFINITY, f64::min), temperatures().fold(0.0, f64::max)];
    let mut columns: Vec<(Method, f64)> = Vec::new();
    for sample in samples.iter().filter(|sample| ends.contains(&sample.temperature)) {
        if !columns.contains(&(sample.method, sample.temperature)) {
            columns.push((sample.method, sample.temperature));
        }
    }
    columns
}

/// A prompt and its responses in the order of the columns.
fn by_prompt(samples: &[Sample]) -> Vec<(String, Vec<Sample>)> {
    let mut prompts: Vec<&str> = Vec::new();
    for sample in samples {
        if !prompts.contains(&sample.prompt.as_str()) {
            prompts.push(&sample.prompt);
        }
    }
    let columns = columns(samples);
    let row = |prompt: &&str| {
        let of = |column: &(Method, f64)| {
            let here = |one: &&Sample| one.prompt == *prompt && (one.method, one.temperature) == *column;
            samples.iter().find(here).cloned()
        };
        ((*prompt).to_owned(), columns.iter().filter_map(of).collect())
    };
    prompts.iter().map(row).collect()
}

/// File names and text.
fn pages(page: &Value) -> Result<[(&'static str, String); 2]> {
    let mut environment = Environment::new();
    environment
        .set_auto_escape_callback(|name| if name == HTML { AutoEscape::Html } else { AutoEscape::None });
    environment.add_filter("cell", crate::imdb_frontier::report::cell);
    environment.add_filter("markdown", |Serde(table): Serde<Table>| table.markdown());
    environment.add_filter("cells", |Serde(table): Serde<Table>| table.cells());
    environment.add_template(HTML, include_str!("report.html"))?;
    environment.add_template(MARKDOWN, include_str!("report.md"))?;
    let text = |name| -> Result<_> { Ok((name, environment.get_template(name)?.render(page)?)) };
    Ok([text(HTML)?, text(MARKDOWN)?])
}
