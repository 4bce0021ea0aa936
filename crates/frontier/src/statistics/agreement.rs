//! How often two judges say the same of the same comparison.

use std::collections::{BTreeMap, BTreeSet};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::statistics::intervals::quantile;
use crate::statistics::resampling::{Bootstrap, draw_weights};
use crate::{Judgement, Method};

/// The agreement of two judges. Either of them may be the people who labelled the comparisons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// One judge.
    pub first: String,
    /// The other.
    pub second: String,
    /// Comparisons that both decided, ties included, whatever order each of them saw.
    pub comparisons: usize,
    /// The mean of `1 - |a - b|` with 1 for a win, 1/2 for a tie and 0 for a loss: the share of equal
    /// verdicts, a tie against a verdict counting half.
    pub rate: f64,
    /// Its 95% interval over prompts.
    pub interval: (f64, f64),
    /// What the two would agree on by chance: the same with every verdict of one paired with
    /// every verdict of the other.
    pub by_chance: f64,
}

/// The comparison itself.
type Key = (Method, u64, u64, u64);

/// The agreement of two judges on what both decided; `None` if that is nothing.
pub(crate) fn agreement(
    (first, by_first): (&str, &[&Judgement]),
    (second, by_second): (&str, &[&Judgement]),
    bootstrap: Bootstrap,
) -> Option<Agreement> {
    let (a, b) = (verdicts(by_first), verdicts(by_second));
    let both: Vec<(u64, f64, f64)> =
        a.iter().filter_map(|(key, a)| Some((key.3, *a, *b.get(key)?))).collect();
    if both.is_empty() {
        return None;
    }
    let prompts: BTreeSet<u64> = both.iter().map(|one| one.0).collect();
    let place: BTreeMap<u64, usize> = prompts.into_iter().zip(0..).collect();
    let same = |a: f64, b: f64| 1.0 - (a - b).abs();
    let mean = |weight: &dyn Fn(usize) -> f64| {
        let weighted = both.iter().map(|(prompt, a, b)| (weight(place[prompt]), same(*a, *b)));
        let (sum, total) = weighted.fold((0.0, 0.0), |(sum, total), (w, same)| (sum + w * same, total + w));
        sum / total
    };
    let mut rng = ChaCha8Rng::seed_from_u64(bootstrap.seed);
    let mut draws: Vec<f64> = (0..bootstrap.resamples)
        .map(|_| {
            let weights = draw_weights(place.len(), &mut rng);
            mean(&|prompt| weights[prompt])
        })
        .collect();
    draws.sort_by(f64::total_cmp);
    Some(Agreement {
        first: first.to_owned(),
        second: second.to_owned(),
        comparisons: both.len(),
        rate: mean(&|_| 1.0),
        interval: (quantile(&draws, 0.025), quantile(&draws, 0.975)),
        by_chance: by_chance(&both, same),
    })
}

/// A judge's mean verdict of each comparison over the orders that it saw.
fn verdicts(judgements: &[&Judgement]) -> BTreeMap<Key, f64> {
    let mut sums: BTreeMap<Key, (f64, f64)> = BTreeMap::new();
    for one in judgements {
        if let Some(value) = one.outcome.value() {
            let sum = sums.entry((one.method, one.seed, one.temperature.to_bits(), one.prompt)).or_default();
            *sum = (sum.0 + value, sum.1 + 1.0);
        }
    }
    sums.into_iter().map(|(key, (sum, count))| (key, sum / count)).collect()
}

/// The mean over every verdict of one judge with every verdict of the other, by the distinct verdicts of
/// each.
fn by_chance(both: &[(u64, f64, f64)], same: impl Fn(f64, f64) -> f64) -> f64 {
    let shares = |of: fn(&(u64, f64, f64)) -> f64| {
        let mut shares: BTreeMap<u64, f64> = BTreeMap::new();
        for one in both {
            *shares.entry(of(one).to_bits()).or_default() += 1.0 / both.len() as f64;
        }
        shares
    };
    let (a, b) = (shares(|one| one.1), shares(|one| one.2));
    let pairs = a.iter().flat_map(|(a, share)| b.iter().map(move |(b, other)| (a, b, share * other)));
    pairs.map(|(a, b, share)| share * same(f64::from_bits(*a), f64::from_bits(*b))).sum()
}
