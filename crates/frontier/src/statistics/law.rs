//! The share of the optimum's gain that a policy's accuracy on pairs foretells.
//!
//! A policy that tilts the reference by a noisy reward, whose correlation with r* among a prompt's responses
//! is rho, earns about the share rho of the optimum's gain, whatever the KL. For two responses whose rewards
//! are jointly normal with that correlation, both rewards order them alike with probability (Sheppard 1899)
//!
//! ```text
//! a = 1/2 + asin(rho) / pi,   so   rho = sin(pi (a - 1/2))
//! ```
//!
//! The implicit reward of a policy, ln(policy / reference), is such a noisy reward: its accuracy on pairs of
//! the reference's own responses foretells the share. It cannot foretell what a policy loses or gains on
//! responses that the reference hardly ever gives.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::records::on_frontier;
use crate::statistics::analysis::Analysis;
use crate::statistics::intervals::{mean, standard_error, variance};
use crate::statistics::resampling::World;
use crate::{EvalRow, Method};

/// A final KL below this, in nats, tells nothing: the optimum itself gains hardly anything there.
const LEAST_KL: f64 = 0.05;

/// The share that a pair accuracy foretells: sin(pi (a - 1/2)).
pub fn predicted_share(pair_accuracy: f64) -> f64 {
    (PI * (pair_accuracy - 0.5)).sin()
}

/// The last checkpoint of a run: what was foretold, and what came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LawPoint {
    /// The run.
    pub run: String,
    /// Its method.
    pub method: Method,
    /// Its seed.
    pub seed: u64,
    /// Its sequence KL, in nats.
    pub sequence_kl: f64,
    /// Its accuracy on held-out pairs of the reference's responses.
    pub pair_accuracy: f64,
    /// The share that the accuracy foretells.
    pub predicted: f64,
    /// (score - reference) / (optimum at the checkpoint's KL - reference).
    pub measured: f64,
    /// Standard error of `measured` over prompts: of the score, the KL, the reference and the optimum
    /// together.
    pub measured_se: f64,
}

/// The runs of one method together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LawOfMethod {
    /// The method.
    pub method: Method,
    /// Its runs.
    pub runs: usize,
    /// Means over runs.
    pub pair_accuracy: f64,
    /// See [`LawPoint::predicted`].
    pub predicted: f64,
    /// See [`LawPoint::measured`].
    pub measured: f64,
    /// Standard error of the mean of measured - predicted: over runs, or over prompts where there is one run.
    pub difference_se: f64,
}

/// The last checkpoint of every run on a frontier whose pair accuracy was measured and whose KL, of 0.05 nats
/// or more, lies within the optimum's curve.
pub fn law(analysis: &Analysis<'_>) -> Vec<LawPoint> {
    let runs = analysis.runs.iter().enumerate();
    let ends =
        runs.filter_map(|(index, run)| Some((index, run.evals.len().checked_sub(1)?, run.evals.last()?)));
    let told =
        |eval: &EvalRow| on_frontier(eval) && eval.pair_accuracy.is_finite() && eval.sequence_kl >= LEAST_KL;
    ends.filter(|(.., eval)| told(eval))
        .filter_map(|(run, last, eval)| point(analysis, run, last, eval))
        .collect()
}

fn point(analysis: &Analysis<'_>, run: usize, last: usize, eval: &EvalRow) -> Option<LawPoint> {
    let resampled = &analysis.resampled;
    let end = resampled.points.iter().find(|point| (point.run, point.eval) == (run, last))?;
    let share = |world: World| {
        let ((kl, score), start) = (resampled.at(end, world), resampled.start(world));
        let possible = analysis.optimum_reward(world, kl)? - start;
        (possible > 1e-9).then(|| (score - start) / possible)
    };
    let measured = share(World::Observed)?;
    // A replicate whose KL leaves the optimum's curve has no share.
    let replicates: Vec<f64> =
        (0..resampled.weights.len()).filter_map(|b| share(World::Replicate(b))).collect();
    Some(LawPoint {
        run: analysis.runs[run].name.clone(),
        method: eval.method,
        seed: eval.seed,
        sequence_kl: eval.sequence_kl,
        pair_accuracy: eval.pair_accuracy,
        predicted: predicted_share(eval.pair_accuracy),
        measured,
        measured_se: variance(&replicates).sqrt(),
    })
}

/// The means of each method, in the order of methods.
pub fn law_by_method(points: &[LawPoint]) -> Vec<LawOfMethod> {
    let methods = Method::trained(points.iter().map(|point| point.method));
    let of_method = |method: Method| {
        let own: Vec<&LawPoint> = points.iter().filter(|point| point.method == method).collect();
        let column = |of: fn(&LawPoint) -> f64| own.iter().map(|point| of(point)).collect::<Vec<f64>>();
        let over_runs = standard_error(&column(|point| point.measured - point.predicted));
        LawOfMethod {
            method,
            runs: own.len(),
            pair_accuracy: mean(&column(|point| point.pair_accuracy)),
            predicted: mean(&column(|point| point.predicted)),
            measured: mean(&column(|point| point.measured)),
            difference_se: if own.len() > 1 { over_runs } else { own[0].measured_se },
        }
    };
    methods.into_iter().map(of_method).collect()
}
