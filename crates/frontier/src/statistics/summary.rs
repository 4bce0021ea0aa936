//! Everything that a report says about the points, as data.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::statistics::analysis::{Analysis, Values, along_kl, curve_kls};
use crate::statistics::best_of_n::BestOfNPoint;
use crate::statistics::checks::{Checks, check};
use crate::statistics::costs::{CostFor, MethodCosts, Threshold, costs_for};
use crate::statistics::intervals::Estimate;
use crate::statistics::law::{LawPoint, law};
use crate::statistics::resampling::World;
use crate::statistics::why::{Why, why};
use crate::{Envelope, Method, Reference, Run, on_frontier};

/// Limits of the areas under envelopes, in nats.
pub const AREA_LIMITS: [f64; 4] = [1.0, 2.0, 5.0, 10.0];
/// KLs at which rewards are read off and methods are compared, in nats.
pub const KL_GRID: [f64; 6] = [0.25, 0.5, 1.0, 2.0, 5.0, 10.0];
/// Rewards whose KL and cost are read off.
pub const REWARD_GRID: [f64; 6] = [0.6, 0.7, 0.8, 0.9, 0.95, 0.99];
/// The pairs of known methods that are compared; every other method is compared with DPO.
pub const COMPARED: [(Method, Method); 13] = [
    (Method::DPO, Method::PPO),
    (Method::DPO, Method::PPO_GT),
    (Method::PPO_GT, Method::PPO),
    (Method::DPO, Method::PREFERRED_FT),
    (Method::DPO, Method::UNLIKELIHOOD),
    (Method::ONLINE_DPO, Method::DPO),
    (Method::ONLINE_DPO, Method::PPO),
    (Method::ONLINE_DPO_GT, Method::ONLINE_DPO),
    (Method::RLOO, Method::ONLINE_DPO),
    (Method::RLOO_GT, Method::ONLINE_DPO_GT),
    (Method::RLOO_GT, Method::RLOO),
    (Method::PPO, Method::RLOO),
    (Method::PPO_GT, Method::RLOO_GT),
];

/// All statistics of a frontier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The reference's mean reward.
    pub reference: Reference,
    /// Points on the frontiers of trained methods.
    pub points: usize,
    /// Those of them whose prompts are recorded. The intervals of the others come from standard errors and
    /// miss the pairing over prompts.
    pub points_with_prompts: usize,
    /// The methods with at least one usable point, in the order of [`Method`].
    pub methods: Vec<MethodSummary>,
    /// Paired comparisons at [`KL_GRID`].
    pub comparisons: Vec<Comparison>,
    /// The reweighted optimum at [`KL_GRID`], as far as its curve goes.
    pub optimum: Vec<RewardAt>,
    /// The most that a policy earns that knows the order of a prompt's responses and no more, at [`KL_GRID`].
    pub hard_labels: Vec<CeilingAt>,
    /// Best-of-n.
    pub best_of_n: Vec<BestOfNPoint>,
    /// Why methods differ.
    pub why: Why,
    /// Predicted and measured shares of the runs' last checkpoints.
    pub law: Vec<LawPoint>,
    /// The names of runs that failed or have not been done yet.
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
    /// The smallest KL, in nats, at or below which every seed has a usable point; before it the envelope is the
    /// reference's reward.
    pub smallest_kl: f64,
    /// The largest KL of a usable point, in nats; beyond it the envelope is flat.
    pub largest_kl: f64,
    /// Mean reward under the envelope from 0 to each of [`AREA_LIMITS`].
    pub areas: Vec<Area>,
    /// Reward at [`KL_GRID`].
    pub rewards: Vec<MethodAt>,
    /// KL for [`REWARD_GRID`].
    pub kls: Vec<KlFor>,
    /// Cost of [`REWARD_GRID`].
    pub costs: Vec<CostFor>,
}

impl MethodSummary {
    /// The mark of a KL that lies beyond every checkpoint of the method, or near which none of its runs ends.
    pub(crate) fn dagger(&self, at: &MethodAt) -> &'static str {
        match () {
            () if at.kl > self.largest_kl && !at.ends_near => "†",
            () if !at.ends_near => "‡",
            () => "",
        }
    }
}

/// The mean reward under the envelope over \[0, limit\].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Area {
    /// The limit, in nats.
    pub limit: f64,
    /// The mean reward.
    pub reward: Estimate,
}

/// A reward at one KL.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RewardAt {
    /// The KL, in nats.
    pub kl: f64,
    /// The reward.
    pub reward: Estimate,
}

/// A ceiling at one KL.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CeilingAt {
    /// The KL, in nats.
    pub kl: f64,
    /// The reward.
    pub reward: Estimate,
    /// Its share of the reweighted optimum's gain.
    pub gain_share: Estimate,
}

