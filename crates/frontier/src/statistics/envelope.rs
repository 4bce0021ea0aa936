//! The upper envelope of a method's points, plain and cross-fitted.

use serde::{Deserialize, Serialize};

use crate::statistics::isotonic::Isotonic;

/// One checkpoint as each half of the prompts sees it: (KL in nats, reward), twice.
pub type Halves = [(f64, f64); 2];

/// The reward of the best checkpoint at or below each KL: a step function.
///
/// *Plain*, from one set of numbers, it never falls:
///
/// ```text
/// E(K) = max({start} ∪ {r_i : KL_i <= K})
/// ```
///
/// where `start` is the reference's mean reward at KL 0. Beyond the last point it stays flat, since a policy
/// of smaller KL is at hand there too. But a maximum over noisy rewards is biased upward, by up to about 2 standard errors
/// when many points crowd together, and so favours the method with more checkpoints.
///
/// *Cross-fitted*, from two halves A and B of the prompts, it chooses on one half and reads on the other:
///
/// ```text
/// i_H(K) = argmax({start_H} ∪ {c_iH : KL_iH <= K})          for H = A, B
/// E(K)   = w_B r_B(i_A(K)) + w_A r_A(i_B(K))                w_H: the half's share of the prompts
/// c_iH   = f_H(KL_iH) + s_H e_iH,   e_iH = r_iH - f_H(KL_iH)
/// s_H    = max(0, 1 - noise_H / V_H),   V_H = sum_i e_iH² / (points - blocks of f_H)
/// ```
///
/// where `f_H` is the isotonic fit of the half's rewards along its KLs and `noise_H` the variance of a reward's error in that
/// half. The noise of a reading is independent of the choice, so that E(K) is, in expectation, the true reward of the
/// checkpoint that one half chooses: nothing is gained by having more checkpoints to choose from.
///
/// A choice by `r_iH` itself would be unbiased in the same sense and yet bad: among many checkpoints of nearly one reward,
/// noise often picks one far below K, and the envelope would fall short of the best policy by half a standard error or more.
/// So a checkpoint's lead over the trend is shrunk as James and Stein do: `s_H` is the part of the residuals' variance that
/// noise does not explain, 1 where differences between checkpoints are real and 0 where they are noise.
///
/// What bias is left is downward: half of the prompts still choose a checkpoint that is not the best one now and then, and
/// which is the last at or below K rests on KLs with noise of their own. The envelope may fall a little where the choice
/// changes. With numbers that are equal in both halves and without noise it is the plain one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// (KL at which the step begins, reward from there on), KLs increasing; the first KL is 0.
    steps: Vec<(f64, f64)>,
}

impl Envelope {
    /// The plain envelope of `points` = (KL in nats, reward) above `start`.
    ///
    /// Points that are not finite are left out. A KL below 0 (rounding of a KL of 0) counts as 0.
    pub fn new(start: f64, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let finite = points.into_iter().filter(|(kl, reward)| kl.is_finite() && reward.is_finite());
        let same = finite.map(|(kl, reward)| (kl, (reward, reward)));
        Self { steps: chosen((start, start), same) }
    }

    /// The cross-fitted envelope of `points` above the reference's reward in each half; the first half holds `first_share` of
    /// the prompts, and `noise` is the variance of a reward's error in each half, without what all points share.
    ///
    /// Points that are not finite in both halves are left out. A KL below 0 counts as 0.
    pub fn cross_fitted(
        start: [f64; 2],
        points: impl IntoIterator<Item = Halves>,
        first_share: f64,
        noise: [f64; 2],
    ) -> Self {
        let finite = |halves: &Halves| halves.iter().all(|(kl, reward)| kl.is_finite() && reward.is_finite());
        let points: Vec<Halves> = points.into_iter().filter(finite).collect();
        let choose = |on: usize, read: usize| {
            let seen: Vec<(f64, f64)> =
                points.iter().map(|point| (point[on].0.max(0.0), point[on].1)).collect();
            let compared = shrunk(start[on], &seen, noise[on]);
            let along = seen.iter().zip(compared).zip(&points);
            chosen((start[on], start[read]), along.map(|(((kl, _), c), point)| (*kl, (c, point[read].1))))
        };
        Self { steps: blended(&choose(0, 1), &choose(1, 0), 1.0 - first_share) }
    }

