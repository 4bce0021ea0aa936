//! Replicates of a study: the same checkpoints, evaluated on resampled prompts.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::statistics::intervals::{mean, standard_normal};
use crate::{Error, Method, PromptSamples, PromptScore, Run, on_frontier};

/// How to resample: the number of replicates and the seed of the generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bootstrap {
    /// Replicates; 2000 give a percentile to about 1% of coverage.
    pub resamples: usize,
    /// Seed of the `ChaCha8Rng`.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 2000, seed: 0 }
    }
}

/// Which version of the study.
#[derive(Clone, Copy, Debug)]
pub(crate) enum World {
    /// As observed.
    Observed,
    /// All of a replicate.
    Replicate(usize),
    /// The scores of a replicate with the KLs as observed.
    ScoresOf(usize),
}

/// An evaluation on its method's frontier as observed, and in each replicate.
pub(crate) struct Point {
    pub(crate) method: Method,
    pub(crate) seed: u64,
    /// Index of its run.
    pub(crate) run: usize,
    /// Index of its evaluation within the run.
    pub(crate) eval: usize,
    /// (KL, score)
    pub(crate) observed: (f64, f64),
    draws: Vec<(f64, f64)>,
}

impl Point {
    /// (KL, score)
    pub(crate) fn at(&self, world: World) -> (f64, f64) {
        match world {
            World::Observed => self.observed,
            World::Replicate(b) => self.draws[b],
            World::ScoresOf(b) => (self.observed.0, self.draws[b].1),
        }
    }
}

/// All points, the reference's mean, and the weights of the prompts.
///
/// A replicate draws as many prompts with replacement as there are, the same ones for every policy and for the
/// reference samples. Points without records of their prompts are moved by normal draws times their standard
/// errors, one draw for all points of a method: how much of the noise two evaluations share is then unknown,
/// and an interval is safe if all of it is shared between seeds and none of it between methods.
pub(crate) struct Resampled {
    pub(crate) points: Vec<Point>,
    /// The points that have records of their prompts.
    pub(crate) with_prompts: usize,
    start: f64,
    starts: Vec<f64>,
    /// `[replicate][prompt]`, each row of sum 1.
    pub(crate) weights: Vec<Vec<f64>>,
}

impl Resampled {
    pub(crate) fn new(runs: &[Run], samples: &PromptSamples, bootstrap: Bootstrap) -> Result<Self, Error> {
        let prompts = samples.prompts().len();
        let mut rng = ChaCha8Rng::seed_from_u64(bootstrap.seed);
        let weights: Vec<Vec<f64>> =
            (0..bootstrap.resamples).map(|_| draw_weights(prompts, &mut rng)).collect();
        let means: Vec<f64> = samples.prompts().iter().map(|scores| mean(scores)).collect();
        let starts = weights.iter().map(|weights| dot(weights, &means)).collect();
        // The known methods draw first, whether they are here or not: what a study adds moves none of them.
        let normals: BTreeMap<Method, Vec<(f64, f64)>> = Method::trained(Method::known())
            .into_iter()
            .chain(Run::methods(runs).into_iter().filter(|method| !method.is_known()))
            .map(|method| {
                let mut draw = || (standard_normal(&mut rng), standard_normal(&mut rng));
                (method, weights.iter().map(|_| draw()).collect())
            })
            .collect();
        let (mut points, mut with_prompts) = (Vec::new(), 0);
        for (index, run) in runs.iter().enumerate() {
            for (eval_index, eval) in run.evals.iter().enumerate().filter(|(_, eval)| on_frontier(eval)) {
                let observed = (eval.sequence_kl, eval.score);
                let draws = if let Some(scores) = run.prompts.get(&eval.step) {
                    check_count(run, eval.step, scores.len(), prompts)?;
                    with_prompts += 1;
                    of_prompts(observed, scores, &weights)
                } else {
                    let errors = (finite(eval.sequence_kl_se), finite(eval.score_se));
                    moved(observed, errors, &normals[&eval.method])
                };
                let (method, seed) = (eval.method, eval.seed);
                points.push(Point { method, seed, run: index, eval: eval_index, observed, draws });
            }
        }
        Ok(Self { points, with_prompts, start: mean(&means), starts, weights })
    }

    /// The reference's mean reward.
    pub(crate) fn start(&self, world: World) -> f64 {
        match world {
            World::Observed => self.start,
            World::Replicate(b) | World::ScoresOf(b) => self.starts[b],
        }
    }

    /// The points of a method by seed.
    pub(crate) fn seeds(&self, method: Method) -> BTreeMap<u64, Vec<&Point>> {
        let mut seeds: BTreeMap<u64, Vec<&Point>> = BTreeMap::new();
        for point in self.points.iter().filter(|point| point.method == method) {
            seeds.entry(point.seed).or_default().push(point);
        }
        seeds
    }
}

fn check_count(run: &Run, step: u64, found: usize, expected: usize) -> Result<(), Error> {
    if found == expected {
        return Ok(());
    }
    Err(Error::PromptCount { run: run.name.clone(), step, found, expected })
}

fn draw_weights(prompts: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let mut weights = vec![0.0; prompts];
    for _ in 0..prompts {
        weights[rng.random_range(0..prompts)] += 1.0 / prompts as f64;
    }
    weights
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The observed means, moved by what the weights move the records' means.
fn of_prompts(observed: (f64, f64), prompts: &[PromptScore], weights: &[Vec<f64>]) -> Vec<(f64, f64)> {
    let kls: Vec<f64> = prompts.iter().map(|prompt| prompt.sequence_kl).collect();
    let scores: Vec<f64> = prompts.iter().map(|prompt| prompt.score).collect();
    let (kl, score) = (observed.0 - mean(&kls), observed.1 - mean(&scores));
    weights.iter().map(|weights| (kl + dot(weights, &kls), score + dot(weights, &scores))).collect()
}

fn moved(observed: (f64, f64), errors: (f64, f64), normals: &[(f64, f64)]) -> Vec<(f64, f64)> {
    normals.iter().map(|z| (observed.0 + errors.0 * z.0, observed.1 + errors.1 * z.1)).collect()
}

fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.0 }
}
