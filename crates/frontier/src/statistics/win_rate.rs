//! How often policies win against a text that a person wrote, by sampling temperature.
//!
//! The win rate of a policy at a temperature is the share of comparisons that its response wins, ties
//! counting half. Which text is shown first is drawn at random, so a judge's leaning to the first or the
//! second one does not bias the rate; it is measured all the same, from the rates `w_1` and `w_2` of
//! responses that were shown first and second:
//!
//! ```text
//! the first shown wins   (w_1 + 1 - w_2) / 2        1/2 for a judge without such a leaning
//! balanced win rate      (w_1 + w_2) / 2            free of chance in how often each was first
//! ```
//!
//! Every interval holds the noise of prompts and of seeds together, as those of the frontier do: policies
//! answer the same prompts, prompts are resampled jointly for all of them, and the spread between seeds
//! enters through Student's t.
//!
//! *The best temperature* of a method is chosen by the data, and the largest of several noisy rates is
//! too large. So it is cross-fitted like the [envelope](crate::Envelope): each half of the prompts
//! chooses a temperature, from the mean over seeds, and the other half reads the rate there. That is
//! never too large, and too small by what the choice misses. Every replicate chooses anew, which shows
//! how much that is: by as much as the replicates lie below what was observed, on average, the estimate
//! and its interval are moved up.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::statistics::agreement::{Agreement, agreement};
use crate::statistics::intervals::{Estimate, mean};
use crate::statistics::judged::{Judged, Means};
use crate::statistics::resampling::Bootstrap;
use crate::{Error, Judgement, Method, Outcome};

/// What all judges said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WinRates {
    /// By judge, in the order of their first judgements.
    pub judges: Vec<JudgedBy>,
    /// Of every two judges of the same comparisons.
    pub agreement: Vec<Agreement>,
}

/// What one judge said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgedBy {
    /// Who.
    pub judge: String,
    /// Comparisons, those with unreadable answers included.
    pub comparisons: usize,
    /// Of them ties.
    pub ties: usize,
    /// Of them unreadable.
    pub unreadable: usize,
    /// How often the text that is shown first wins; `None` where one order is missing.
    pub first_wins: Option<Estimate>,
    /// By method and temperature.
    pub rates: Vec<WinRate>,
    /// At each method's best temperature.
    pub best: Vec<BestRate>,
    /// What each method loses from its lowest to its highest temperature.
    pub declines: Vec<Decline>,
    /// DPO less every other method, at each temperature that both have.
    pub differences: Vec<RateDifference>,
    /// DPO less every other method, each at its best temperature.
    pub best_differences: Vec<RateDifference>,
    /// What DPO loses as temperature rises less what every other method loses: below 0 where DPO is steadier.
    pub decline_differences: Vec<RateDifference>,
}

/// A method's win rate at a temperature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WinRate {
    /// The method.
    pub method: Method,
    /// The temperature.
    pub temperature: f64,
    /// Wins and half of the ties, as a share of all comparisons.
    pub rate: Estimate,
    /// The mean of the rates of responses that were shown first and second; `None` where one order is
    /// missing.
    pub balanced: Option<Estimate>,
}

/// A method's win rate at its best temperature, cross-fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestRate {
    /// The method.
    pub method: Method,
    /// The temperature that each half of the prompts chooses.
    pub temperatures: [f64; 2],
    /// The rate that the other half reads there.
    pub rate: Estimate,
}

/// What a method loses as temperature rises.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decline {
    /// The method.
    pub method: Method,
    /// The lowest and the highest temperature.
    pub temperatures: [f64; 2],
    /// The rate at the lowest less that at the highest.
    pub loss: Estimate,
}

/// A paired difference between two methods, on the seeds that both have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RateDifference {
    /// The first method.
    pub first: Method,
    /// The one that is taken off.
    pub second: Method,
    /// The temperature, where it is that of both.
    pub temperature: Option<f64>,
    /// First less second.
    pub difference: Estimate,
}

