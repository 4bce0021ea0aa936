//! The claims of the DPO paper, each with its evidence there, the estimate here and a verdict.
//!
//! A verdict is a rule on intervals and probabilities and never a matter of taste:
//!
//! - an order of two methods *holds* if the first is ahead with probability 0.975 or more at each of
//!   [`KL_GRID`](crate::KL_GRID) near which runs of both end, two or more, and is *contradicted* if at one of
//!   k such KLs that probability is 0.025 / k or less;
//! - a number *holds* or is *contradicted* if its whole 95% interval lies on one side of the bound that the
//!   claim names;
//! - all else is *undecided*, and so is everything that rests on a single seed, since the noise of
//!   training is then unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::numbers::{nats, percent, signed};
use crate::records::paper::{PaperSeries, paper_points};
use crate::statistics::costs::{CostFor, Threshold};
use crate::statistics::intervals::{Distribution, Estimate, SeedNoise};
use crate::{Between, Comparison, Envelope, Error, EvalRow, Method, Run, Summary, usable};

/// What the estimate says of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The claim holds here.
    Holds,
    /// Its contrary holds here.
    Contradicted,
    /// Neither can be said.
    Undecided,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Holds => "holds",
            Self::Contradicted => "contradicted",
            Self::Undecided => "undecided",
        })
    }
}

/// A claim, tested.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// The claim.
    pub text: String,
    /// What the paper shows for it.
    pub evidence: String,
    /// The estimate here, with its 95% interval.
    pub estimate: String,
    /// What follows.
    pub verdict: Verdict,
}

/// Tests the claims on a study whose preferences were labelled as `labels` says ("hard", ...).
///
/// # Errors
/// [`Error::BadPaper`] if the paper's points are damaged.
pub fn claims(summary: &Summary, runs: &[Run], labels: &str) -> Result<Vec<Claim>, Error> {
    let paper = paper_points()?;
    let orders = [
        (Method::DPO, Method::PPO, "DPO earns more than PPO at every KL"),
        (Method::DPO, Method::PPO_GT, "DPO earns more than PPO on the true reward at every KL"),
        (Method::PPO_GT, Method::PPO, "PPO on the learned reward earns less than PPO on the true one"),
        (Method::DPO, Method::PREFERRED_FT, "Fine-tuning on the preferred responses earns less than DPO"),
        (Method::DPO, Method::UNLIKELIHOOD, "Unlikelihood earns less than DPO"),
    ];
    let orders =
        orders.into_iter().map(|(first, second, text)| order(summary, &paper, (first, second), text));
    let others = [beta_sets_kl(runs, labels), compute(summary)];
    Ok(orders.chain(others).chain(without_penalty(runs)).collect())
}

/// The verdict on a number that should lie above (or, negated, below) a bound.
pub(super) fn by_bound(interval: (f64, f64), bound: f64, seeds: usize) -> Verdict {
    match interval {
        _ if seeds < 2 => Verdict::Undecided,
        (low, _) if low > bound => Verdict::Holds,
        (_, high) if high < bound => Verdict::Contradicted,
        _ => Verdict::Undecided,
    }
}

pub(super) fn one_seed_note(seeds: usize) -> &'static str {
    if seeds < 2 { "; one seed, so without the noise of training" } else { "" }
}

fn order(summary: &Summary, paper: &[PaperSeries], (first, second): (Method, Method), text: &str) -> Claim {
    let pair = |one: &&Comparison| (one.first, one.second) == (first, second) && one.ends_near;
    let compared: Vec<&Comparison> = summary.comparisons.iter().filter(pair).collect();
    let least = compared.iter().map(|one| one.probability_ahead).fold(f64::INFINITY, f64::min);
    let seeds = compared.iter().map(|one| one.difference.seeds).min().unwrap_or_default();
    let verdict = match compared.len() {
        0 => Verdict::Undecided,
        _ if seeds < 2 => Verdict::Undecided,
        // One KL is not every KL.
        2.. if least >= 0.975 => Verdict::Holds,
        count if least <= 0.025 / count as f64 => Verdict::Contradicted,
        _ => Verdict::Undecided,
    };
    let at = |one: &&Comparison| {
        let difference = &one.difference;
        let (value, interval) = (difference.value, signed(difference.interval));
        format!("{value:+.3} {interval} at {} (P {:.3})", nats(one.kl), one.probability_ahead)
    };
    let estimate = if compared.is_empty() {
        "no KL of the grid near which runs of both methods end, on a common seed".to_owned()
    } else {
        let list = compared.iter().map(at).collect::<Vec<_>>().join("; ");
        format!("{} − {}: {list}{}", first.label(), second.label(), one_seed_note(seeds))
    };
    Claim { text: text.to_owned(), evidence: paper_order(paper, first, second), estimate, verdict }
}

