//! The statistics of a study, from one set of replicates.

use std::collections::BTreeMap;

use crate::statistics::best_of_n::{BestOfNPoint, best_of_n_curve};
use crate::statistics::envelope::Choices;
use crate::statistics::intervals::{Distribution, Estimate, SeedNoise};
use crate::statistics::isotonic::Isotonic;
use crate::statistics::optimum::{OptimumTable, interpolate};
use crate::statistics::resampling::{Axis, Bootstrap, Point, Resampled, World};
use crate::{Envelope, Error, Method, OptimumPoint, PromptSamples, Reference, Run};

/// The KLs at which curves are evaluated, in nats: by 0.05 to 1, by 0.1 to 5, by 0.25 to 10.
pub fn curve_kls() -> Vec<f64> {
    let part = |from: u32, to: u32, by: f64| (from..=to).map(move |i| f64::from(i) / by);
    part(1, 20, 20.0).chain(part(11, 50, 10.0)).chain(part(21, 40, 4.0)).collect()
}

/// The factor within which a run ends near a KL.
const NEAR: f64 = 1.5;

/// A study with its replicates: what every statistic is computed from.
pub struct Analysis<'a> {
    pub(crate) runs: &'a [Run],
    pub(crate) resampled: Resampled,
    noise: SeedNoise,
    reference: Reference,
    best_of_n: Vec<BestOfNPoint>,
    optimum: OptimumTable,
    /// `[replicate]` -> (KL, reward)
    optima: Vec<Vec<(f64, f64)>>,
    hard_labels: OptimumTable,
    /// `[replicate]` -> (KL, reward)
    hard_label_replicates: Vec<Vec<(f64, f64)>>,
}

/// Several numbers for each seed of a method: as observed and in each replicate.
pub(crate) struct Values {
    pub(crate) seeds: Vec<u64>,
    /// `[seed][number]`
    observed: Vec<Vec<f64>>,
    /// `[replicate][seed][number]`
    replicates: Vec<Vec<Vec<f64>>>,
}

/// One of the numbers.
#[derive(Debug)]
struct Column {
    observed: Vec<f64>,
    /// `[replicate * seeds + seed]`
    replicates: Vec<f64>,
}

impl Values {
    /// The number at `index`, of the seeds for which `keep` is true.
    fn column(&self, index: usize, keep: impl Fn(u64) -> bool) -> Column {
        let pick = |seeds: &Vec<Vec<f64>>| -> Vec<f64> {
            let kept = self.seeds.iter().zip(seeds).filter(|(seed, _)| keep(**seed));
            kept.map(|(_, numbers)| numbers[index]).collect()
        };
        Column { observed: pick(&self.observed), replicates: self.replicates.iter().flat_map(pick).collect() }
    }
}

impl Column {
    fn minus(&self, other: &Self) -> Self {
        let minus = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>();
        Self {
            observed: minus(&self.observed, &other.observed),
            replicates: minus(&self.replicates, &other.replicates),
        }
    }

    fn distribution(&self, noise: &SeedNoise) -> Distribution {
        Distribution::new(&self.observed, &self.replicates, noise)
    }
}

impl<'a> Analysis<'a> {
    /// Resamples `runs`; the optimum's curve goes as far as `min_effective_samples` of a prompt's `samples`
    /// carry it.
    ///
    /// # Errors
    /// [`Error::PromptCount`] if a run recorded another number of prompts than `samples` has,
    /// [`Error::NoResamples`] if `bootstrap` asks for none.
    pub fn new(
        runs: &'a [Run],
        samples: &PromptSamples,
        min_effective_samples: f64,
        bootstrap: Bootstrap,
    ) -> Result<Self, Error> {
        if bootstrap.resamples == 0 {
            return Err(Error::NoResamples);
        }
        let resampled = Resampled::new(runs, samples, bootstrap)?;
        let optimum = OptimumTable::new(samples, min_effective_samples);
        let hard_labels = OptimumTable::hard_labels(samples, min_effective_samples);
        let weighted = |table: &OptimumTable| resampled.weights.iter().map(|w| table.weighted(w)).collect();
        let (optima, hard_label_replicates) = (weighted(&optimum), weighted(&hard_labels));
        let seeds = |method| resampled.seeds(method).len();
        let most = Run::methods(runs).into_iter().map(seeds).max().unwrap_or_default();
        let noise = SeedNoise::new(most.saturating_sub(1), bootstrap.resamples, bootstrap.seed ^ 0x7365_6564);
        Ok(Self {
            runs,
            resampled,
            noise,
            reference: Reference::from_samples(samples),
            best_of_n: best_of_n_curve(samples),
            optimum,
            optima,
            hard_labels,
            hard_label_replicates,
        })
    }