/// A method's reward at one KL.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodAt {
    /// The KL, in nats.
    pub kl: f64,
    /// Whether every seed has a checkpoint at or below this KL. If not, the numbers are the reference's, and say nothing
    /// of the method.
    pub supported: bool,
    /// Whether runs of the method [end near](Analysis::ends_near) this KL.
    pub ends_near: bool,
    /// Under the upper envelope.
    pub envelope: Estimate,
    /// Under the isotonic fit.
    pub isotonic: Estimate,
    /// (envelope - reference) / (reweighted optimum - reference): the share of the possible gain that is
    /// earned; `None` beyond the optimum's curve, and where the method is not supported.
    pub gain_share: Option<Estimate>,
}

/// The KL for one reward.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KlFor {
    /// The reward.
    pub reward: f64,
    /// The smallest KL, in nats, at which the mean envelope over seeds reaches it. The ends of its interval are
    /// among [`curve_kls`].
    pub kl: Threshold,
}

/// The difference in reward, `first` - `second`, between two methods' envelopes at one KL, over the seeds that
/// both have.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The method whose reward counts as positive.
    pub first: Method,
    /// The method that it is compared with.
    pub second: Method,
    /// The KL, in nats.
    pub kl: f64,
    /// The difference, paired by seed and by prompt.
    pub difference: Estimate,
    /// The share of draws in which `first` is ahead; a tie counts half.
    pub probability_ahead: f64,
    /// Whether this KL is between the smallest and the largest KL of both methods: elsewhere at least one envelope is
    /// flat for want of checkpoints.
    pub covered: bool,
    /// Whether every seed of both has a checkpoint at or below this KL.
    pub reached: bool,
    /// Whether runs of both methods [end near](Analysis::ends_near) this KL: only there is anything claimed.
    pub ends_near: bool,
}

impl Comparison {
    /// Whether runs of both methods end near this KL and both have checkpoints at or below it: what sentences and claims go by.
    pub fn is_comparable(&self) -> bool {
        self.ends_near && self.reached
    }
}

/// Curves along [`curve_kls`], for figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curves {
    /// Each method's rewards from its smallest to its largest KL.
    pub methods: Vec<(Method, Vec<MethodAt>)>,
    /// Each method's envelope as observed: the mean over seeds of the cross-fitted ones.
    pub envelopes: Vec<(Method, Envelope)>,
    /// The reweighted optimum as far as it goes.
    pub optimum: Vec<RewardAt>,
    /// Each comparison that the points allow, where both methods have them.
    pub comparisons: Vec<Comparison>,
}

struct OfMethod {
    summary: MethodSummary,
    curve: Vec<MethodAt>,
    envelopes: Values,
}

/// Computes all statistics; `failed_runs` are the names of runs that are missing from the analysis.
pub fn summarise(analysis: &Analysis<'_>, costs: &MethodCosts, failed_runs: &[String]) -> (Summary, Curves) {
    let trained = Run::methods(analysis.runs);
    let methods: Vec<OfMethod> =
        trained.iter().filter_map(|method| of_method(analysis, *method, costs)).collect();
    let new = trained.iter().filter(|method| !method.is_known()).map(|method| (*method, Method::DPO));
    let comparisons: Vec<Comparison> =
        COMPARED.into_iter().chain(new).flat_map(|pair| compare(analysis, &methods, pair)).collect();
    let optimum: Vec<RewardAt> = curve_kls()
        .into_iter()
        .filter_map(|kl| Some(RewardAt { kl, reward: analysis.optimum_at(kl)? }))
        .collect();
    let rows = Run::rows(analysis.runs);
    let summary = Summary {
        reference: analysis.reference(),
        points: analysis.resampled.points.len(),
        points_with_prompts: analysis.resampled.with_prompts,
        methods: methods.iter().map(|method| method.summary.clone()).collect(),
        comparisons: comparisons.iter().filter(|c| in_grid(c.kl)).copied().collect(),
        optimum: optimum.iter().filter(|point| in_grid(point.kl)).copied().collect(),
        hard_labels: KL_GRID
            .into_iter()
            .filter_map(|kl| {
                let (reward, gain_share) = analysis.hard_label_ceiling(kl)?;
                Some(CeilingAt { kl, reward, gain_share })
            })
            .collect(),
        best_of_n: analysis.best_of_n().to_vec(),
        why: why(analysis),
        law: law(analysis),
        failed_runs: failed_runs.to_vec(),
        checks: check(&rows, analysis.reference()),
    };
    let envelope = |one: &OfMethod| Some((one.summary.method, analysis.mean_envelope(one.summary.method)?));
    let curves = Curves {
        envelopes: methods.iter().filter_map(envelope).collect(),
        methods: methods.into_iter().map(|method| (method.summary.method, method.curve)).collect(),
        optimum,
        comparisons: comparisons.into_iter().filter(|comparison| comparison.covered).collect(),
    };
    (summary, curves)
}

fn in_grid(kl: f64) -> bool {
    KL_GRID.iter().any(|grid| grid.total_cmp(&kl).is_eq())
}

