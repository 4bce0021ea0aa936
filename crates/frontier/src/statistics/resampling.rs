//! Replicates of a study: the same checkpoints, evaluated on resampled prompts.

use std::collections::BTreeMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::statistics::envelope::{Between, Choices, Envelope, Halves};
use crate::statistics::intervals::{mean, standard_error, standard_normal};
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
    /// A replicate.
    Replicate(usize),
}

/// An evaluation on its method's frontier as observed, and in each replicate: in both halves of the prompts.
pub(crate) struct Point {
    pub(crate) method: Method,
    pub(crate) seed: u64,
    /// Index of its run.
    pub(crate) run: usize,
    /// Index of its evaluation within the run.
    pub(crate) eval: usize,
    /// (KL, score) over all prompts.
    pub(crate) observed: (f64, f64),
    halves: Halves,
    draws: Vec<Halves>,
}

impl Point {
    /// (KL, score) in both halves.
    pub(crate) fn halves(&self, world: World) -> Halves {
        match world {
            World::Observed => self.halves,
            World::Replicate(b) => self.draws[b],
        }
    }
}

/// What an envelope runs along.
pub(crate) enum Axis<'a> {
    /// The KL, in nats.
    Kl,
    /// What a checkpoint costs.
    Cost(&'a dyn Fn(&Point) -> f64),
}

impl Axis<'_> {
    /// The x of a point that has this KL.
    fn x(&self, point: &Point, kl: f64) -> f64 {
        match self {
            Self::Kl => kl,
            Self::Cost(cost) => cost(point),
        }
    }

    fn between(&self) -> Between {
        match self {
            Self::Kl => Between::Mixtures,
            Self::Cost(_) => Between::Nothing,
        }
    }
}

/// All points, the reference's mean, and the weights of the prompts.
///
/// The prompts are split in two halves for the [cross-fitted](Envelope::cross_fitted) envelope: those of
/// even and those of odd index. A replicate draws from each half as many prompts with replacement as it
/// has, the same ones for every policy and for the reference samples. Points without records of their
/// prompts are moved by normal draws times their standard errors, one draw for all points of a method: how
/// much of the noise two evaluations share is then unknown, and an interval is safe if all of it is shared
/// between seeds and none of it between methods. Such points are the same in both halves, so that their
/// envelope is the plain one.
pub(crate) struct Resampled {
    pub(crate) points: Vec<Point>,
    /// The points that have records of their prompts.
    pub(crate) with_prompts: usize,
    start: [f64; 2],
    starts: Vec<[f64; 2]>,
    /// The share of the prompts that each half holds.
    shares: [f64; 2],
    /// The variance of a score's error in each half for a seed of a method; see [`noise`].
    noise: BTreeMap<(Method, u64), [f64; 2]>,
    /// `[replicate][prompt]`, each row of sum 1, and each half of it of the sum that is the half's share.
    pub(crate) weights: Vec<Vec<f64>>,
}