    /// The reference's mean reward.
    pub fn reference(&self) -> Reference {
        self.reference
    }

    /// Best-of-n up to half of the reference samples of a prompt.
    pub fn best_of_n(&self) -> &[BestOfNPoint] {
        &self.best_of_n
    }

    /// The optimum's curve.
    pub fn optimum(&self) -> &[OptimumPoint] {
        &self.optimum.points
    }

    /// The curve of a policy that knows what hard labels can tell.
    pub fn hard_labels(&self) -> &[OptimumPoint] {
        &self.hard_labels.points
    }

    /// The largest KL of a method's points, in nats; beyond it the envelope is flat for want of checkpoints.
    /// `None` for a method without points.
    pub(crate) fn largest_kl(&self, method: Method) -> Option<f64> {
        let points = self.resampled.points.iter().filter(|point| point.method == method);
        points.map(|point| point.observed.0).reduce(f64::max)
    }

    /// Whether a run of every seed of `method` ends within a factor of 1.5 of `kl` nats. Elsewhere an
    /// envelope rests on checkpoints of runs that are on their way to another KL.
    pub fn ends_near(&self, method: Method, kl: f64) -> bool {
        let seeds = self.resampled.seeds(method);
        let near = |point: &Point| {
            let last = point.eval + 1 == self.runs[point.run].evals.len();
            last && point.observed.0 > 0.0 && (point.observed.0 / kl).ln().abs() <= NEAR.ln()
        };
        !seeds.is_empty() && seeds.values().all(|points| points.iter().any(|point| near(point)))
    }

    /// The reward of the optimum at `kl` nats with its interval over prompts; `None` beyond its curve.
    pub fn optimum_at(&self, kl: f64) -> Option<Estimate> {
        let value = self.optimum_reward(World::Observed, kl)?;
        let replicates: Option<Vec<f64>> =
            (0..self.optima.len()).map(|b| self.optimum_reward(World::Replicate(b), kl)).collect();
        Some(Distribution::new(&[value], &replicates?, &self.noise).estimate())
    }

    /// The optimum's reward; `None` beyond the observed curve.
    pub(crate) fn optimum_reward(&self, world: World, kl: f64) -> Option<f64> {
        along(&self.optimum.points, &self.optima, world, kl)
    }

    /// The hard-label ceiling at `kl` nats: its reward, and its share of the optimum's gain, with intervals
    /// over prompts; `None` beyond either curve and where nothing can be gained.
    pub(crate) fn hard_label_ceiling(&self, kl: f64) -> Option<(Estimate, Estimate)> {
        let at = |world: World| {
            let reward = along(&self.hard_labels.points, &self.hard_label_replicates, world, kl)?;
            let start = self.resampled.start(world);
            Some((reward, (reward - start) / (self.optimum_reward(world, kl)? - start).max(1e-9)))
        };
        let start = self.resampled.start(World::Observed);
        self.optimum_reward(World::Observed, kl).filter(|reward| reward - start > 1e-9)?;
        let (reward, share) = at(World::Observed)?;
        let worlds = (0..self.optima.len()).map(World::Replicate);
        let (rewards, shares): (Vec<f64>, Vec<f64>) =
            worlds.map(at).collect::<Option<Vec<_>>>()?.into_iter().unzip();
        let estimate =
            |value: f64, replicates: &[f64]| Distribution::new(&[value], replicates, &self.noise).estimate();
        Some((estimate(reward, &rewards), estimate(share, &shares)))
    }

    /// Computes `numbers` of (start, points of a seed in a world) for every seed of a method.
    fn values(&self, method: Method, numbers: impl Fn(World, f64, &[&Point]) -> Vec<f64>) -> Option<Values> {
        let seeds: BTreeMap<u64, Vec<&Point>> = self.resampled.seeds(method);
        let points: Vec<&Vec<&Point>> = seeds.values().collect();
        self.over_worlds(&seeds, |world, seed| numbers(world, self.resampled.start(world), points[seed]))
    }