/// The win rates of all judges.
///
/// # Errors
/// [`Error::NoResamples`] for a bootstrap without replicates, [`Error::Repeated`] for a comparison that a
/// judge made twice in the same order.
pub fn win_rates(judgements: &[Judgement], bootstrap: Bootstrap) -> Result<WinRates, Error> {
    let mut names: Vec<&str> = Vec::new();
    let mut of_judge: BTreeMap<&str, Vec<&Judgement>> = BTreeMap::new();
    for one in judgements {
        if !of_judge.contains_key(one.judge.as_str()) {
            names.push(&one.judge);
        }
        of_judge.entry(&one.judge).or_default().push(one);
    }
    let judges =
        names.iter().map(|name| judged_by(name, &of_judge[name], bootstrap)).collect::<Result<_, _>>()?;
    let pairs = names.iter().enumerate().flat_map(|(i, a)| names[i + 1..].iter().map(move |b| (*a, *b)));
    let agreement =
        pairs.filter_map(|(a, b)| agreement((a, &of_judge[a]), (b, &of_judge[b]), bootstrap)).collect();
    Ok(WinRates { judges, agreement })
}

fn judged_by(name: &str, judgements: &[&Judgement], bootstrap: Bootstrap) -> Result<JudgedBy, Error> {
    let count = |outcome| judgements.iter().filter(|one| one.outcome == outcome).count();
    let judged = Judged::new(judgements, bootstrap)?;
    let others = |first: Method| judged.methods.iter().copied().filter(move |other| *other != first);
    let pairs: Vec<(Method, Method)> = if judged.methods.contains(&Method::DPO) {
        others(Method::DPO).map(|other| (Method::DPO, other)).collect()
    } else {
        Vec::new()
    };
    let best = |pair: &(Method, Method)| {
        difference(*pair, &judged, best_numbers, |seeds, number| judged.corrected(seeds, number))
    };
    let steadier = |pair: &(Method, Method)| {
        difference(*pair, &judged, decline_numbers, |seeds, number| judged.estimate(seeds, number))
    };
    Ok(JudgedBy {
        judge: name.to_owned(),
        comparisons: judgements.len(),
        ties: count(Outcome::Tie),
        unreadable: count(Outcome::Unreadable),
        first_wins: first_wins(&judged),
        rates: rates(&judged),
        best: judged.methods.iter().filter_map(|method| best_rate(&judged, *method)).collect(),
        declines: judged.methods.iter().filter_map(|method| decline(&judged, *method)).collect(),
        differences: pairs.iter().flat_map(|pair| at_temperatures(&judged, *pair)).collect(),
        best_differences: pairs.iter().filter_map(best).collect(),
        decline_differences: pairs.iter().filter_map(steadier).collect(),
    })
}

/// A number of each seed in each world.
type Numbers<'a> = Box<dyn Fn(u64, usize) -> f64 + 'a>;

/// The mean over all policies and temperatures of how often the first shown wins.
fn first_wins(judged: &Judged) -> Option<Estimate> {
    let cells: Vec<(Method, usize)> = judged
        .methods
        .iter()
        .flat_map(|m| judged.places(*m).into_iter().map(move |place| (*m, place)))
        .collect();
    let mut seeds = cells.iter().map(|(method, place)| judged.seeds(*method, &[*place]));
    let first = seeds.next()?;
    let common = seeds.fold(first, |common, seeds| common.intersection(&seeds).copied().collect());
    judged.estimate(&common, |seed, world| {
        let shown = |place: usize| {
            let of_cell = |(method, temperature): &(Method, usize)| {
                read(judged, (*method, *temperature, seed), world, |means| means.shown[place])
            };
            // In a replicate of few prompts some cell may have no comparison in one of the orders.
            mean(&cells.iter().map(of_cell).filter(|rate| rate.is_finite()).collect::<Vec<_>>())
        };
        f64::midpoint(shown(0), 1.0 - shown(1))
    })
}

fn rates(judged: &Judged) -> Vec<WinRate> {
    let of_cell = |method: Method, place: usize| {
        let seeds = judged.seeds(method, &[place]);
        let at = |of: fn(&Means) -> f64| {
            judged.estimate(&seeds, |seed, world| read(judged, (method, place, seed), world, of))
        };
        let balanced = at(|means| f64::midpoint(means.shown[0], means.shown[1]));
        Some(WinRate {
            method,
            temperature: judged.temperatures[place],
            rate: at(|means| means.all)?,
            balanced,
        })
    };
    let cells =
        judged.methods.iter().flat_map(|m| judged.places(*m).into_iter().map(move |place| (*m, place)));
    cells.filter_map(|(method, place)| of_cell(method, place)).collect()
}

/// A number of a cell in a world; NaN if the cell is not there.
fn read(
    judged: &Judged,
    (method, place, seed): (Method, usize, u64),
    world: usize,
    of: impl Fn(&Means) -> f64,
) -> f64 {
    judged.cell(method, place, seed).map_or(f64::NAN, |worlds| of(&worlds[world]))
}