impl Resampled {
    pub(crate) fn new(runs: &[Run], samples: &PromptSamples, bootstrap: Bootstrap) -> Result<Self, Error> {
        let prompts = samples.prompts().len();
        let mut rng = ChaCha8Rng::seed_from_u64(bootstrap.seed);
        let weights: Vec<Vec<f64>> =
            (0..bootstrap.resamples).map(|_| draw_weights(prompts, &mut rng)).collect();
        let means: Vec<f64> = samples.prompts().iter().map(|scores| mean(scores)).collect();
        let shares = shares(prompts);
        let starts = weights.iter().map(|weights| in_halves(weights, &means, shares)).collect();
        let start = in_halves(&vec![(prompts as f64).recip(); prompts], &means, shares);
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
                let (halves, draws) = if let Some(scores) = run.prompts.get(&eval.step) {
                    check_count(run, eval.step, scores.len(), prompts)?;
                    with_prompts += 1;
                    of_prompts(observed, scores, &weights, shares)
                } else {
                    let errors = (finite(eval.sequence_kl_se), finite(eval.score_se));
                    ([observed; 2], moved(observed, errors, &normals[&eval.method]))
                };
                let (method, seed) = (eval.method, eval.seed);
                points.push(Point { method, seed, run: index, eval: eval_index, observed, halves, draws });
            }
        }
        let noise = noise(runs);
        Ok(Self { points, with_prompts, start, starts, shares, noise, weights })
    }

    /// The reference's mean reward.
    pub(crate) fn start(&self, world: World) -> f64 {
        self.whole(self.start_in_halves(world))
    }

    /// (KL, score) of a point over all prompts.
    pub(crate) fn at(&self, point: &Point, world: World) -> (f64, f64) {
        let [a, b] = point.halves(world);
        (self.whole([a.0, b.0]), self.whole([a.1, b.1]))
    }

    /// What each half of the prompts chooses among a seed's `points` as observed.
    pub(crate) fn choices(&self, points: &[&Point], axis: &Axis<'_>) -> Choices {
        let along = |point: &&Point| {
            let [a, b] = point.halves(World::Observed);
            [(axis.x(point, a.0), a.1), (axis.x(point, b.0), b.1)]
        };
        let along: Vec<Halves> = points.iter().map(along).collect();
        Choices::new(self.start, &along, self.noise_of(points), axis.between())
    }

    /// The envelope of a seed's `points` in one world, `observed` being its choices as observed.
    pub(crate) fn envelope(
        &self,
        observed: &Choices,
        points: &[&Point],
        world: World,
        axis: &Axis<'_>,
    ) -> Envelope {
        let rewards = |index: usize| points[index].halves(world).map(|half| half.1);
        let (start, share) = (self.start_in_halves(world), self.shares[0]);
        match world {
            World::Observed => observed.read(start, share, rewards),
            World::Replicate(_) => {
                // Chosen from rewards without the study's own noise, so that a replicate has
                // as much noise as a study.
                let along = |(index, point): (usize, &&Point)| {
                    let (of_study, drawn) = (point.halves(World::Observed), point.halves(world));
                    let known = observed.shrunk(index);
                    [0, 1].map(|half| {
                        let moved = drawn[half].1 - of_study[half].1;
                        (axis.x(point, drawn[half].0), known[half] + moved)
                    })
                };
                let along: Vec<Halves> = points.iter().enumerate().map(along).collect();
                let anew = Choices::new(start, &along, self.noise_of(points), axis.between());
                observed.replicate(&anew, (self.start, start), share, rewards)
            }
        }
    }

    /// The variance of a score's error in each half for a seed's points; 0 where their prompts were not
    /// recorded.
    fn noise_of(&self, points: &[&Point]) -> [f64; 2] {
        let of_seed = points.first().and_then(|point| self.noise.get(&(point.method, point.seed)));
        of_seed.copied().unwrap_or_default()
    }

    /// The mean over all prompts of what has these means in the halves.
    fn whole(&self, [a, b]: [f64; 2]) -> f64 {
        b + self.shares[0] * (a - b)
    }

    fn start_in_halves(&self, world: World) -> [f64; 2] {
        match world {
            World::Observed => self.start,
            World::Replicate(b) => self.starts[b],
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

/// The half of a prompt: 0 for an even index, 1 for an odd one.
pub(crate) fn half(prompt: usize) -> usize {
    prompt % 2
}

/// The share of the prompts in each half. A single prompt has no second half, and stands for both.
fn shares(prompts: usize) -> [f64; 2] {
    let second = (prompts / 2) as f64 / prompts as f64;
    [1.0 - second, second]
}

/// Counts of prompts drawn with replacement within each half, divided by the number of prompts.
pub(crate) fn draw_weights(prompts: usize, rng: &mut ChaCha8Rng) -> Vec<f64> {
    let mut weights = vec![0.0; prompts];
    for prompt in 0..prompts {
        let (first, size) = (half(prompt), (prompts + 1 - half(prompt)) / 2);
        weights[2 * rng.random_range(0..size) + first] += 1.0 / prompts as f64;
    }
    weights
}

/// The weighted means of both halves.
fn in_halves(weights: &[f64], values: &[f64], shares: [f64; 2]) -> [f64; 2] {
    let mut sums = [0.0; 2];
    for (prompt, (weight, value)) in weights.iter().zip(values).enumerate() {
        sums[half(prompt)] += weight * value;
    }
    if shares[1] > 0.0 { [sums[0] / shares[0], sums[1] / shares[1]] } else { [sums[0]; 2] }
}

/// A checkpoint as observed and in each replicate: the means of its records, moved by what the observed
/// mean differs from theirs.
fn of_prompts(
    observed: (f64, f64),
    prompts: &[PromptScore],
    weights: &[Vec<f64>],
    shares: [f64; 2],
) -> (Halves, Vec<Halves>) {
    let kls: Vec<f64> = prompts.iter().map(|prompt| prompt.sequence_kl).collect();
    let scores: Vec<f64> = prompts.iter().map(|prompt| prompt.score).collect();
    let (kl, score) = (observed.0 - mean(&kls), observed.1 - mean(&scores));
    let at = |weights: &[f64]| {
        let ([kl_a, kl_b], [a, b]) = (in_halves(weights, &kls, shares), in_halves(weights, &scores, shares));
        [(kl + kl_a, score + a), (kl + kl_b, score + b)]
    };
    let even = vec![(prompts.len() as f64).recip(); prompts.len()];
    (at(&even), weights.iter().map(|weights| at(weights)).collect())
}

/// The variance of the mean score's error in each half, averaged over the checkpoints of a seed of
/// a method: with `x_ip` the score of checkpoint i on prompt p, the variance over the half's
/// prompts of `x_ip - mean_i x_ip`, divided by their number. What all checkpoints share on a prompt
/// decides no choice between them.
fn noise(runs: &[Run]) -> BTreeMap<(Method, u64), [f64; 2]> {
    let mut seeds: BTreeMap<(Method, u64), Vec<&[PromptScore]>> = BTreeMap::new();
    for run in runs {
        for eval in run.evals.iter().filter(|eval| on_frontier(eval)) {
            let scores = run.prompts.get(&eval.step).into_iter().map(Vec::as_slice);
            seeds.entry((eval.method, eval.seed)).or_default().extend(scores);
        }
    }
    let of_seed = |checkpoints: &Vec<&[PromptScore]>| {
        let prompts = checkpoints.first().map_or(0, |scores| scores.len());
        let common = |prompt: usize| {
            checkpoints.iter().map(|scores| scores[prompt].score).sum::<f64>() / checkpoints.len() as f64
        };
        let common: Vec<f64> = (0..prompts).map(common).collect();
        [0, 1].map(|of| {
            let error = |scores: &&[PromptScore]| {
                let own = scores.iter().zip(&common).map(|(prompt, common)| prompt.score - common);
                standard_error(&own.skip(of).step_by(2).collect::<Vec<f64>>()).powi(2)
            };
            checkpoints.iter().map(error).sum::<f64>() / checkpoints.len().max(1) as f64
        })
    };
    seeds.iter().map(|(seed, checkpoints)| (*seed, of_seed(checkpoints))).collect()
}

fn moved(observed: (f64, f64), errors: (f64, f64), normals: &[(f64, f64)]) -> Vec<Halves> {
    normals.iter().map(|z| [(observed.0 + errors.0 * z.0, observed.1 + errors.1 * z.1); 2]).collect()
}

fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.0 }
}
