//! The comparisons of one judge with their replicates: the same comparisons on resampled prompts.

use std::collections::{BTreeMap, BTreeSet};

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::statistics::intervals::{Distribution, Estimate, SeedNoise, mean};
use crate::statistics::resampling::{Bootstrap, draw_weights, half};
use crate::{Error, Judgement, Method};

/// The wins of one policy at one temperature in one world: means over its comparisons, ties half.
/// NaN where there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Means {
    /// Over all prompts.
    pub(crate) all: f64,
    /// Over the prompts of even and of odd index.
    pub(crate) halves: [f64; 2],
    /// Over those comparisons whose response was shown first, and second.
    pub(crate) shown: [f64; 2],
}

/// A policy at a temperature with a seed.
type Cell = (Method, usize, u64);

/// What one judge said, as observed and in each replicate.
///
/// A replicate draws prompts with replacement, the same ones for all methods, temperatures and seeds, within
/// the halves of even and of odd index: what is chosen on one half is read on the other.
pub(crate) struct Judged {
    pub(crate) methods: Vec<Method>,
    /// In increasing order.
    pub(crate) temperatures: Vec<f64>,
    cells: BTreeMap<Cell, Vec<Means>>,
    noise: SeedNoise,
    replicates: usize,
}

/// (prompt, shown first, value) of the comparisons of a cell.
type Values = BTreeMap<Cell, Vec<(usize, bool, f64)>>;

impl Judged {
    /// `judgements` of one judge.
    pub(crate) fn new(judgements: &[&Judgement], bootstrap: Bootstrap) -> Result<Self, Error> {
        if bootstrap.resamples == 0 {
            return Err(Error::NoResamples);
        }
        let prompts: BTreeSet<u64> = judgements.iter().map(|one| one.prompt).collect();
        let prompts: BTreeMap<u64, usize> = prompts.into_iter().zip(0..).collect();
        let mut temperatures: Vec<f64> = judgements.iter().map(|one| one.temperature).collect();
        temperatures.sort_by(f64::total_cmp);
        temperatures.dedup();
        let values = values(judgements, &prompts, &temperatures)?;
        let mut rng = ChaCha8Rng::seed_from_u64(bootstrap.seed);
        let even = vec![1.0; prompts.len()];
        let drawn = (0..bootstrap.resamples).map(|_| draw_weights(prompts.len(), &mut rng));
        let worlds: Vec<Vec<f64>> = std::iter::once(even).chain(drawn).collect();
        let in_worlds =
            |values: &Vec<(usize, bool, f64)>| worlds.iter().map(|weights| means(values, weights)).collect();
        let cells: BTreeMap<Cell, Vec<Means>> =
            values.iter().map(|(cell, values)| (*cell, in_worlds(values))).collect();
        let methods: BTreeSet<Method> = cells.keys().map(|cell| cell.0).collect();
        let seeds: BTreeSet<u64> = cells.keys().map(|cell| cell.2).collect();
        let noise = SeedNoise::new(seeds.len().saturating_sub(1), bootstrap.resamples, bootstrap.seed);
        Ok(Self {
            methods: methods.into_iter().collect(),
            temperatures,
            cells,
            noise,
            replicates: bootstrap.resamples,
        })
    }

    /// A cell in all worlds, the observed one first.
    pub(crate) fn cell(&self, method: Method, temperature: usize, seed: u64) -> Option<&[Means]> {
        self.cells.get(&(method, temperature, seed)).map(Vec::as_slice)
    }

    /// The seeds with which a method was judged at all of `temperatures`, by their places.
    pub(crate) fn seeds(&self, method: Method, temperatures: &[usize]) -> BTreeSet<u64> {
        let seeds: BTreeSet<u64> = self.cells.keys().map(|cell| cell.2).collect();
        let has_all =
            |seed: &u64| temperatures.iter().all(|place| self.cell(method, *place, *seed).is_some());
        seeds.into_iter().filter(has_all).collect()
    }