/// What the paper's points say of two methods.
fn paper_order(paper: &[PaperSeries], first: Method, second: Method) -> String {
    // The reference's reward in the figure: where its unlabelled points at KL 0 lie.
    const START: f64 = 0.48;
    let envelope = |method: Method| {
        let series = paper.iter().find(|series| series.method == Some(method))?;
        Some(Envelope::new(START, series.points.iter().copied(), Between::Mixtures))
    };
    let (Some(a), Some(b)) = (envelope(first), envelope(second)) else { return "not shown".to_owned() };
    format!(
        "Figure 2 left, one seed per point: {:.2} against {:.2} at 2 nats, {:.2} against {:.2} at 5; mean reward to \
         10 nats {:.3} against {:.3}",
        a.at(2.0),
        b.at(2.0),
        a.at(5.0),
        b.at(5.0),
        a.mean_to(10.0),
        b.mean_to(10.0)
    )
}

/// The last usable evaluation of each run of a method.
fn last_evals(runs: &[Run], keep: impl Fn(&EvalRow) -> bool) -> Vec<&EvalRow> {
    let last = |run: &'_ Run| run.evals.iter().rposition(|eval| usable(eval) && keep(eval));
    runs.iter().filter_map(|run| Some(&run.evals[last(run)?])).collect()
}

/// Mean and interval over seeds of a number of each seed.
fn over_seeds(numbers: &BTreeMap<u64, f64>) -> Option<Estimate> {
    const DRAWS: usize = 4000;
    let numbers: Vec<f64> = numbers.values().copied().collect();
    let noise = SeedNoise::new(numbers.len().saturating_sub(1), DRAWS, 0);
    (!numbers.is_empty()).then(|| Distribution::new(&numbers, &numbers.repeat(DRAWS), &noise).estimate())
}

fn beta_sets_kl(runs: &[Run], labels: &str) -> Claim {
    let mut points: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
    let of_dpo = |eval: &EvalRow| eval.method == Method::DPO && eval.knob == "beta" && eval.sequence_kl > 0.0;
    for eval in last_evals(runs, of_dpo) {
        points.entry(eval.seed).or_default().push((eval.value.log10(), eval.sequence_kl.log10()));
    }
    let slopes = points.into_iter().filter_map(|(seed, points)| Some((seed, slope(&points)?))).collect();
    let estimate = over_seeds(&slopes);
    // -0.301 is a halving for every factor of 10.
    let verdict = estimate.map_or(Verdict::Undecided, |slope| {
        let (low, high) = slope.interval;
        by_bound((-high, -low), 2.0_f64.log10(), slope.seeds)
    });
    let estimate = estimate.map_or_else(
        || "fewer than two values of beta".to_owned(),
        |slope| {
            let [value, low, high] =
                [slope.value, slope.interval.0, slope.interval.1].map(|x| 10_f64.powf(x));
            let note = one_seed_note(slope.seeds);
            format!("a tenfold beta multiplies the final KL by {value:.2} [{low:.2}, {high:.2}]{note}")
        },
    );
    Claim {
        text: format!("beta sets the KL ({labels} labels): a tenfold beta at least halves it"),
        evidence:
            "beta is the weight of the KL in eq. 3; the figure sweeps 0.05 to 5 without naming its points"
                .to_owned(),
        estimate,
        verdict,
    }
}

/// The least-squares slope; `None` for fewer than two distinct x.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let squares: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let products: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    (squares > 1e-12).then(|| products / squares)
}