/// The places of the temperatures that the two halves choose in each world, the observed one first, of those
/// that have all of the method's seeds; `None` without seeds.
fn chosen(judged: &Judged, method: Method) -> Option<Vec<[usize; 2]>> {
    let places = judged.places(method);
    let seeds = judged.seeds(method, &places);
    let in_world = |world: usize| {
        let rate = |place: usize, half: usize| {
            let of_seed =
                |seed: &u64| read(judged, (method, place, *seed), world, |means| means.halves[half]);
            seeds.iter().map(of_seed).sum::<f64>()
        };
        let of_half = |half: usize| {
            let rates = places.iter().map(|place| (*place, rate(*place, half)));
            // Of equal rates the one at the lowest temperature.
            rates.rev().max_by(|a, b| a.1.total_cmp(&b.1)).map(|best| best.0)
        };
        Some([of_half(0)?, of_half(1)?])
    };
    if seeds.is_empty() { None } else { judged.worlds().map(in_world).collect() }
}

/// A method's rate at its best temperature: what each half chooses, read on the other.
fn best_numbers(judged: &Judged, method: Method) -> Option<Numbers<'_>> {
    let chosen = chosen(judged, method)?;
    Some(Box::new(move |seed, world| {
        let [by_even, by_odd] = chosen[world];
        let on_odd = read(judged, (method, by_even, seed), world, |means| means.halves[1]);
        let on_even = read(judged, (method, by_odd, seed), world, |means| means.halves[0]);
        f64::midpoint(on_odd, on_even)
    }))
}

fn best_rate(judged: &Judged, method: Method) -> Option<BestRate> {
    let temperatures = chosen(judged, method)?.first()?.map(|place| judged.temperatures[place]);
    let seeds = judged.seeds(method, &judged.places(method));
    let rate = judged.corrected(&seeds, best_numbers(judged, method)?)?;
    Some(BestRate { method, temperatures, rate })
}

/// The lowest and the highest temperature of all, if the method has both.
fn ends(judged: &Judged, method: Method) -> Option<[usize; 2]> {
    let (places, last) = (judged.places(method), judged.temperatures.len().checked_sub(1)?);
    (last > 0 && places.contains(&0) && places.contains(&last)).then_some([0, last])
}

fn decline_numbers(judged: &Judged, method: Method) -> Option<Numbers<'_>> {
    let [low, high] = ends(judged, method)?;
    Some(Box::new(move |seed, world| {
        let at = |place| read(judged, (method, place, seed), world, |means| means.all);
        at(low) - at(high)
    }))
}

fn decline(judged: &Judged, method: Method) -> Option<Decline> {
    let places = ends(judged, method)?;
    let loss = judged.estimate(&judged.seeds(method, &places), decline_numbers(judged, method)?)?;
    Some(Decline { method, temperatures: places.map(|place| judged.temperatures[place]), loss })
}

/// The differences of a pair at each temperature.
fn at_temperatures(judged: &Judged, (first, second): (Method, Method)) -> Vec<RateDifference> {
    let of_place = |place: usize| {
        let seeds =
            judged.seeds(first, &[place]).intersection(&judged.seeds(second, &[place])).copied().collect();
        let at = |method, seed, world| read(judged, (method, place, seed), world, |means| means.all);
        let difference =
            judged.estimate(&seeds, |seed, world| at(first, seed, world) - at(second, seed, world))?;
        Some(RateDifference { first, second, temperature: Some(judged.temperatures[place]), difference })
    };
    (0..judged.temperatures.len()).filter_map(of_place).collect()
}

/// The difference of a number that both methods have, on the seeds that both have at all temperatures.
fn difference<'a>(
    (first, second): (Method, Method),
    judged: &'a Judged,
    number: fn(&'a Judged, Method) -> Option<Numbers<'a>>,
    estimate: impl Fn(&BTreeSet<u64>, Numbers<'a>) -> Option<Estimate>,
) -> Option<RateDifference> {
    let all = |method| judged.seeds(method, &judged.places(method));
    let seeds = all(first).intersection(&all(second)).copied().collect();
    let (a, b) = (number(judged, first)?, number(judged, second)?);
    let difference = estimate(&seeds, Box::new(move |seed, world| a(seed, world) - b(seed, world)))?;
    Some(RateDifference { first, second, temperature: None, difference })
}
