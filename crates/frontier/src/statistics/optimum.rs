//! The reweighted optimum: the best that any policy can do, estimated from reference samples.

use serde::{Deserialize, Serialize};

use crate::PromptSamples;
use crate::statistics::intervals::{mean, standard_error};

/// One point of the optimal frontier.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptimumPoint {
    /// The inverse temperature: 1 / beta, per unit of reward.
    pub lambda: f64,
    /// Mean reward.
    pub reward: f64,
    /// Standard error of `reward` over prompts.
    pub reward_se: f64,
    /// Sequence KL from the reference, in nats.
    pub sequence_kl: f64,
    /// Standard error of `sequence_kl` over prompts.
    pub sequence_kl_se: f64,
    /// Mean over prompts of the effective sample size, 1 / sum w².
    pub effective_samples: f64,
}

/// The optimum at one `lambda`.
///
/// Maximising E\[r\] - KL / lambda gives the policy (Peters and Schaal 2007; Rafailov et al. 2023, eq. 4)
///
/// ```text
/// pi*(y|x) ∝ pi_ref(y|x) exp(lambda r(x, y))
/// ```
///
/// and one lambda for all prompts gives the largest mean reward for its mean KL. With m reference samples of
/// a prompt,
///
/// ```text
/// w_i ∝ exp(lambda r_i)
/// R_x  = sum_i w_i r_i
/// KL_x = lambda R_x - ln( (1/m) sum_i exp(lambda r_i) )
/// ```
///
/// Both are ratios, whose bias of order 1/m no number of prompts removes. The jackknife does (Quenouille
/// 1956): with `T_(-i)` the estimate without sample i,
///
/// ```text
/// T_jack = m T - (m - 1) (1/m) sum_i T_(-i)
/// ```
///
/// The means over prompts of the corrected values are returned. Where few samples carry the weight (see
/// `effective_samples`) neither estimate is of use: the uncorrected KL cannot exceed ln m at all.
pub fn optimum_at(samples: &PromptSamples, lambda: f64) -> OptimumPoint {
    let (mut rewards, mut kls, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    for scores in samples.prompts() {
        let tilted = jackknife(scores, scores, lambda);
        rewards.push(tilted.reward);
        kls.push(tilted.kl);
        sizes.push(tilted.effective);
    }
    point(lambda, &rewards, &kls, mean(&sizes))
}

/// What hard labels can tell of each score of a prompt: the probability that it wins against another sample,
///
/// ```text
/// u_i = (number of scores below r_i + half of the number equal to it) / m
/// ```
///
/// Hard labels of pairs, however many, say which of two responses is better and never by how much. So all
/// that can be learned from them about a prompt is this order.
pub fn win_probabilities(scores: &[f64]) -> Vec<f64> {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    let of = |score: &f64| {
        let below = sorted.partition_point(|other| other < score);
        let up_to = sorted.partition_point(|other| other <= score);
        (below + up_to) as f64 / 2.0 / sorted.len() as f64
    };
    scores.iter().map(of).collect()
}

/// The frontier of a policy that knows of rewards what [hard labels can tell](win_probabilities): the
/// reference tilted by `u` in place of r, as far as [`optimum_curve`] goes, and evaluated by r itself.
///
/// ```text
/// w_i ∝ exp(lambda u_i),   R_x = sum_i w_i r_i,
/// KL_x = lambda sum_i w_i u_i - ln( (1/m) sum_i exp(lambda u_i) )
/// ```
///
/// The logit of u, which is the Bradley-Terry reward against a random response, earns 2 to 3% less of the
/// optimum's gain: it spends its KL on the extremes.
pub fn hard_label_curve(samples: &PromptSamples, min_effective_samples: f64) -> Vec<OptimumPoint> {
    OptimumTable::hard_labels(samples, min_effective_samples).points
}

fn point(lambda: f64, rewards: &[f64], kls: &[f64], effective_samples: f64) -> OptimumPoint {
    OptimumPoint {
        lambda,
        reward: mean(rewards),
        reward_se: standard_error(rewards),
        sequence_kl: mean(kls),
        sequence_kl_se: standard_error(kls),
        effective_samples,
    }
}

/// The reweighted mean of one prompt.
#[derive(Clone, Copy)]
struct Tilted {
    reward: f64,
    kl: f64,
    effective: f64,
}

/// The mean of `scores` under weights proportional to exp(lambda v), v in `values`. Exponentials are taken
/// relative to the largest.
fn tilt(values: &[f64], scores: &[f64], lambda: f64) -> Tilted {
    let largest = values.iter().map(|v| lambda * v).fold(f64::NEG_INFINITY, f64::max);
    let (mut total, mut weighted, mut followed, mut squares) = (0.0, 0.0, 0.0, 0.0);
    for (value, score) in values.iter().zip(scores) {
        let e = (lambda * value - largest).exp();
        total += e;
        weighted += e * score;
        followed += e * value;
        squares += e * e;
    }
    let kl = lambda * (followed / total) - largest - (total / scores.len() as f64).ln();
    Tilted { reward: weighted / total, kl, effective: total * total / squares }
}

/// Values stay what they are when a sample is left out.
fn jackknife(values: &[f64], scores: &[f64], lambda: f64) -> Tilted {
    let whole = tilt(values, scores, lambda);
    let count = scores.len() as f64;
    let largest = values.iter().map(|v| lambda * v).fold(f64::NEG_INFINITY, f64::max);
    let exponentials: Vec<f64> = values.iter().map(|v| (lambda * v - largest).exp()).collect();
    let total: f64 = exponentials.iter().sum();
    let dot = |of: &[f64]| exponentials.iter().zip(of).map(|(e, x)| e * x).sum::<f64>();
    let (weighted, followed) = (dot(scores), dot(values));
    let (mut rewards, mut kls) = (0.0, 0.0);
    for (i, e) in exponentials.iter().enumerate() {
        let rest = total - e;
        // Where one sample carries nearly all weight, the difference would lose its digits.
        let (reward, kl) = if rest > 1e-3 * total {
            let value = (followed - e * values[i]) / rest;
            let kl = lambda * value - largest - (rest / (count - 1.0)).ln();
            ((weighted - e * scores[i]) / rest, kl)
        } else {
            let without = |of: &[f64]| [&of[..i], &of[i + 1..]].concat();
            let others = tilt(&without(values), &without(scores), lambda);
            (others.reward, others.kl)
        };
        rewards += reward;
        kls += kl;
    }
    let corrected = |whole: f64, sum: f64| count * whole - (count - 1.0) * sum / count;
    Tilted {
        reward: corrected(whole.reward, rewards),
        kl: corrected(whole.kl, kls),
        effective: whole.effective,
    }
}

/// The optimal frontier from lambda = 0 upward, by steps of a tenth, as long as the mean effective sample
/// size is at least `min_effective_samples`.
///
/// Lambda grows from 0.05 to 1000 divided by the range of the scores. KL and reward increase along the curve.
pub fn optimum_curve(samples: &PromptSamples, min_effective_samples: f64) -> Vec<OptimumPoint> {
    OptimumTable::new(samples, min_effective_samples).points
}

/// The reward of a curve at `kl` nats, linear between its points; `None` beyond its ends.
///
/// The true curve is concave, so the line lies a little below it.
pub fn optimum_reward(curve: &[OptimumPoint], kl: f64) -> Option<f64> {
    let last = curve.last()?;
    let points: Vec<(f64, f64)> = curve.iter().map(|point| (point.sequence_kl, point.reward)).collect();
    (kl <= last.sequence_kl).then(|| interpolate(&points, kl)).flatten()
}

/// Linear between points of increasing x and beyond the last; `None` before the first.
pub(crate) fn interpolate(points: &[(f64, f64)], x: f64) -> Option<f64> {
    let after = points.partition_point(|point| point.0 <= x);
    let left = after.checked_sub(1)?.min(points.len().saturating_sub(2));
    let (a, b) = (points.get(left)?, points.get(left + 1)?);
    let share = if b.0 > a.0 { (x - a.0) / (b.0 - a.0) } else { 0.0 };
    Some(a.1 + share * (b.1 - a.1))
}

/// The curve with the values of each prompt, for resampling.
pub(crate) struct OptimumTable {
    pub(crate) points: Vec<OptimumPoint>,
    /// `[lambda][prompt]`
    rewards: Vec<Vec<f64>>,
    kls: Vec<Vec<f64>>,
}

impl OptimumTable {
    pub(crate) fn new(samples: &PromptSamples, min_effective_samples: f64) -> Self {
        Self::tilted_by(samples, samples.prompts(), min_effective_samples)
    }

    /// The same for a policy that knows what hard labels can tell.
    pub(crate) fn hard_labels(samples: &PromptSamples, min_effective_samples: f64) -> Self {
        let values: Vec<Vec<f64>> =
            samples.prompts().iter().map(|scores| win_probabilities(scores)).collect();
        Self::tilted_by(samples, &values, min_effective_samples)
    }

    fn tilted_by(samples: &PromptSamples, values: &[Vec<f64>], min_effective_samples: f64) -> Self {
        let all = || values.iter().flatten().copied();
        let range = all().fold(f64::NEG_INFINITY, f64::max) - all().fold(f64::INFINITY, f64::min);
        let scale = if range > 0.0 { range.recip() } else { 1.0 };
        let lambdas =
            std::iter::successors(Some(0.05), |lambda| Some(lambda * 1.1)).take_while(|l| *l < 1000.0);
        let mut table = Self { points: Vec::new(), rewards: Vec::new(), kls: Vec::new() };
        for lambda in std::iter::once(0.0).chain(lambdas.map(|lambda| lambda * scale)) {
            let prompts = values.iter().zip(samples.prompts());
            let tilted: Vec<Tilted> =
                prompts.map(|(values, scores)| jackknife(values, scores, lambda)).collect();
            let column = |of: fn(&Tilted) -> f64| tilted.iter().map(of).collect::<Vec<f64>>();
            let (rewards, kls) = (column(|t| t.reward), column(|t| t.kl));
            let next = point(lambda, &rewards, &kls, mean(&column(|t| t.effective)));
            if next.effective_samples < min_effective_samples {
                break;
            }
            table.points.push(next);
            table.rewards.push(rewards);
            table.kls.push(kls);
        }
        table
    }

    /// (KL, reward) along the curve with `weights` on the prompts that sum to 1.
    pub(crate) fn weighted(&self, weights: &[f64]) -> Vec<(f64, f64)> {
        let dot = |values: &[f64]| values.iter().zip(weights).map(|(v, w)| v * w).sum::<f64>();
        self.kls.iter().zip(&self.rewards).map(|(kls, rewards)| (dot(kls), dot(rewards))).collect()
    }
}