fn of_method(analysis: &Analysis<'_>, method: Method, costs: &MethodCosts) -> Option<OfMethod> {
    let kls = curve_kls();
    let (envelopes, fits) = analysis.curves(method)?;
    let shares = gain_shares(analysis, method, &kls)?;
    let (smallest_kl, largest_kl) = analysis.span(method)?;
    let at = |(index, &kl): (usize, &f64)| MethodAt {
        kl,
        supported: kl >= smallest_kl,
        ends_near: analysis.ends_near(method, kl),
        envelope: analysis.distribution(&envelopes, index).estimate(),
        isotonic: analysis.distribution(&fits, index).estimate(),
        gain_share: shares
            .0
            .iter()
            .position(|covered| covered.total_cmp(&kl).is_eq())
            .map(|index| analysis.distribution(&shares.1, index).estimate()),
    };
    let curve: Vec<MethodAt> = kls.iter().enumerate().map(at).collect();
    let evals = || {
        let of_run = |run: &'_ Run| run.evals.iter().any(|e| e.method == method && on_frontier(e));
        analysis.runs.iter().filter(move |run| of_run(run))
    };
    let cost = costs.get(&method).copied().unwrap_or_default();
    let summary = MethodSummary {
        method,
        points: analysis.resampled.points.iter().filter(|point| point.method == method).count(),
        runs: evals().map(|run| run.name.as_str()).collect::<BTreeSet<_>>().len(),
        seeds: envelopes.seeds.clone(),
        smallest_kl,
        largest_kl,
        areas: areas(analysis, method)?,
        rewards: curve.iter().filter(|at| in_grid(at.kl)).copied().collect(),
        kls: kls_for(analysis, method, &curve),
        costs: costs_for(analysis, method, cost, &REWARD_GRID),
    };
    let curve = curve.into_iter().filter(|at| at.supported && at.kl <= largest_kl).collect();
    Some(OfMethod { summary, curve, envelopes })
}

/// Shares of the optimum's gain, at those of `kls` where there is one and every seed has a point at or below.
pub(crate) fn gain_shares(
    analysis: &Analysis<'_>,
    method: Method,
    kls: &[f64],
) -> Option<(Vec<f64>, Values)> {
    let start = analysis.resampled.start(World::Observed);
    let (smallest_kl, _) = analysis.span(method)?;
    let gains =
        |kl: &f64| analysis.optimum_reward(World::Observed, *kl).is_some_and(|reward| reward - start > 1e-9);
    let kls: Vec<f64> = kls.iter().copied().filter(|kl| *kl >= smallest_kl && gains(kl)).collect();
    let values = analysis.of_envelopes(method, along_kl, |world, start, envelope| {
        let share = |kl: &f64| {
            let possible = analysis.optimum_reward(world, *kl).unwrap_or(start) - start;
            (envelope.at(*kl) - start) / possible.max(1e-9)
        };
        kls.iter().map(share).collect()
    })?;
    Some((kls, values))
}

fn areas(analysis: &Analysis<'_>, method: Method) -> Option<Vec<Area>> {
    let values = analysis.of_envelopes(method, along_kl, |_, _, envelope| {
        AREA_LIMITS.iter().map(|limit| envelope.mean_to(*limit)).collect()
    })?;
    let area = |(index, &limit)| Area { limit, reward: analysis.distribution(&values, index).estimate() };
    Some(AREA_LIMITS.iter().enumerate().map(area).collect())
}

fn kls_for(analysis: &Analysis<'_>, method: Method, curve: &[MethodAt]) -> Vec<KlFor> {
    let exact = analysis.mean_envelope(method);
    let kls = curve_kls();
    let estimates: Vec<Estimate> = curve.iter().map(|at| at.envelope).collect();
    let of_reward = |reward: f64| {
        let value = exact.as_ref().and_then(|envelope| envelope.kl_for(reward));
        KlFor { reward, kl: Threshold::of(&kls, &estimates, reward).at(value) }
    };
    REWARD_GRID.into_iter().map(of_reward).collect()
}

fn compare(
    analysis: &Analysis<'_>,
    methods: &[OfMethod],
    (first, second): (Method, Method),
) -> Vec<Comparison> {
    let find = |method| methods.iter().find(|one| one.summary.method == method);
    let (Some(a), Some(b)) = (find(first), find(second)) else { return Vec::new() };
    let from = a.summary.smallest_kl.max(b.summary.smallest_kl);
    let to = a.summary.largest_kl.min(b.summary.largest_kl);
    let at = |(index, kl): (usize, f64)| {
        let distribution = analysis.difference(&a.envelopes, &b.envelopes, index)?;
        Some(Comparison {
            first,
            second,
            kl,
            difference: distribution.estimate(),
            probability_ahead: distribution.probability_above(0.0),
            covered: from <= kl && kl <= to,
            reached: from <= kl,
            ends_near: analysis.ends_near(first, kl) && analysis.ends_near(second, kl),
        })
    };
    curve_kls().into_iter().enumerate().filter_map(at).collect()
}