fn compute(summary: &Summary) -> Claim {
    let of_method = |method| summary.methods.iter().find(|one| one.method == method);
    let (dpo, ppo) = (of_method(Method::DPO), of_method(Method::PPO));
    // The highest reward that both are sure to reach, or else that both are estimated to.
    let highest = |reached: fn(&CostFor) -> bool| {
        let (dpo, ppo) = dpo.zip(ppo)?;
        dpo.costs.iter().zip(&ppo.costs).rfind(|(a, b)| reached(a) && reached(b))
    };
    let highest =
        highest(|cost| cost.tokens.high.is_some()).or_else(|| highest(|cost| cost.tokens.value.is_some()));
    let seeds = dpo.zip(ppo).map_or(0, |(dpo, ppo)| dpo.seeds.len().min(ppo.seeds.len()));
    let text = "To the same reward, DPO costs less compute than a reward model and PPO".to_owned();
    let evidence = "no measurement; \"computationally lightweight\" (abstract)".to_owned();
    let Some((dpo, ppo)) = highest else {
        let estimate = "no reward of the grid that both methods reach".to_owned();
        return Claim { text, evidence, estimate, verdict: Verdict::Undecided };
    };
    let axes = [
        ("operations", dpo.flops.zip(ppo.flops)),
        ("tokens", Some((dpo.tokens, ppo.tokens))),
        ("seconds", dpo.seconds.zip(ppo.seconds)),
    ];
    let ratios: Vec<(&str, (f64, f64, f64))> =
        axes.into_iter().filter_map(|(name, pair)| Some((name, ratio(pair?)?))).collect();
    let verdict =
        ratios.first().map_or(Verdict::Undecided, |(_, (_, low, high))| by_bound((*low, *high), 1.0, seeds));
    let list: Vec<String> = ratios
        .iter()
        .map(|(name, (value, low, high))| format!("{value:.1} [{low:.1}, {high:.1}] times the {name}"))
        .collect();
    let estimate = format!("to reward {}, PPO takes {}{}", dpo.reward, list.join(", "), one_seed_note(seeds));
    Claim { text, evidence, estimate, verdict }
}

/// PPO's cost over DPO's with the ends that both intervals allow; an end that was not reached is endless.
fn ratio((dpo, ppo): (Threshold, Threshold)) -> Option<(f64, f64, f64)> {
    let value = ppo.value? / dpo.value?;
    let low = ppo.low? / dpo.high.unwrap_or(f64::INFINITY);
    let high = ppo.high.unwrap_or(f64::INFINITY) / dpo.low?;
    Some((value, low, high))
}

/// Runs of PPO whose knob is a `kl_coef` of 0: the paper gives the penalty two purposes. Variety: distinct
/// bigrams fall to less than half. And a reward that still means something: the second opinion sees less than
/// half of the gain that the reward sees; without a gain there is nothing to see.
fn without_penalty(runs: &[Run]) -> [Claim; 2] {
    let ends = runs.iter().filter(|run| run.without_penalty()).filter_map(|run| {
        let (first, last) = (run.evals.first()?, run.evals.last()?);
        usable(last).then_some((first, last))
    });
    let ends: Vec<(&EvalRow, &EvalRow)> = ends.collect();
    let less_than_half = |of: fn(&EvalRow, &EvalRow) -> f64| {
        let numbers: BTreeMap<u64, f64> =
            ends.iter().map(|(first, last)| (last.seed, of(first, last))).collect();
        let share = over_seeds(&numbers).filter(|_| numbers.values().all(|number| number.is_finite()))?;
        let (low, high) = share.interval;
        Some((percent(&share), by_bound((-high, -low), -0.5, share.seeds)))
    };
    let claim = |text: &str, evidence: &str, (estimate, verdict): (String, Verdict)| Claim {
        text: text.to_owned(),
        evidence: evidence.to_owned(),
        estimate: if ends.is_empty() {
            "no run without the penalty".to_owned()
        } else {
            format!("{estimate}; {}", at_the_end(&ends))
        },
        verdict,
    };
    let variety = less_than_half(|first, last| last.distinct_2 / first.distinct_2).map_or_else(
        || ("no response is long enough for a bigram".to_owned(), Verdict::Undecided),
        |(share, verdict)| (format!("{share} of the reference's distinct bigrams are left"), verdict),
    );
    let gained = ends.iter().all(|(first, last)| last.score > first.score);
    let seen = less_than_half(|first, last| (last.judge - first.judge) / (last.score - first.score))
        .filter(|_| gained);
    let seen = seen.map_or_else(
        || ("a run without the penalty gains no reward".to_owned(), Verdict::Undecided),
        |(share, verdict)| (format!("the second opinion sees {share} of the gain"), verdict),
    );
    [
        claim(
            "Without a KL penalty responses collapse: less than half of the distinct bigrams are left",
            "section 3: the penalty prevents mode collapse to single high-reward answers; not measured",
            variety,
        ),
        claim(
            "Without a KL penalty the reward is gamed: a second opinion sees less than half of the gain",
            "section 3: the penalty keeps the policy where the reward model is accurate; not measured",
            seen,
        ),
    ]
}

/// How far runs went, in words.
fn at_the_end(ends: &[(&EvalRow, &EvalRow)]) -> String {
    let kl = ends.iter().map(|(_, last)| last.sequence_kl).fold(0.0, f64::max);
    let seeds = ends.iter().map(|(_, last)| last.seed).collect::<BTreeSet<_>>().len();
    format!("KL up to {kl:.0} nats{}", one_seed_note(seeds))
}
