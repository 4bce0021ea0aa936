//! Win rates in sentences and tables, and the claims of the paper's right figure tested by them.

use super::claims::{Claim, Verdict, by_bound, one_seed_note};
use super::numbers::{dash, listed, percent, points};
use super::table::Table;
use crate::records::paper::{PaperSeries, paper_win_rates};
use crate::statistics::agreement::Agreement;
use crate::win_rate::{BestRate, JudgedBy, RateDifference, WinRate, WinRates};
use crate::{Error, Estimate, Method};

/// How far below best-of-n a rate may lie that matches it.
const MARGIN: f64 = 0.05;

/// What one judge says of the methods at their best temperatures, in one sentence; `None` without any.
pub fn win_rate_answer(by: &JudgedBy) -> Option<String> {
    let one = |best: &BestRate| format!("{} {}", best.method.label(), percent(&best.rate));
    let rates = listed(&by.best.iter().map(one).collect::<Vec<_>>())?;
    Some(format!("Judged by {}, at the best temperature of each, the win rates are {rates}.", by.judge))
}

/// Tests the claims of the paper's right figure on what one judge says.
///
/// A claim holds, or is contradicted, if the whole 95% interval of its number lies on one side of the bound
/// that it names; everything else is undecided, and so is what rests on a single seed.
///
/// # Errors
/// [`Error::BadPaper`] if the paper's points are damaged.
pub fn win_rate_claims(by: &JudgedBy) -> Result<Vec<Claim>, Error> {
    let paper = paper_win_rates()?;
    let best = |second| find(&by.best_differences, second);
    let claim = |text: &str, evidence: String, second: Method, found: Option<(&RateDifference, Verdict)>| {
        let (estimate, verdict) = found.map_or_else(
            || {
                (
                    format!("{} and {} are not both judged", Method::DPO.label(), second.label()),
                    Verdict::Undecided,
                )
            },
            |(one, verdict)| (told(one), verdict),
        );
        Claim { text: text.to_owned(), evidence, estimate, verdict }
    };
    let above =
        |one: &RateDifference, bound: f64| by_bound(one.difference.interval, bound, one.difference.seeds);
    let ahead = best(Method::PPO).map(|one| (one, above(one, 0.0)));
    let steadier = find(&by.decline_differences, Method::PPO).map(|one| {
        let (low, high) = one.difference.interval;
        (one, by_bound((-high, -low), 0.0, one.difference.seeds))
    });
    let matched = best(Method::BEST_OF_N).map(|one| (one, above(one, -MARGIN)));
    Ok(vec![
        claim(
            "At the best temperature of each, DPO wins more often than PPO",
            tops(&paper, Method::PPO),
            Method::PPO,
            ahead,
        ),
        claim(
            "From the lowest to the highest temperature, DPO loses less than PPO",
            losses(&paper),
            Method::PPO,
            steadier,
        ),
        claim(
            "DPO matches best-of-n: at the best temperature of each it is not more than 5 points below",
            tops(&paper, Method::BEST_OF_N),
            Method::BEST_OF_N,
            matched,
        ),
    ])
}

fn find(differences: &[RateDifference], second: Method) -> Option<&RateDifference> {
    differences.iter().find(|one| (one.first, one.second) == (Method::DPO, second))
}

fn told(one: &RateDifference) -> String {
    let (first, second) = (one.first.label(), one.second.label());
    let note = one_seed_note(one.difference.seeds);
    format!("{first} − {second}: {} points{note}", points(&one.difference))
}

fn series(paper: &[PaperSeries], method: Method) -> Option<&PaperSeries> {
    paper.iter().find(|series| series.method == Some(method))
}

/// The highest points of DPO and of another method in the paper.
fn tops(paper: &[PaperSeries], second: Method) -> String {
    let top = |method: Method| {
        let points = &series(paper, method)?.points;
        points.iter().copied().rev().max_by(|a, b| a.1.total_cmp(&b.1))
    };
    let (Some(a), Some(b)) = (top(Method::DPO), top(second)) else { return "not shown".to_owned() };
    format!("Figure 2 right, one seed: {:.2} at {} against {:.2} at {}", a.1, a.0, b.1, b.0)
}

fn losses(paper: &[PaperSeries]) -> String {
    let loss = |method: Method| {
        let points = &series(paper, method)?.points;
        Some(points.first()?.1 - points.last()?.1)
    };
    let (Some(a), Some(b)) = (loss(Method::DPO), loss(Method::PPO)) else { return "not shown".to_owned() };
    format!("Figure 2 right, one seed: {:.0} points against {:.0} from 0 to 1", 100.0 * a, 100.0 * b)
}

