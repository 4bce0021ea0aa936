//! A summary as tables.

use super::claims::Claim;
use super::numbers::{dash, estimate, number, percent, signed, threshold};
use super::table::Table;
use super::why::{law_table, why_tables};
use crate::statistics::costs::{CostFor, Threshold};
use crate::statistics::{AREA_LIMITS, CeilingAt, Comparison, KL_GRID, MethodAt, REWARD_GRID};
use crate::{Estimate, MethodSummary, Summary};

const DAGGER: &str = "† marks a KL beyond the last checkpoint of the method, where its envelope is flat; ‡ one near which no run of the \
     method ends (within a factor of 1.5, for every seed), so that it rests on mixtures of policies that are far apart or on \
     checkpoints of runs on their way elsewhere.";

/// Everything that `summary` holds but for its [checks](checks_table), in tables: rewards and shares of the
/// possible gain at given KLs, paired differences, mean reward under the envelopes, isotonic fits, KL and
/// cost of given rewards, and best-of-n. Brackets hold 95% intervals. Long tables are folded.
pub fn tables(summary: &Summary) -> Vec<Table> {
    let all = [
        rewards(summary),
        gain_shares(summary),
        comparisons(summary).map(Table::folded),
        areas(summary).map(Table::folded),
        fits(summary).map(Table::folded),
        kls(summary).map(Table::folded),
        costs(summary).map(Table::folded),
        best_of_n(summary).map(Table::folded),
    ];
    all.into_iter().flatten().collect()
}

/// The summary as Markdown, every table open.
pub fn markdown_table(summary: &Summary) -> String {
    let open = |table: Table| Table { folded: false, ..table }.markdown();
    let more = why_tables(summary).into_iter().chain(law_table(summary)).chain([checks_table(summary)]);
    let tables = tables(summary).into_iter().chain(more).map(open);
    let intervals = format!("Brackets hold 95% intervals. {}\n", interval_note(summary));
    std::iter::once(intervals).chain(tables).collect::<Vec<_>>().join("\n")
}