    /// The places of the temperatures at which a method was judged.
    pub(crate) fn places(&self, method: Method) -> Vec<usize> {
        let judged = |place: &usize| !self.seeds(method, &[*place]).is_empty();
        (0..self.temperatures.len()).filter(judged).collect()
    }

    /// The worlds: 0 is the observed one.
    pub(crate) fn worlds(&self) -> impl Iterator<Item = usize> {
        0..=self.replicates
    }

    /// The estimate of a number that each seed has in each world; `None` without seeds, or if the number is
    /// not finite in some world.
    pub(crate) fn estimate(
        &self,
        seeds: &BTreeSet<u64>,
        number: impl Fn(u64, usize) -> f64,
    ) -> Option<Estimate> {
        let (observed, replicates) = self.numbers(seeds, number)?;
        Some(Distribution::new(&observed, &replicates, &self.noise).estimate())
    }

    /// The same without the bias that the bootstrap sees: where the replicates lie below what was observed,
    /// the truth is taken to lie above it by as much.
    pub(crate) fn corrected(
        &self,
        seeds: &BTreeSet<u64>,
        number: impl Fn(u64, usize) -> f64,
    ) -> Option<Estimate> {
        let (observed, replicates) = self.numbers(seeds, number)?;
        let bias = mean(&replicates) - mean(&observed);
        let Estimate { value, interval: (low, high), seeds, seed_sd } =
            Distribution::new(&observed, &replicates, &self.noise).estimate();
        Some(Estimate {
            value: value - bias,
            interval: (low - 2.0 * bias, high - 2.0 * bias),
            seeds,
            seed_sd,
        })
    }

    /// The number of each seed as observed, and in the replicates, replicate by replicate.
    fn numbers(
        &self,
        seeds: &BTreeSet<u64>,
        number: impl Fn(u64, usize) -> f64,
    ) -> Option<(Vec<f64>, Vec<f64>)> {
        let of_world = |world: usize| seeds.iter().map(move |seed| (*seed, world));
        let all = self.worlds().flat_map(of_world).map(|(seed, world)| number(seed, world));
        let mut observed: Vec<f64> = all.collect();
        if seeds.is_empty() || !observed.iter().all(|value| value.is_finite()) {
            return None;
        }
        let replicates = observed.split_off(seeds.len());
        Some((observed, replicates))
    }
}

fn values(
    judgements: &[&Judgement],
    prompts: &BTreeMap<u64, usize>,
    temperatures: &[f64],
) -> Result<Values, Error> {
    let mut seen = BTreeSet::new();
    let mut values = Values::new();
    for one in judgements {
        let temperature = temperatures.partition_point(|other| other.total_cmp(&one.temperature).is_lt());
        let cell = (one.method, temperature, one.seed);
        if !seen.insert((cell, one.prompt, one.shown_first)) {
            let what = (one.method, one.seed, one.temperature, one.prompt);
            let (method, seed, temperature, prompt) = what;
            return Err(Error::Repeated(format!(
                "{method} with seed {seed} at temperature {temperature} on prompt {prompt} by {}",
                one.judge
            )));
        }
        let of_cell = values.entry(cell).or_default();
        if let Some(value) = one.outcome.value() {
            of_cell.push((prompts[&one.prompt], one.shown_first, value));
        }
    }
    Ok(values)
}

/// Weighted means of a cell's comparisons.
fn means(values: &[(usize, bool, f64)], weights: &[f64]) -> Means {
    let mut sums = [(0.0, 0.0); 5];
    for &(prompt, first, value) in values {
        let weight = weights[prompt];
        for place in [0, 1 + half(prompt), if first { 3 } else { 4 }] {
            sums[place].0 += weight * value;
            sums[place].1 += weight;
        }
    }
    let [all, even, odd, first, second] = sums.map(|(sum, weight)| sum / weight);
    Means { all, halves: [even, odd], shown: [first, second] }
}