    /// Computes `numbers` of (start, cross-fitted envelope of a seed in a world) for every seed of a method.
    pub(crate) fn of_envelopes(
        &self,
        method: Method,
        axis: &Axis<'_>,
        numbers: impl Fn(World, f64, &Envelope) -> Vec<f64>,
    ) -> Option<Values> {
        let seeds: BTreeMap<u64, Vec<&Point>> = self.resampled.seeds(method);
        let chosen: Vec<(Choices, &Vec<&Point>)> =
            seeds.values().map(|points| (self.resampled.choices(points, axis), points)).collect();
        self.over_worlds(&seeds, |world, seed| {
            let (choices, points) = &chosen[seed];
            let envelope = self.resampled.envelope(choices, points, world, axis);
            numbers(world, self.resampled.start(world), &envelope)
        })
    }

    /// `numbers` of (world, index of a seed), as observed and in every replicate; `None` without a seed.
    fn over_worlds(
        &self,
        seeds: &BTreeMap<u64, Vec<&Point>>,
        numbers: impl Fn(World, usize) -> Vec<f64>,
    ) -> Option<Values> {
        if seeds.is_empty() {
            return None;
        }
        let of_world =
            |world: World| -> Vec<Vec<f64>> { (0..seeds.len()).map(|seed| numbers(world, seed)).collect() };
        let replicates = (0..self.optima.len()).map(|replicate| of_world(World::Replicate(replicate)));
        Some(Values {
            seeds: seeds.keys().copied().collect(),
            observed: of_world(World::Observed),
            replicates: replicates.collect(),
        })
    }

    /// A method's rewards along [`curve_kls`] under the upper envelope and under the isotonic fit.
    pub(crate) fn curves(&self, method: Method) -> Option<(Values, Values)> {
        let kls = curve_kls();
        let envelopes = self.of_envelopes(method, &Axis::Kl, |_, _, envelope| {
            kls.iter().map(|kl| envelope.at(*kl)).collect()
        })?;
        let fits = self.values(method, |world, start, points| {
            let fit = self.isotonic(world, start, points);
            kls.iter().map(|kl| fit.at(*kl).unwrap_or(start)).collect()
        })?;
        Some((envelopes, fits))
    }

    /// The isotonic fit to points in one world. The reference counts as a point: a curve that starts
    /// elsewhere would not be one of this method.
    fn isotonic(&self, world: World, start: f64, points: &[&Point]) -> Isotonic {
        let points = points.iter().map(|point| self.resampled.at(point, world));
        let points = points.map(|(kl, score)| (kl.max(0.0), score, 1.0));
        Isotonic::fit(points.chain([(0.0, start, 1.0)]))
    }

    /// The mean over seeds of a method's envelopes as observed; `None` for a method without points.
    pub(crate) fn mean_envelope(&self, method: Method) -> Option<Envelope> {
        let seeds = self.resampled.seeds(method);
        let envelope = |points: &Vec<&Point>| {
            let choices = self.resampled.choices(points, &Axis::Kl);
            self.resampled.envelope(&choices, points, World::Observed, &Axis::Kl)
        };
        let envelopes: Vec<Envelope> = seeds.values().map(envelope).collect();
        Envelope::mean(&envelopes)
    }

    /// The distribution of the number at `index`.
    pub(crate) fn distribution(&self, values: &Values, index: usize) -> Distribution {
        values.column(index, |_| true).distribution(&self.noise)
    }

    /// The distribution of the difference at `index` over the seeds that both have; `None` without one.
    pub(crate) fn difference(&self, first: &Values, second: &Values, index: usize) -> Option<Distribution> {
        let common = |seed: u64| first.seeds.contains(&seed) && second.seeds.contains(&seed);
        let column = first.column(index, common).minus(&second.column(index, common));
        (!column.observed.is_empty()).then(|| column.distribution(&self.noise))
    }
}

/// The reward of a curve in one world; `None` beyond the observed one.
fn along(points: &[OptimumPoint], replicates: &[Vec<(f64, f64)>], world: World, kl: f64) -> Option<f64> {
    let last = points.last()?;
    if kl > last.sequence_kl {
        return None;
    }
    match world {
        World::Replicate(b) => interpolate(&replicates[b], kl),
        World::Observed => crate::statistics::optimum::optimum_reward(points, kl),
    }
}