/// The claims as a table: claim, the paper's evidence, our estimate with its interval, verdict.
pub fn claims_table(claims: &[Claim]) -> Table {
    let row = |claim: &Claim| {
        vec![claim.text.clone(), claim.evidence.clone(), claim.estimate.clone(), claim.verdict.to_string()]
    };
    let names = ["Claim", "The paper's evidence", "Here, with 95% intervals", "Verdict"];
    Table {
        title: "The claims, tested".to_owned(),
        note: String::new(),
        header: header(&names, []),
        rows: claims.iter().map(row).collect(),
        words: names.len(),
        folded: false,
    }
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
pub fn interval_note(summary: &Summary) -> String {
    let seeds = summary.methods.iter().map(|method| method.seeds.len()).min().unwrap_or_default();
    let prompts = match summary.points_with_prompts {
        0 => {
            "Prompts were not recorded one by one: envelopes are plain, so that they lean high, and intervals come from the \
             points' standard errors, without the pairing over prompts."
        }
        n if n == summary.points => {
            "Envelopes are cross-fitted: checkpoints are chosen on half of the prompts and read on the other half. Prompts are \
             resampled jointly for all policies."
        }
        _ => {
            "Where prompts were recorded, envelopes are cross-fitted (checkpoints are chosen on half of the prompts and read on \
             the other half) and prompts are resampled jointly; the other points are chosen and read by the same numbers, which \
             leans high, and their intervals come from their standard errors."
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

fn areas(summary: &Summary) -> Option<Table> {
    let counts = |method: &MethodSummary| {
        vec![
            method.runs.to_string(),
            method.seeds.len().to_string(),
            method.points.to_string(),
            format!("{:.2}", method.largest_kl),
        ]
    };
    let rows = per_method(summary, "", |method| {
        let areas = method.areas.iter().map(|area| estimate(&area.reward));
        counts(method).into_iter().chain(areas).collect()
    });
    let note = format!(
        "From KL 0, where the reference earns {:.3} ± {:.3} s.e., to a limit in nats. Beyond the largest KL the envelope \
         is flat.",
        summary.reference.mean, summary.reference.se
    );
    let first = ["Method", "Runs", "Seeds", "Points", "Largest KL"];
    let names = header(&first, AREA_LIMITS.iter().map(|limit| format!("to KL {limit}")));
    Table::new("Mean reward under the upper envelope", &note, names, rows)
}

/// The cells of a method at the KLs of the grid: `of` each.
fn at_kls(of: fn(&MethodAt) -> Estimate) -> impl Fn(&MethodSummary) -> Vec<String> {
    move |method| method.rewards.iter().map(|at| estimate(&of(at)) + method.dagger(at)).collect()
}

fn rewards(summary: &Summary) -> Option<Table> {
    let mut rows = per_method(summary, "", at_kls(|at| at.envelope));
    if !summary.optimum.is_empty() {
        let at = |kl: f64| summary.optimum.iter().find(|point| point.kl.total_cmp(&kl).is_eq());
        let cells = KL_GRID.iter().map(|kl| at(*kl).map_or_else(dash, |point| estimate(&point.reward)));
        rows.push(header(&["Reweighted optimum"], cells));
    }
    rows.extend(hard_labels(summary, |at| estimate(&at.reward)));
    let note = format!(
        "Under the cross-fitted upper envelope; the KL in nats. Between two checkpoints lie the policies that answer with \
         one or the other at random: their reward is on the chord, and their KL at or below it. {DAGGER}"
    );
    Table::new("Reward at a given KL", &note, header(&["Method"], kl_columns()), rows)
}

fn fits(summary: &Summary) -> Option<Table> {
    let mut rows = per_method(summary, ", isotonic", at_kls(|at| at.isotonic));
    rows.extend(per_method(summary, ", s.d. between seeds", |method| {
        method.rewards.iter().map(|at| number(at.envelope.seed_sd, 3)).collect()
    }));
    let note = format!(
        "The isotonic fit follows the trend of the checkpoints and picks no maxima; the s.d. is that of the envelope. \
         {DAGGER}"
    );
    let title = "Reward at a given KL by isotonic regression, and the spread between seeds";
    Table::new(title, &note, header(&["Method"], kl_columns()), rows)
}

/// The row of the hard-label ceiling, if there is one.
fn hard_labels(summary: &Summary, cell: impl Fn(&CeilingAt) -> String) -> Option<Vec<String>> {
    let at = |kl: f64| summary.hard_labels.iter().find(|at| at.kl.total_cmp(&kl).is_eq());
    let cells = KL_GRID.iter().map(|kl| at(*kl).map_or_else(dash, &cell));
    (!summary.hard_labels.is_empty()).then(|| header(&["Hard-label ceiling"], cells))
}

fn gain_shares(summary: &Summary) -> Option<Table> {
    let mut rows = per_method(summary, "", |method| {
        let percent =
            |at: &MethodAt| at.gain_share.map_or_else(dash, |share| percent(&share) + method.dagger(at));
        method.rewards.iter().map(percent).collect()
    });
    rows.extend(hard_labels(summary, |at| percent(&at.gain_share)));
    let note = format!(
        "What the method gains over the reference, as a share of what the best policy at that KL would gain. The hard-label \
         ceiling is what a policy earns that knows the order of a prompt's responses and no more. {DAGGER}"
    );
    Table::new("Share of the reweighted optimum's gain", &note, header(&["Method"], kl_columns()), rows)
}

fn kls(summary: &Summary) -> Option<Table> {
    let rows =
        per_method(summary, "", |method| method.kls.iter().map(|kl| threshold(&kl.kl, 1.0, 2)).collect());
    let title = "KL at which the mean envelope reaches a reward, in nats";
    Table::new(title, "", header(&["Method"], reward_columns()), rows)
}

fn costs(summary: &Summary) -> Option<Table> {
    type Axis = (&'static str, f64, fn(&CostFor) -> Option<Threshold>);
    let axes: [Axis; 3] = [
        (", million tokens", 1e-6, |cost| Some(cost.tokens)),
        (", minutes", 1.0 / 60.0, |cost| cost.seconds),
        (", TFLOP", 1e-12, |cost| cost.flops),
    ];
    let mut rows = Vec::new();
    for (suffix, unit, of) in axes {
        rows.extend(per_method(summary, suffix, |method| {
            method.costs.iter().map(|c| of(c).map_or_else(dash, |t| threshold(&t, unit, 2))).collect()
        }));
    }
    let note =
        "Of the cheapest run that gets there, with what comes before the run, such as the reward model.";
    Table::new("Cost of a reward", note, header(&["Method"], reward_columns()), rows)
}

fn comparisons(summary: &Summary) -> Option<Table> {
    let row = |comparison: &Comparison| {
        vec![
            format!("{} - {}", comparison.first.label(), comparison.second.label()),
            comparison.kl.to_string(),
            format!("{:+.3}", comparison.difference.value),
            signed(comparison.difference.interval),
            format!("{:.3}", comparison.probability_ahead),
            number(comparison.difference.seed_sd, 3),
            comparison.difference.seeds.to_string(),
            if comparison.ends_near { "yes" } else { "no" }.to_owned(),
        ]
    };
    let names = [
        "Difference",
        "KL",
        "Reward",
        "95% interval",
        "P(first ahead)",
        "s.d. between seeds",
        "Paired seeds",
        "Runs of both end near",
    ];
    let rows: Vec<Vec<String>> = summary.comparisons.iter().map(row).collect();
    let note = "Paired by seed and prompt; the KL in nats.";
    Table::new("Differences between the envelopes", note, header(&names, []), rows)
}

fn best_of_n(summary: &Summary) -> Option<Table> {
    let rows = summary.best_of_n.iter().map(|point| {
        let (low, high) = point.interval;
        vec![
            point.n.to_string(),
            format!("{:.3} [{low:.3}, {high:.3}]", point.reward),
            format!("{:.2}", point.sequence_kl_bound),
            format!("{:.2}", point.sequence_kl_estimate),
        ]
    });
    let names = ["n", "Reward", "KL at most (ln n - (n-1)/n)", "KL, estimate with ties"];
    Table::new("Best-of-n", "", header(&names, []), rows.collect())
}

/// What the points themselves must satisfy, and whether they do.
pub fn checks_table(summary: &Summary) -> Table {
    let checks = &summary.checks;
    let off_zero: Vec<String> =
        checks.start_off_zero.iter().map(|(run, kl)| format!("{run} ({kl:.2e} nats)")).collect();
    let agreement = checks.k1_agreement.map_or_else(
        || "no point to compare".to_owned(),
        |share| format!("{:.1}% of {} points", 100.0 * share, checks.k1_compared),
    );
    let rows = [
        ("KL at step 0 other than 0", list(&off_zero)),
        ("No evaluation at step 0", list(&checks.start_missing)),
        ("Exact and k1 KL agree within 3 s.e.", agreement),
        ("Points beyond the Bernoulli floor", list(&checks.beyond_floor)),
        ("Points without a finite score and KL", checks.not_finite.to_string()),
        ("Failed runs", list(&summary.failed_runs)),
    ];
    Table {
        title: if checks.passed() { "Checks: all passed" } else { "Checks: FAILED" }.to_owned(),
        note: String::new(),
        header: header(&["Check", "Found"], []),
        rows: rows.into_iter().map(|(name, found)| vec![name.to_owned(), found]).collect(),
        words: 2,
        folded: false,
    }
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