    /// The mean of several envelopes at each KL. `None` for an empty list.
    pub fn mean(envelopes: &[Self]) -> Option<Self> {
        if envelopes.is_empty() {
            return None;
        }
        let mut kls: Vec<f64> = envelopes.iter().flat_map(|e| e.steps.iter().map(|step| step.0)).collect();
        kls.sort_by(f64::total_cmp);
        kls.dedup();
        let count = envelopes.len() as f64;
        let at = |kl| envelopes.iter().map(|envelope| envelope.at(kl)).sum::<f64>() / count;
        Some(Self { steps: kls.into_iter().map(|kl| (kl, at(kl))).collect() })
    }

    /// (KL at which the step begins, reward from there on), from KL 0 upward.
    pub fn steps(&self) -> &[(f64, f64)] {
        &self.steps
    }

    /// The reward at `kl` nats.
    pub fn at(&self, kl: f64) -> f64 {
        let after = self.steps.partition_point(|step| step.0 <= kl);
        self.steps[after.max(1) - 1].1
    }

    /// The smallest KL, in nats, at which the envelope reaches `reward`; `None` if it never does.
    pub fn kl_for(&self, reward: f64) -> Option<f64> {
        self.steps.iter().find(|step| step.1 >= reward).map(|step| step.0)
    }

    /// The area under the envelope from KL 0 to `limit`, divided by `limit`: the mean reward over [0, limit].
    ///
    /// `limit` is in nats and above 0.
    pub fn mean_to(&self, limit: f64) -> f64 {
        let ends = self.steps[1..].iter().map(|step| step.0).chain([f64::INFINITY]);
        let areas = self.steps.iter().zip(ends).map(|(step, end)| {
            let width = (end.min(limit) - step.0).max(0.0);
            width * step.1
        });
        areas.sum::<f64>() / limit
    }
}

/// What a choice among `points` = (KL, reward) goes by: the trend, and the part of the lead over it that is not noise.
fn shrunk(start: f64, points: &[(f64, f64)], noise: f64) -> Vec<f64> {
    if noise <= 0.0 {
        return points.iter().map(|point| point.1).collect();
    }
    let fit = Isotonic::fit(points.iter().map(|&(kl, reward)| (kl, reward, 1.0)).chain([(0.0, start, 1.0)]));
    let trend = |kl: f64| fit.at(kl).unwrap_or(start);
    let squares: f64 = points.iter().map(|(kl, reward)| (reward - trend(*kl)).powi(2)).sum();
    let free = (points.len() + 1).saturating_sub(fit.blocks().len()).max(1);
    let variance = squares / free as f64;
    let real = if variance > 0.0 { (1.0 - noise / variance).max(0.0) } else { 1.0 };
    points.iter().map(|(kl, reward)| trend(*kl) + real * (reward - trend(*kl))).collect()
}

/// The steps of the best of `points` = (KL, (what is compared, what is read)) at or below each KL: the farthest of equals.
fn chosen(start: (f64, f64), points: impl Iterator<Item = (f64, (f64, f64))>) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, (f64, f64))> = points.map(|(kl, rewards)| (kl.max(0.0), rewards)).collect();
    points.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(b.1.0.total_cmp(&a.1.0)));
    let mut best = start.0;
    let mut steps = vec![(0.0, start.1)];
    for (kl, (compared, read)) in points {
        let (last_kl, last) = steps[steps.len() - 1];
        let farther = kl > last_kl && compared >= best && read.total_cmp(&last).is_ne();
        if compared > best || farther {
            best = compared;
            if kl <= last_kl {
                steps.pop();
            }
            steps.push((kl, read));
        }
    }
    steps
}

/// The mean of two step functions, the first with the weight `share`.
fn blended(first: &[(f64, f64)], second: &[(f64, f64)], share: f64) -> Vec<(f64, f64)> {
    let mut steps = Vec::with_capacity(first.len() + second.len());
    let (mut i, mut j) = (0, 0);
    let mut kl = 0.0;
    loop {
        // In this form the mean of equal numbers is that number.
        steps.push((kl, second[j].1 + share * (first[i].1 - second[j].1)));
        let (next_first, next_second) = (first.get(i + 1), second.get(j + 1));
        kl = match (next_first, next_second) {
            (Some(a), Some(b)) => a.0.min(b.0),
            (Some(next), None) | (None, Some(next)) => next.0,
            (None, None) => return steps,
        };
        i += usize::from(next_first.is_some_and(|next| next.0 <= kl));
        j += usize::from(next_second.is_some_and(|next| next.0 <= kl));
    }
}
