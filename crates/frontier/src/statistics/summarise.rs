//! From an analysis to its summary.

use std::collections::BTreeSet;

use crate::statistics::analysis::{Analysis, Values, curve_kls};
use crate::statistics::checks::check;
use crate::statistics::costs::{MethodCosts, Threshold, costs_for};
use crate::statistics::intervals::Estimate;
use crate::statistics::law::law;
use crate::statistics::resampling::Axis;
use crate::statistics::shares::gain_shares;
use crate::statistics::summary::{
    AREA_LIMITS, Area, COMPARED, CeilingAt, Comparison, Curves, KL_GRID, KlFor, MethodAt, MethodSummary,
    REWARD_GRID, RewardAt, Summary,
};
use crate::statistics::why::why;
use crate::{Method, Run, on_frontier};

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
    let largest_kl = analysis.largest_kl(method)?;
    let at = |(index, &kl): (usize, &f64)| MethodAt {
        kl,
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
        largest_kl,
        areas: areas(analysis, method)?,
        rewards: curve.iter().filter(|at| in_grid(at.kl)).copied().collect(),
        kls: kls_for(analysis, method, &curve),
        costs: costs_for(analysis, method, cost, &REWARD_GRID),
    };
    let curve = curve.into_iter().filter(|at| at.kl <= largest_kl).collect();
    Some(OfMethod { summary, curve, envelopes })
}

fn areas(analysis: &Analysis<'_>, method: Method) -> Option<Vec<Area>> {
    let values = analysis.of_envelopes(method, &Axis::Kl, |_, _, envelope| {
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
        let value = exact.as_ref().and_then(|envelope| envelope.reach(reward));
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
    let covered_to = a.summary.largest_kl.min(b.summary.largest_kl);
    let at = |(index, kl): (usize, f64)| {
        let distribution = analysis.difference(&a.envelopes, &b.envelopes, index)?;
        Some(Comparison {
            first,
            second,
            kl,
            difference: distribution.estimate(),
            probability_ahead: distribution.probability_above(0.0),
            covered: kl <= covered_to,
            ends_near: analysis.ends_near(first, kl) && analysis.ends_near(second, kl),
        })
    };
    curve_kls().into_iter().enumerate().filter_map(at).collect()
}
