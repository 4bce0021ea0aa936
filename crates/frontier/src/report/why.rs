//! Why methods differ, in tables and sentences.

use super::numbers::{dash, listed, nats, percent, points};
use super::table::Table;
use crate::law::{LawOfMethod, law_by_method};
use crate::why::{Contrast, Made, ShareAt, WHY_KLS};
use crate::{Estimate, Summary};

const NOTE: &str = "‡ marks a KL near which no run of the method, or of one of the two, ends.";

/// The shares of the methods by what they are made of, and what one change adds, with 95% intervals.
pub fn why_tables(summary: &Summary) -> Vec<Table> {
    let kls = || WHY_KLS.iter().map(|kl| format!("at {}", nats(*kl)));
    let cells = |numbers: &[ShareAt], written: fn(&Estimate) -> String| -> Vec<String> {
        let cell = |at: &ShareAt| {
            let mark = if at.ends_near { "" } else { "‡" };
            at.share.map_or_else(dash, |share| written(&share) + mark)
        };
        numbers.iter().map(cell).collect()
    };
    let made = |made: &Made| {
        let parts = [made.method.label(), &made.loss, &made.data, &made.signal].map(str::to_owned);
        parts.into_iter().chain(cells(&made.shares, percent)).collect()
    };
    let contrast = |one: &Contrast| {
        let pair = format!("{} − {}", one.first.label(), one.second.label());
        [one.change.clone(), pair].into_iter().chain(cells(&one.differences, points)).collect()
    };
    let header =
        |names: &[&str]| names.iter().map(|name| (*name).to_owned()).chain(kls()).collect::<Vec<_>>();
    let note = format!("Shares of the reweighted optimum's gain. {NOTE}");
    let first = ["Method", "Loss", "Data", "Signal"];
    let methods = summary.why.methods.iter().map(made).collect();
    let note_of_changes = format!("Points of share, paired by seed and prompt. {NOTE}");
    let changes = summary.why.contrasts.iter().map(contrast).collect();
    let tables = [
        Table::new("Methods by loss, data and signal", &note, header(&first), methods).map(|t| t.worded(4)),
        Table::new("What one change adds", &note_of_changes, header(&["Change", "From"]), changes)
            .map(|table| table.worded(2)),
    ];
    tables.into_iter().flatten().collect()
}

/// Predicted and measured shares by method; `None` where no accuracy on pairs was measured.
pub fn law_table(summary: &Summary) -> Option<Table> {
    let row = |of: &LawOfMethod| {
        let difference = of.measured - of.predicted;
        vec![
            of.method.label().to_owned(),
            of.runs.to_string(),
            format!("{:.3}", of.pair_accuracy),
            format!("{:.0}%", 100.0 * of.predicted),
            format!("{:.0}%", 100.0 * of.measured),
            format!("{:+.1} ± {:.1}", 100.0 * difference, 100.0 * of.difference_se),
        ]
    };
    let names = [
        "Method",
        "Runs",
        "Accuracy on held-out pairs",
        "Predicted share",
        "Measured share",
        "Difference, points ± s.e.",
    ];
    let note = "Means over the last checkpoints of the runs.";
    let rows = law_by_method(&summary.law).iter().map(row).collect();
    Table::new("Predicted and measured shares", note, names.map(str::to_owned), rows)
}

/// What each change adds at the KLs where runs of both methods end, a sentence for each change.
pub fn reasons(summary: &Summary) -> Vec<String> {
    let sentence = |one: &Contrast| {
        let told = one.differences.iter().filter(|at| at.ends_near);
        let told = told.filter_map(|at| Some(format!("{} at {}", points(&at.share?), nats(at.kl))));
        let told: Vec<String> = told.collect();
        let (first, second) = (one.first.label(), one.second.label());
        Some(format!("{} ({first} in place of {second}): {}.", capital(&one.change), listed(&told)?))
    };
    summary.why.contrasts.iter().filter_map(sentence).collect()
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}
