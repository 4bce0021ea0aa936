//! A summary as Markdown tables.

use super::claims::Claim;
use super::numbers::{dash, estimate, number, percent, signed, threshold};
use crate::statistics::costs::{CostFor, Threshold};
use crate::statistics::{AREA_LIMITS, Comparison, KL_GRID, MethodAt, REWARD_GRID};
use crate::{Estimate, MethodSummary, Summary};

/// The summary as Markdown: where the intervals come from, mean reward under the envelopes, reward at given
/// KL, share of the possible gain, KL and cost of given rewards, comparisons, best-of-n, checks and failed
/// runs. Brackets hold 95% intervals.
pub fn markdown_table(summary: &Summary) -> String {
    let sections = [
        sources(summary),
        areas(summary),
        rewards(summary),
        gain_shares(summary),
        kls(summary),
        costs(summary),
        comparisons(summary),
        best_of_n(summary),
        checks(summary),
    ];
    sections.into_iter().filter(|section| !section.is_empty()).collect::<Vec<_>>().join("\n")
}

/// The claims as a Markdown table: claim, the paper's evidence, our estimate with its interval, verdict.
pub fn claims_table(claims: &[Claim]) -> String {
    let row = |claim: &Claim| {
        let verdict = claim.verdict.to_string();
        vec![claim.text.clone(), claim.evidence.clone(), claim.estimate.clone(), verdict]
    };
    let first = ["Claim", "The paper's evidence", "Here, with 95% intervals", "Verdict"];
    let rows: Vec<Vec<String>> = claims.iter().map(row).collect();
    table("The claims, tested", &header(&first, []), &rows).replace("|-:|-:|-:|", "|-|-|-|")
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

/// A row for each method, `suffix` after its name.
fn per_method(
    summary: &Summary,
    suffix: &str,
    cells: impl Fn(&MethodSummary) -> Vec<String>,
) -> Vec<Vec<String>> {
    let row =
        |method: &MethodSummary| [vec![format!("{}{suffix}", method.method.label())], cells(method)].concat();
    summary.methods.iter().map(row).collect()
}

/// What the intervals of `summary` hold, in a sentence or two.
pub(crate) fn interval_note(summary: &Summary) -> String {
    let seeds = summary.methods.iter().map(|method| method.seeds.len()).min().unwrap_or_default();
    let prompts = match summary.points_with_prompts {
        0 => {
            "Prompts were not recorded one by one: the intervals come from the points' standard errors, \
              without the pairing over prompts."
        }
        n if n == summary.points => "Prompts are resampled jointly for all policies.",
        _ => {
            "Prompts are resampled jointly where they were recorded; the other points' intervals come from \
              their standard errors."
        }
    };
    let seeds = match seeds {
        0 => "",
        1 => {
            " A method with one seed has no interval over seeds: its own holds the noise of evaluation alone."
        }
        _ => " The noise between seeds is included.",
    };
    format!("{prompts}{seeds}")
}

fn sources(summary: &Summary) -> String {
    format!("Brackets hold 95% intervals. {}\n", interval_note(summary))
}

fn areas(summary: &Summary) -> String {
    let counts = |method: &MethodSummary| {
        vec![
            method.runs.to_string(),
            method.seeds.len().to_string(),
            method.points.to_string(),
            format!("{:.2}", method.smallest_kl),
            format!("{:.2}", method.largest_kl),
        ]
    };
    let rows = per_method(summary, "", |method| {
        let areas = method.areas.iter().map(|area| estimate(&area.reward));
        counts(method).into_iter().chain(areas).collect()
    });
    let title = format!(
        "Mean reward under the upper envelope from KL 0 to a limit in nats (reference {:.3} ± {:.3} s.e.). Before the first \
         KL at which every seed has a checkpoint, an envelope is the reference's reward, and beyond the largest it is flat",
        summary.reference.mean, summary.reference.se
    );
    let first = ["Method", "Runs", "Seeds", "Points", "First KL", "Largest KL"];
    table(&title, &header(&first, AREA_LIMITS.iter().map(|limit| format!("to KL {limit}"))), &rows)
}

fn rewards(summary: &Summary) -> String {
    let cells = |of: fn(&MethodAt) -> Estimate| {
        move |method: &MethodSummary| {
            let cell = |at: &MethodAt| {
                if at.supported { estimate(&of(at)) + method.dagger(at.kl) } else { dash() }
            };
            method.rewards.iter().map(cell).collect()
        }
    };
    let mut rows = per_method(summary, "", cells(|at| at.envelope));
    rows.extend(per_method(summary, ", isotonic", cells(|at| at.isotonic)));
    rows.extend(per_method(summary, ", s.d. between seeds", |method| {
        method.rewards.iter().map(|at| number(at.envelope.seed_sd.filter(|_| at.supported), 3)).collect()
    }));
    if !summary.optimum.is_empty() {
        let at = |kl: f64| summary.optimum.iter().find(|point| point.kl.total_cmp(&kl).is_eq());
        let cells = KL_GRID.iter().map(|kl| at(*kl).map_or_else(dash, |point| estimate(&point.reward)));
        rows.push(header(&["Reweighted optimum"], cells));
    }
    let title = "Reward at a KL in nats (upper envelope); † where the method has no checkpoint that far, and its envelope is flat";
    table(title, &header(&["Method"], kl_columns()), &rows)
}

fn gain_shares(summary: &Summary) -> String {
    if summary.optimum.is_empty() {
        return String::new();
    }
    let rows = per_method(summary, "", |method| {
        let percent =
            |at: &MethodAt| at.gain_share.map_or_else(dash, |share| percent(&share) + method.dagger(at.kl));
        method.rewards.iter().map(percent).collect()
    });
    table("Share of the reweighted optimum's gain", &header(&["Method"], kl_columns()), &rows)
}

fn kls(summary: &Summary) -> String {
    let rows =
        per_method(summary, "", |method| method.kls.iter().map(|kl| threshold(&kl.kl, 1.0, 2)).collect());
    let title = "KL (nats) at which the mean envelope reaches a reward";
    table(title, &header(&["Method"], reward_columns()), &rows)
}

fn costs(summary: &Summary) -> String {
    type Axis = (&'static str, f64, fn(&CostFor) -> Option<Threshold>);
    let axes: [Axis; 3] = [
        (", million tokens", 1e-6, |cost| Some(cost.tokens)),
        (", minutes", 1.0 / 60.0, |cost| cost.seconds),
        (", TFLOP", 1e-12, |cost| cost.flops),
    ];
    let mut rows = Vec::new();
    for (suffix, unit, of) in axes {
        let cells = |method: &MethodSummary| -> Vec<String> {
            method.costs.iter().map(|c| of(c).map_or_else(dash, |t| threshold(&t, unit, 2))).collect()
        };
        let known = |method: &MethodSummary| method.costs.iter().any(|cost| of(cost).is_some());
        if summary.methods.iter().any(known) {
            rows.extend(per_method(summary, suffix, cells));
        }
    }
    let title = "Cost at which the best run so far reaches a reward, what comes before the run included";
    table(title, &header(&["Method"], reward_columns()), &rows)
}

fn comparisons(summary: &Summary) -> String {
    let row = |comparison: &Comparison| {
        vec![
            format!("{} - {}", comparison.first.label(), comparison.second.label()),
            comparison.kl.to_string(),
            format!("{:+.3}", comparison.difference.value),
            signed(comparison.difference.interval),
            format!("{:.3}", comparison.probability_ahead),
            number(comparison.difference.seed_sd, 3),
            comparison.difference.seeds.to_string(),
            if comparison.covered { "yes" } else { "no" }.to_owned(),
        ]
    };
    let first = [
        "Difference",
        "KL",
        "Reward",
        "95% interval",
        "P(first ahead)",
        "s.d. between seeds",
        "Paired seeds",
        "Both have checkpoints there",
    ];
    let rows: Vec<Vec<String>> = summary.comparisons.iter().map(row).collect();
    table("Paired differences of the envelopes", &header(&first, []), &rows)
}

fn best_of_n(summary: &Summary) -> String {
    let rows = summary.best_of_n.iter().map(|point| {
        let (low, high) = point.interval;
        vec![
            point.n.to_string(),
            format!("{:.3} [{low:.3}, {high:.3}]", point.reward),
            format!("{:.2}", point.sequence_kl_bound),
            format!("{:.2}", point.sequence_kl_estimate),
        ]
    });
    let first = ["n", "Reward", "KL at most (ln n - (n-1)/n)", "KL, estimate with ties"];
    table("Best-of-n", &header(&first, []), &rows.collect::<Vec<_>>())
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

fn reward_columns() -> impl Iterator<Item = String> {
    REWARD_GRID.iter().map(|reward| format!("reward {reward}"))
}
