//! A summary as Markdown tables.

use crate::comparison::Comparison;
use crate::intervals::Estimate;
use crate::summary::{AREA_LIMITS, KL_GRID, REWARD_GRID};
use crate::{MethodSummary, Summary};

/// The summary as Markdown: mean reward under the envelopes, reward at given KL, share of the possible gain,
/// KL for given reward, comparisons, best-of-n, checks and failed runs. `±` is half of a 95% t interval over
/// seeds and is absent with fewer than two.
pub fn markdown_table(summary: &Summary) -> String {
    let sections = [
        areas(summary),
        rewards(summary),
        gain_shares(summary),
        kls(summary),
        comparisons(summary),
        best_of_n(summary),
        checks(summary),
    ];
    sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n")
}

/// A title, a header and rows; nothing if there is no row.
fn table(title: &str, header: &[String], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let rule = format!("|-{}|\n", "|-:".repeat(header.len() - 1));
    let body: String = rows.iter().map(|row| line(row)).collect();
    format!("{title}\n\n{}{rule}{body}", line(header))
}

fn header(first: &[&str], rest: impl IntoIterator<Item = String>) -> Vec<String> {
    first.iter().map(|cell| (*cell).to_owned()).chain(rest).collect()
}

fn per_method(summary: &Summary, cells: impl Fn(&MethodSummary) -> Vec<String>) -> Vec<Vec<String>> {
    let row = |method: &MethodSummary| [vec![method.method.label().to_owned()], cells(method)].concat();
    summary.methods.iter().map(row).collect()
}

fn areas(summary: &Summary) -> String {
    let counts = |method: &MethodSummary| {
        vec![
            method.runs.to_string(),
            method.seeds.len().to_string(),
            method.points.to_string(),
            format!("{:.2}", method.largest_kl),
        ]
    };
    let rows = per_method(summary, |method| {
        let areas = method.areas.iter().map(|area| estimate(&area.reward));
        counts(method).into_iter().chain(areas).collect()
    });
    let title = format!(
        "Mean reward under the upper envelope from KL 0 to a limit in nats (reference {:.3} ± {:.3} s.e.)",
        summary.reference.mean, summary.reference.se
    );
    let first = ["Method", "Runs", "Seeds", "Points", "Largest KL"];
    table(&title, &header(&first, AREA_LIMITS.iter().map(|limit| format!("to KL {limit}"))), &rows)
}

fn rewards(summary: &Summary) -> String {
    let mut rows = per_method(summary, |method| {
        method.rewards.iter().map(|reward| estimate(&reward.envelope)).collect()
    });
    rows.extend(
        per_method(summary, |method| {
            method.rewards.iter().map(|reward| number(reward.isotonic, 3)).collect()
        })
        .into_iter()
        .map(|mut row| {
            row[0].push_str(", isotonic");
            row
        }),
    );
    if !summary.optimum.is_empty() {
        let at = |kl: f64| {
            summary.optimum.iter().find(|point| point.0.total_cmp(&kl).is_eq()).map(|point| point.1)
        };
        rows.push(header(&["Reweighted optimum"], KL_GRID.iter().map(|kl| number(at(*kl), 3))));
    }
    table("Reward at a KL in nats (upper envelope)", &header(&["Method"], kl_columns()), &rows)
}

fn gain_shares(summary: &Summary) -> String {
    if summary.optimum.is_empty() {
        return String::new();
    }
    let percent = |share: Option<f64>| share.map_or_else(|| "-".to_owned(), |s| format!("{:.0}%", 100.0 * s));
    let rows = per_method(summary, |method| {
        method.rewards.iter().map(|reward| percent(reward.gain_share)).collect()
    });
    table("Share of the reweighted optimum's gain", &header(&["Method"], kl_columns()), &rows)
}

fn kls(summary: &Summary) -> String {
    let rows = per_method(summary, |method| method.kls.iter().map(|kl| number(kl.kl, 2)).collect());
    let columns = REWARD_GRID.iter().map(|reward| format!("reward {reward}"));
    table("KL (nats) at which the mean envelope reaches a reward", &header(&["Method"], columns), &rows)
}

fn comparisons(summary: &Summary) -> String {
    let row = |comparison: &Comparison| {
        let (low, high) = comparison.bootstrap;
        let t = comparison.difference.interval;
        vec![
            format!("{} - {}", comparison.first.label(), comparison.second.label()),
            comparison.kl.to_string(),
            format!("{:+.3}", comparison.difference.mean),
            format!("[{low:+.3}, {high:+.3}]"),
            t.map_or_else(|| "-".to_owned(), |(low, high)| format!("[{low:+.3}, {high:+.3}]")),
            format!("{:.3}", comparison.probability_ahead),
            comparison.difference.seeds.to_string(),
        ]
    };
    let first =
        ["Difference", "KL", "Reward", "95% bootstrap", "95% t over seeds", "P(first ahead)", "Paired seeds"];
    let rows: Vec<Vec<String>> = summary.comparisons.iter().map(row).collect();
    table("Paired differences of the envelopes", &header(&first, []), &rows)
}

fn best_of_n(summary: &Summary) -> String {
    let rows = summary.best_of_n.iter().map(|point| {
        vec![
            point.n.to_string(),
            format!("{:.3}", point.reward),
            format!("{:.3}", point.reward_se),
            format!("{:.2}", point.sequence_kl_bound),
        ]
    });
    table("Best-of-n", &header(&["n", "Reward", "s.e.", "KL at most"], []), &rows.collect::<Vec<_>>())
}

fn checks(summary: &Summary) -> String {
    let checks = &summary.checks;
    let off_zero: Vec<String> =
        checks.start_off_zero.iter().map(|(run, kl)| format!("{run} ({kl:.2e} nats)")).collect();
    let agreement = checks.k1_agreement.map_or_else(
        || "no point to compare".to_owned(),
        |share| format!("{:.1}% of {} points", 100.0 * share, checks.k1_compared),
    );
    format!(
        "Checks: {}\n\n\
         - KL at step 0 other than 0: {}\n\
         - no evaluation at step 0: {}\n\
         - exact and k1 KL agree within 3 s.e.: {agreement}\n\
         - points beyond the Bernoulli floor: {}\n\
         - points without a finite score and KL: {}\n\
         - failed runs: {}\n",
        if checks.passed() { "all passed" } else { "FAILED" },
        list(&off_zero),
        list(&checks.start_missing),
        list(&checks.beyond_floor),
        checks.not_finite,
        list(&summary.failed_runs),
    )
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn kl_columns() -> impl Iterator<Item = String> {
    KL_GRID.iter().map(|kl| format!("KL {kl}"))
}

fn estimate(estimate: &Estimate) -> String {
    match estimate.interval {
        Some((_, high)) => format!("{:.3} ± {:.3}", estimate.mean, high - estimate.mean),
        None => format!("{:.3}", estimate.mean),
    }
}

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}