/// Everything that `rates` holds, in tables.
pub fn win_rate_tables(rates: &WinRates) -> Vec<Table> {
    let of_judge = |by: &JudgedBy| [by_temperature(by), differences(by).map(Table::folded)];
    let tables =
        rates.judges.iter().flat_map(of_judge).chain([judges(rates), agreement_table(&rates.agreement)]);
    tables.flatten().collect()
}

fn temperatures(by: &JudgedBy) -> Vec<f64> {
    let mut temperatures: Vec<f64> = by.rates.iter().map(|one| one.temperature).collect();
    temperatures.sort_by(f64::total_cmp);
    temperatures.dedup();
    temperatures
}

fn header(first: &str, temperatures: &[f64], rest: &[&str]) -> Vec<String> {
    let at = temperatures.iter().map(|temperature| format!("at {temperature}"));
    std::iter::once(first.to_owned()).chain(at).chain(rest.iter().map(|cell| (*cell).to_owned())).collect()
}

fn by_temperature(by: &JudgedBy) -> Option<Table> {
    let temperatures = temperatures(by);
    let row = |best: &BestRate| {
        let at = |temperature: &f64| {
            let here =
                |one: &&WinRate| one.method == best.method && one.temperature.total_cmp(temperature).is_eq();
            by.rates.iter().find(here).map_or_else(dash, |one| percent(&one.rate))
        };
        let loss = by.declines.iter().find(|one| one.method == best.method);
        let rest = [percent(&best.rate), loss.map_or_else(dash, |one| points(&one.loss))];
        std::iter::once(best.method.label().to_owned())
            .chain(temperatures.iter().map(at))
            .chain(rest)
            .collect()
    };
    let note = "Wins and half of the ties as a share of all comparisons. At the best temperature: each half of the prompts \
                chooses, the other half reads. The loss is from the lowest to the highest temperature, in points.";
    let header = header("Method", &temperatures, &["at its best", "loss"]);
    Table::new(
        &format!("Win rate by temperature, judged by {}", by.judge),
        note,
        header,
        by.best.iter().map(row).collect(),
    )
}

fn differences(by: &JudgedBy) -> Option<Table> {
    let temperatures = temperatures(by);
    let row = |best: &RateDifference| {
        let pair = |one: &&RateDifference| (one.first, one.second) == (best.first, best.second);
        let at = |temperature: &f64| {
            let of_pair = by.differences.iter().filter(pair);
            let mut here =
                of_pair.filter(|one| one.temperature.is_some_and(|t| t.total_cmp(temperature).is_eq()));
            here.next().map_or_else(dash, |one| points(&one.difference))
        };
        let steadier = by.decline_differences.iter().find(pair);
        let rest = [points(&best.difference), steadier.map_or_else(dash, |one| points(&one.difference))];
        let name = format!("{} − {}", best.first.label(), best.second.label());
        std::iter::once(name).chain(temperatures.iter().map(at)).chain(rest).collect()
    };
    let header = header("Methods", &temperatures, &["at the best of each", "loss"]);
    let note = "In points, paired by prompt.";
    let rows = by.best_differences.iter().map(row).collect();
    Table::new(&format!("Differences in win rate, judged by {}", by.judge), note, header, rows)
}

/// What each judge is like.
fn judges(rates: &WinRates) -> Option<Table> {
    let share = |estimate: &Estimate| percent(estimate);
    let row = |by: &JudgedBy| {
        vec![
            by.judge.clone(),
            by.comparisons.to_string(),
            by.ties.to_string(),
            by.unreadable.to_string(),
            by.first_wins.as_ref().map_or_else(dash, share),
        ]
    };
    let names = ["Judge", "Comparisons", "Ties", "Unreadable answers", "The first shown wins"];
    let note = "Which text is shown first is drawn for each comparison; a judge that does not care has the first win half of \
                the time.";
    Table::new("Judges", note, names.map(str::to_owned), rates.judges.iter().map(row).collect())
}

/// How often judges agree; `None` if no two judged the same.
pub fn agreement_table(agreements: &[Agreement]) -> Option<Table> {
    let row = |one: &Agreement| {
        let [rate, low, high, chance] =
            [one.rate, one.interval.0, one.interval.1, one.by_chance].map(|x| 100.0 * x);
        vec![
            format!("{} and {}", one.first, one.second),
            one.comparisons.to_string(),
            format!("{rate:.0}% [{low:.0}, {high:.0}]"),
            format!("{chance:.0}%"),
        ]
    };
    let names = ["Judges", "Comparisons", "Agreement", "By chance"];
    let note = "The share of equal verdicts, a tie against a verdict counting half.";
    Table::new(
        "Agreement between judges",
        note,
        names.map(str::to_owned),
        agreements.iter().map(row).collect(),
    )
}
