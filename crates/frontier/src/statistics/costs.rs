//! What it costs to reach a reward: tokens, seconds and floating-point operations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Method;
use crate::statistics::analysis::Analysis;
use crate::statistics::intervals::Estimate;
use crate::statistics::resampling::{Axis, Point};

/// Costs at which the rewards of a method are evaluated.
const GRID: usize = 96;

/// What a method spends beside the steps of its own runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MethodCost {
    /// Tokens spent before a run starts, such as on a reward model.
    pub upfront_tokens: f64,
    /// Seconds spent before a run starts.
    pub upfront_seconds: f64,
    /// Floating-point operations before a run starts.
    pub upfront_flops: f64,
    /// Floating-point operations for each token of a run, where known.
    pub flops_per_token: Option<f64>,
}

/// The costs of methods; a method that is missing has none beside its runs.
pub type MethodCosts = BTreeMap<Method, MethodCost>;

/// The least x at which something is reached, with its 95% interval; `None` where nothing that was measured
/// reaches it.
///
/// The interval holds the x at which the reward's own interval covers the reward asked for: from where its
/// upper end arrives to where its lower end does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// Where the estimate arrives.
    pub value: Option<f64>,
    /// Where the upper end of its interval arrives.
    pub low: Option<f64>,
    /// Where the lower end of its interval arrives.
    pub high: Option<f64>,
}

impl Threshold {
    /// The threshold of a curve of estimates at increasing x.
    pub(crate) fn of(xs: &[f64], curve: &[Estimate], reward: f64) -> Self {
        let first = |of: &dyn Fn(&Estimate) -> f64| {
            xs.iter().zip(curve).find(|(_, estimate)| of(estimate) >= reward).map(|(x, _)| *x)
        };
        Self { value: first(&|e| e.value), low: first(&|e| e.interval.1), high: first(&|e| e.interval.0) }
    }

    /// The same with an exact value, which the ends of the interval then enclose.
    pub(crate) fn at(self, value: Option<f64>) -> Self {
        let low = self.low.zip(value).map_or(self.low, |(low, value)| Some(low.min(value)));
        let high = self.high.zip(value).map_or(self.high, |(high, value)| Some(high.max(value)));
        Self { value, low, high }
    }
}

/// What one reward costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CostFor {
    /// The reward.
    pub reward: f64,
    /// Tokens of the cheapest run that reaches it, what comes before the run included.
    pub tokens: Threshold,
    /// Seconds of the same; `None` without recorded seconds.
    pub seconds: Option<Threshold>,
    /// Floating-point operations of the same; `None` if those of a token are not known.
    pub flops: Option<Threshold>,
}

/// What each of `rewards` costs a method, by the mean over seeds of the best reward within a cost.
pub(crate) fn costs_for(
    analysis: &Analysis<'_>,
    method: Method,
    cost: MethodCost,
    rewards: &[f64],
) -> Vec<CostFor> {
    let eval = |point: &Point| &analysis.runs[point.run].evals[point.eval];
    let tokens =
        rewards_within(analysis, method, |point| Some(cost.upfront_tokens + eval(point).tokens as f64));
    let seconds = rewards_within(analysis, method, |point| {
        Some(cost.upfront_seconds + analysis.runs[point.run].seconds(eval(point).step)?)
    });
    let Some(tokens) = tokens else { return Vec::new() };
    let flops = cost.flops_per_token.and_then(|per_token| {
        rewards_within(analysis, method, |point| {
            Some(cost.upfront_flops + per_token * eval(point).tokens as f64)
        })
    });
    let of_reward = |&reward: &f64| {
        let first = |(xs, curve): &(Vec<f64>, Vec<Estimate>)| Threshold::of(xs, curve, reward);
        CostFor {
            reward,
            tokens: first(&tokens),
            seconds: seconds.as_ref().map(first),
            flops: flops.as_ref().map(first),
        }
    };
    rewards.iter().map(of_reward).collect()
}

/// Costs in increasing order, and the best reward within each; `None` if a point has no cost.
fn rewards_within(
    analysis: &Analysis<'_>,
    method: Method,
    cost: impl Fn(&Point) -> Option<f64>,
) -> Option<(Vec<f64>, Vec<Estimate>)> {
    let points = analysis.resampled.points.iter().filter(|point| point.method == method);
    let mut costs = points.map(&cost).collect::<Option<Vec<f64>>>()?;
    costs.sort_by(f64::total_cmp);
    costs.dedup();
    let grid: Vec<f64> = if costs.len() <= GRID {
        costs
    } else {
        (0..GRID).map(|i| costs[i * (costs.len() - 1) / (GRID - 1)]).collect()
    };
    let along = |point: &Point| cost(point).unwrap_or(f64::NAN);
    let values = analysis.of_envelopes(method, &Axis::Cost(&along), |_, _, envelope| {
        grid.iter().map(|cost| envelope.at(*cost)).collect()
    })?;
    let curve = (0..grid.len()).map(|i| analysis.distribution(&values, i).estimate()).collect();
    Some((grid, curve))
}
