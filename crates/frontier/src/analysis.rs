//! The statistics of a study, from one set of replicates.

use std::collections::BTreeMap;

use crate::best_of_n::{BestOfNPoint, best_of_n_curve};
use crate::intervals::{Distribution, Estimate, SeedNoise};
use crate::isotonic::Isotonic;
use crate::optimum::{OptimumTable, interpolate};
use crate::resampling::{Bootstrap, Point, Resampled};
use crate::{Envelope, Error, Method, OptimumPoint, PromptSamples, Reference, Run};

/// The KLs at which curves are evaluated, in nats: by 0.05 to 1, by 0.1 to 5, by 0.25 to 10.
pub fn curve_kls() -> Vec<f64> {
    let part = |from: u32, to: u32, by: f64| (from..=to).map(move |i| f64::from(i) / by);
    part(1, 20, 20.0).chain(part(11, 50, 10.0)).chain(part(21, 40, 4.0)).collect()
}

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
}

/// Several numbers for each seed of a method, as observed and in each replicate.
pub(crate) struct Values {
    pub(crate) seeds: Vec<u64>,
    /// `[world][seed][number]`, the first world the observed one.
    values: Vec<Vec<Vec<f64>>>,
}

impl Values {
    /// The numbers at `index`, of the seeds for which `keep` is true: observed, and replicate by replicate.
    fn columns(&self, index: usize, keep: impl Fn(u64) -> bool) -> (Vec<f64>, Vec<f64>) {
        let pick = |world: &Vec<Vec<f64>>| -> Vec<f64> {
            let kept = self.seeds.iter().zip(world).filter(|(seed, _)| keep(**seed));
            kept.map(|(_, numbers)| numbers[index]).collect()
        };
        (pick(&self.values[0]), self.values[1..].iter().flat_map(pick).collect())
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
        let optima = resampled.weights.iter().map(|weights| optimum.weighted(weights)).collect();
        let seeds = |method| resampled.seeds(method).len();
        let most = Method::TRAINED.into_iter().map(seeds).max().unwrap_or_default();
        let noise = SeedNoise::new(most.saturating_sub(1), bootstrap.resamples, bootstrap.seed ^ 0x7365_6564);
        Ok(Self {
            runs,
            resampled,
            noise,
            reference: Reference::from_samples(samples),
            best_of_n: best_of_n_curve(samples),
            optimum,
            optima,
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

    /// The reward of the optimum at `kl` nats with its interval over prompts; `None` beyond its curve.
    pub fn optimum_at(&self, kl: f64) -> Option<Estimate> {
        let value = self.optimum_reward(None, kl)?;
        let replicates: Option<Vec<f64>> =
            (0..self.optima.len()).map(|b| self.optimum_reward(Some(b), kl)).collect();
        Some(Distribution::new(&[value], &replicates?, &self.noise).estimate())
    }

    /// The optimum's reward in one world; `None` beyond the observed curve.
    pub(crate) fn optimum_reward(&self, world: Option<usize>, kl: f64) -> Option<f64> {
        let last = self.optimum.points.last()?;
        if kl > last.sequence_kl {
            return None;
        }
        match world {
            Some(b) => interpolate(&self.optima[b], kl),
            None => crate::optimum::optimum_reward(&self.optimum.points, kl),
        }
    }

    /// Computes `numbers` of (start, points of a seed in a world) for every seed of a method.
    pub(crate) fn values(
        &self,
        method: Method,
        numbers: impl Fn(Option<usize>, f64, &[&Point]) -> Vec<f64>,
    ) -> Option<Values> {
        let seeds: BTreeMap<u64, Vec<&Point>> = self.resampled.seeds(method);
        if seeds.is_empty() {
            return None;
        }
        let of_world = |world: Option<usize>| {
            let start = self.resampled.start(world);
            seeds.values().map(|points| numbers(world, start, points)).collect()
        };
        let values = self.resampled.worlds().map(of_world).collect();
        Some(Values { seeds: seeds.keys().copied().collect(), values })
    }

    /// A method's rewards along [`curve_kls`] under the upper envelope and under the isotonic fit.
    pub(crate) fn curves(&self, method: Method) -> Option<(Values, Values)> {
        let kls = curve_kls();
        let envelopes = self.values(method, |world, start, points| {
            let envelope = envelope(world, start, points);
            kls.iter().map(|kl| envelope.at(*kl)).collect()
        })?;
        let fits = self.values(method, |world, start, points| {
            let fit = isotonic(world, start, points);
            kls.iter().map(|kl| fit.at(*kl).unwrap_or(start)).collect()
        })?;
        Some((envelopes, fits))
    }

    /// The distribution of the number at `index`.
    pub(crate) fn distribution(&self, values: &Values, index: usize) -> Distribution {
        let (observed, replicates) = values.columns(index, |_| true);
        Distribution::new(&observed, &replicates, &self.noise)
    }

    /// The distribution of the difference at `index` over the seeds that both have; `None` without one.
    pub(crate) fn difference(&self, first: &Values, second: &Values, index: usize) -> Option<Distribution> {
        let common = |seed: u64| first.seeds.contains(&seed) && second.seeds.contains(&seed);
        let (a, b) = (first.columns(index, common), second.columns(index, common));
        let minus = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>();
        let (observed, replicates) = (minus(&a.0, &b.0), minus(&a.1, &b.1));
        (!observed.is_empty()).then(|| Distribution::new(&observed, &replicates, &self.noise))
    }
}

/// The upper envelope of points in one world.
pub(crate) fn envelope(world: Option<usize>, start: f64, points: &[&Point]) -> Envelope {
    Envelope::new(start, points.iter().map(|point| point.at(world)))
}

/// The isotonic fit to points in one world. The reference counts as a point: a curve that starts elsewhere
/// would not be one of this method.
pub(crate) fn isotonic(world: Option<usize>, start: f64, points: &[&Point]) -> Isotonic {
    let points = points.iter().map(|point| point.at(world)).map(|(kl, score)| (kl.max(0.0), score, 1.0));
    Isotonic::fit(points.chain([(0.0, start, 1.0)]))
}
