//! Everything that a report says about the points, as data.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::best_of_n::BestOfNPoint;
use crate::checks::{Checks, check};
use crate::comparison::{Bootstrap, Comparison, compare};
use crate::intervals::Estimate;
use crate::isotonic::Isotonic;
use crate::optimum::{OptimumPoint, optimum_reward};
use crate::{Envelope, EvalRow, FrontierRow, Method, Reference, envelopes_by_seed, usable};

/// Limits of the areas under envelopes, in nats.
pub const AREA_LIMITS: [f64; 4] = [1.0, 2.0, 5.0, 10.0];
/// KLs at which rewards are read off, in nats.
pub const KL_GRID: [f64; 7] = [0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0];
/// Rewards whose KL is read off.
pub const REWARD_GRID: [f64; 5] = [0.6, 0.7, 0.8, 0.9, 0.95];
/// KLs at which methods are compared, in nats.
pub const COMPARISON_KLS: [f64; 4] = [0.5, 1.0, 2.0, 5.0];
/// The pairs of methods that are compared.
pub const COMPARED: [(Method, Method); 3] =
    [(Method::Dpo, Method::Ppo), (Method::Dpo, Method::PpoGt), (Method::PpoGt, Method::Ppo)];

/// What a summary needs beside the points.
#[derive(Clone, Copy, Debug)]
pub struct SummaryInputs<'a> {
    /// The reference's mean reward, where every envelope starts.
    pub reference: Reference,
    /// The reweighted optimum's curve; may be empty.
    pub optimum: &'a [OptimumPoint],
    /// Best-of-n; may be empty.
    pub best_of_n: &'a [BestOfNPoint],
    /// The names of runs that failed: the gap in the frontier.
    pub failed_runs: &'a [String],
    /// How to resample.
    pub bootstrap: Bootstrap,
}

/// All statistics of a frontier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The reference's mean reward.
    pub reference: Reference,
    /// The methods with at least one usable point, in the order of [`Method::TRAINED`].
    pub methods: Vec<MethodSummary>,
    /// Paired comparisons.
    pub comparisons: Vec<Comparison>,
    /// (KL, reward of the reweighted optimum) at [`KL_GRID`], as far as its curve goes.
    pub optimum: Vec<(f64, f64)>,
    /// Best-of-n.
    pub best_of_n: Vec<BestOfNPoint>,
    /// The names of runs that failed.
    pub failed_runs: Vec<String>,
    /// The checks.
    pub checks: Checks,
}

/// The statistics of one method.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodSummary {
    /// The method.
    pub method: Method,
    /// Usable points.
    pub points: usize,
    /// Runs with a usable point.
    pub runs: usize,
    /// Seeds with a usable point.
    pub seeds: Vec<u64>,
    /// The largest KL of a usable point, in nats; beyond it the envelope is flat.
    pub largest_kl: f64,
    /// Mean reward under the envelope.
    pub areas: Vec<Area>,
    /// Reward at given KL.
    pub rewards: Vec<RewardAt>,
    /// KL for given reward.
    pub kls: Vec<KlFor>,
}

/// The mean reward under the envelope over \[0, limit\].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Area {
    /// The limit, in nats.
    pub limit: f64,
    /// The mean reward, over seeds.
    pub reward: Estimate,
}

/// The reward at one KL.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RewardAt {
    /// The KL, in nats.
    pub kl: f64,
    /// The envelope's reward, over seeds.
    pub envelope: Estimate,
    /// The reward of the isotonic fit to all points of the method.
    pub isotonic: Option<f64>,
    /// (envelope - reference) / (reweighted optimum - reference): the share of the possible gain that is
    /// earned; `None` beyond the optimum's curve.
    pub gain_share: Option<f64>,
}

/// The KL for one reward.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KlFor {
    /// The reward.
    pub reward: f64,
    /// The smallest KL, in nats, at which the mean envelope over seeds reaches it; `None` if it never does.
    pub kl: Option<f64>,
}

/// Computes all statistics of `rows`.
pub fn summary(rows: &[FrontierRow], inputs: &SummaryInputs<'_>) -> Summary {
    let evals: Vec<EvalRow> = rows.iter().map(|row| row.eval.clone()).collect();
    let start = inputs.reference.mean;
    let comparisons = COMPARED
        .into_iter()
        .flat_map(|pair| compare(&evals, pair, start, &COMPARISON_KLS, inputs.bootstrap))
        .collect();
    let optimum = KL_GRID.into_iter().filter_map(|kl| Some((kl, optimum_reward(inputs.optimum, kl)?)));
    Summary {
        reference: inputs.reference,
        methods: Method::TRAINED.into_iter().filter_map(|method| of_method(rows, method, inputs)).collect(),
        comparisons,
        optimum: optimum.collect(),
        best_of_n: inputs.best_of_n.to_vec(),
        failed_runs: inputs.failed_runs.to_vec(),
        checks: check(rows, inputs.reference),
    }
}

fn of_method(rows: &[FrontierRow], method: Method, inputs: &SummaryInputs<'_>) -> Option<MethodSummary> {
    let start = inputs.reference.mean;
    let rows: Vec<&FrontierRow> =
        rows.iter().filter(|row| row.eval.method == method && usable(&row.eval)).collect();
    let by_seed = envelopes_by_seed(rows.iter().map(|row| &row.eval), method, start);
    let envelopes: Vec<Envelope> = by_seed.values().cloned().collect();
    let mean_envelope = Envelope::mean(&envelopes)?;
    let over_seeds =
        |value: &dyn Fn(&Envelope) -> f64| Estimate::of(&envelopes.iter().map(value).collect::<Vec<_>>());
    // The reference counts as a point: a curve that starts elsewhere would not be one of this method.
    let trend = Isotonic::fit(
        rows.iter().map(|row| (row.eval.sequence_kl, row.eval.score, 1.0)).chain([(0.0, start, 1.0)]),
    );
    let reward_at = |kl: f64| {
        let envelope = over_seeds(&|envelope: &Envelope| envelope.at(kl))?;
        let possible = optimum_reward(inputs.optimum, kl).map(|reward| reward - start);
        let gain_share = possible.filter(|gain| *gain > 1e-9).map(|gain| (envelope.mean - start) / gain);
        Some(RewardAt { kl, envelope, isotonic: trend.at(kl), gain_share })
    };
    let area = |limit: f64| {
        Some(Area { limit, reward: over_seeds(&|envelope: &Envelope| envelope.mean_to(limit))? })
    };
    Some(MethodSummary {
        method,
        points: rows.len(),
        runs: rows.iter().map(|row| row.run.as_str()).collect::<BTreeSet<_>>().len(),
        seeds: by_seed.keys().copied().collect(),
        largest_kl: rows.iter().map(|row| row.eval.sequence_kl).fold(0.0, f64::max),
        areas: AREA_LIMITS.into_iter().filter_map(area).collect(),
        rewards: KL_GRID.into_iter().filter_map(reward_at).collect(),
        kls: REWARD_GRID
            .into_iter()
            .map(|reward| KlFor { reward, kl: mean_envelope.kl_for(reward) })
            .collect(),
    })
}
