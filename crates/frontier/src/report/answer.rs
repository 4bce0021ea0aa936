//! The answer to the question of the study, in sentences that a reader needs no table for.

use serde::{Deserialize, Serialize};

use super::numbers::{dash, estimate, listed, nats, percent, signed};
use super::table::Table;
use crate::{Comparison, Method, MethodSummary, Summary};

/// The KL, in nats, at which gains are compared with the optimum's.
const SHARE_AT: f64 = 1.0;

/// Who earns more at the same distance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// DPO against PPO on the learned reward, in one sentence.
    pub verdict: String,
    /// What else there is to say: other pairs, shares of the possible gain, what a single seed leaves open.
    pub more: Vec<String>,
    /// The numbers behind the verdict; `None` without a KL near which runs of both methods end.
    pub table: Option<Table>,
}

/// Who is ahead at a KL: whose interval of the difference excludes 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ahead {
    First,
    Second,
    Neither,
}

impl Ahead {
    fn of(comparison: &Comparison) -> Self {
        let (low, high) = comparison.difference.interval;
        match () {
            () if low > 0.0 => Self::First,
            () if high < 0.0 => Self::Second,
            () => Self::Neither,
        }
    }
}

/// The answer that `summary` gives.
pub fn answer(summary: &Summary) -> Answer {
    let main = (Method::DPO, Method::PPO);
    let verdict = who(summary, main, false).map_or_else(
        || {
            "No runs of DPO and PPO end at the same distance from the reference, so the question stays open."
                .to_owned()
        },
        |clauses| format!("At the same distance from the reference, {clauses}."),
    );
    let others = pairs(summary).into_iter().filter(|pair| *pair != main && is_shown(*pair));
    let others = others.filter_map(|pair| {
        let clauses = who(summary, pair, true)?;
        Some(match pair {
            (_, Method::PPO_GT) => format!("Against PPO on the true reward (PPO-GT), {clauses}."),
            (first, second) => format!("{} against {}: {clauses}.", first.label(), second.label()),
        })
    });
    let mut more: Vec<String> = others.chain(shares(summary)).collect();
    if summary.comparisons.iter().any(|one| one.difference.seeds < 2) {
        more.push("Where a method has one seed, the intervals miss the noise of training.".to_owned());
    }
    Answer { verdict, more, table: table(summary, main) }
}

/// The pairs that were compared.
fn pairs(summary: &Summary) -> Vec<(Method, Method)> {
    let mut pairs: Vec<(Method, Method)> =
        summary.comparisons.iter().map(|one| (one.first, one.second)).collect();
    pairs.dedup();
    pairs
}

/// DPO against PPO-GT, and every method that is new here.
fn is_shown(pair: (Method, Method)) -> bool {
    pair == (Method::DPO, Method::PPO_GT) || !pair.0.is_known()
}

/// The comparisons of a pair near whose KLs runs of both methods end.
fn compared(summary: &Summary, pair: (Method, Method)) -> Vec<&Comparison> {
    summary.comparisons.iter().filter(|one| (one.first, one.second) == pair && one.ends_near).collect()
}

/// `DPO earns more than PPO at 0.5 and 1 nats, neither is ahead at 2 nats, and PPO earns more at 5 nats`, or,
/// if both are `named` before, without `than PPO`; `None` without a KL to compare at.
fn who(summary: &Summary, pair: (Method, Method), mut named: bool) -> Option<String> {
    let compared = compared(summary, pair);
    let stretches = compared.chunk_by(|a, b| Ahead::of(a) == Ahead::of(b));
    let (first, second) = (pair.0.label(), pair.1.label());
    let clauses: Vec<String> = stretches
        .map(|stretch| {
            let ahead = Ahead::of(stretch[0]);
            let who = match (ahead, named) {
                (Ahead::First, false) => format!("{first} earns more than {second}"),
                (Ahead::Second, false) => format!("{second} earns more than {first}"),
                (Ahead::First, true) => format!("{first} earns more"),
                (Ahead::Second, true) => format!("{second} earns more"),
                (Ahead::Neither, false) => format!("neither {first} nor {second} is ahead"),
                (Ahead::Neither, true) => "neither is ahead".to_owned(),
            };
            named = true;
            format!("{who} at {}", distances(stretch))
        })
        .collect();
    listed(&clauses)
}

/// `0.5 and 1 nats`
fn distances(stretch: &[&Comparison]) -> String {
    if let [one] = stretch {
        return nats(one.kl);
    }
    let kls: Vec<String> = stretch.iter().map(|one| one.kl.to_string()).collect();
    format!("{} nats", listed(&kls).unwrap_or_default())
}

/// What part of the possible gain the methods earn at [`SHARE_AT`].
fn shares(summary: &Summary) -> Option<String> {
    let share = |of: &MethodSummary| {
        let at = of.rewards.iter().find(|at| at.kl.total_cmp(&SHARE_AT).is_eq())?;
        let share = at.gain_share.filter(|_| at.ends_near)?;
        Some(format!("{} {}", of.method.label(), percent(&share)))
    };
    let main = [Method::DPO, Method::PPO, Method::PPO_GT];
    let methods = summary.methods.iter().filter(|of| main.contains(&of.method) || !of.method.is_known());
    let found: Vec<String> = methods.filter_map(share).collect();
    Some(format!(
        "Of what the best policy at {} would gain over the reference, these earn: {}.",
        nats(SHARE_AT),
        listed(&found)?
    ))
}

/// A row for each KL of the verdict.
fn table(summary: &Summary, pair: (Method, Method)) -> Option<Table> {
    let of_method = |method: Method| summary.methods.iter().find(|one| one.method == method);
    let (first, second) = (of_method(pair.0)?, of_method(pair.1)?);
    let reward = |of: &MethodSummary, kl: f64| {
        let at = of.rewards.iter().find(|at| at.kl.total_cmp(&kl).is_eq());
        at.map_or_else(dash, |at| estimate(&at.envelope))
    };
    let (a, b) = (pair.0.label(), pair.1.label());
    let row = |one: &Comparison| {
        let ahead = match Ahead::of(one) {
            Ahead::First => a,
            Ahead::Second => b,
            Ahead::Neither => "neither",
        };
        let difference = format!("{:+.3} {}", one.difference.value, signed(one.difference.interval));
        vec![nats(one.kl), reward(first, one.kl), reward(second, one.kl), difference, ahead.to_owned()]
    };
    let rows = compared(summary, pair).into_iter().map(row).collect();
    let header = ["KL from the reference", a, b, &format!("{a} − {b}"), "Who earns more"].map(str::to_owned);
    Table::new("The answer in numbers", "Mean true reward with 95% intervals.", header, rows)
}
