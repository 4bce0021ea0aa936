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
        let mut points: Vec<(f64, f64)> = finite.map(|(kl, reward)| (kl.max(0.0), reward)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
        let mut steps = vec![(0.0, start)];
        for (kl, reward) in points {
            let (last_kl, best) = steps[steps.len() - 1];
            if reward > best {
                if kl <= last_kl {
                    steps.pop();
                }
                steps.push((kl, reward));
            }
        }
        Self { steps }
    }

    /// The cross-fitted envelope of `points` above the reference's reward in each half; the first half holds `first_share` of
    /// the prompts, and `noise` is the variance of a reward's error in each half, without what all points share.
    ///
    /// Points that are not finite in both halves are left out. A KL below 0 counts as 0.
    pub fn cross_fitted(start: [f64; 2], points: &[Halves], first_share: f64, noise: [f64; 2]) -> Self {
        Choices::new(start, points, noise).read(start, first_share, |point| points[point].map(|half| half.1))
    }

    /// An envelope of steps at increasing x, without those that change nothing.
    fn of_steps(steps: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let mut kept: Vec<(f64, f64)> = Vec::new();
        for step in steps {
            if kept.last().is_none_or(|last| last.1.total_cmp(&step.1).is_ne()) {
                kept.push(step);
            }
        }
        Self { steps: kept }
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

/// The checkpoint that each half of the prompts chooses at each KL: a cross-fitted envelope before it is read.
#[derive(Clone, Debug)]
pub(crate) struct Choices {
    /// (KL at which the step begins, the point that each half chooses; `None` for the reference), KLs increasing from 0.
    steps: Vec<(f64, [Option<usize>; 2])>,
    /// `c_iH` of every point: its reward in each half with the noise shrunk away; NaN for a point that was left out.
    shrunk: Vec<[f64; 2]>,
}

impl Choices {
    /// Chooses among `points` above `start`; see [`Envelope::cross_fitted`].
    pub(crate) fn new(start: [f64; 2], points: &[Halves], noise: [f64; 2]) -> Self {
        let finite = |halves: &Halves| halves.iter().all(|(x, reward)| x.is_finite() && reward.is_finite());
        let kept: Vec<usize> = (0..points.len()).filter(|index| finite(&points[*index])).collect();
        let mut all = vec![[f64::NAN; 2]; points.len()];
        let mut choose = |half: usize| {
            let seen: Vec<(f64, f64)> =
                kept.iter().map(|index| (points[*index][half].0.max(0.0), points[*index][half].1)).collect();
            let compared = shrunk(start[half], &seen, noise[half]);
            for (index, compared) in kept.iter().zip(&compared) {
                all[*index][half] = *compared;
            }
            let along = seen.iter().zip(compared).zip(&kept);
            chosen(start[half], along.map(|(((x, _), compared), index)| (*x, compared, *index)).collect())
        };
        let steps = merged(&choose(0), &choose(1));
        Self { steps, shrunk: all }
    }

    /// Reads what each half chose on the other half: `rewards` of a point in both halves, `start` those of the reference. A
    /// choice is read by as many prompts as the other half has.
    pub(crate) fn read(
        &self,
        start: [f64; 2],
        first_share: f64,
        rewards: impl Fn(usize) -> [f64; 2],
    ) -> Envelope {
        let read =
            |choice: [Option<usize>; 2]| reading(choice, first_share, |one| one.map_or(start, &rewards));
        Envelope::of_steps(self.steps.iter().map(|(x, choice)| (*x, read(*choice))))
    }

    /// A point's reward in each half with the noise shrunk away.
    pub(crate) fn shrunk(&self, point: usize) -> [f64; 2] {
        self.shrunk[point]
    }

    /// The envelope in a replicate of the prompts whose rewards would make the choices `anew`:
    ///
    /// ```text
    /// E_b(K) = r_b(i(K)) + c(i_b(K)) - c(i(K))
    /// ```
    ///
    /// in both halves as in [`Envelope::cross_fitted`]. Given the choice i, the noise of a reading is that of its prompts,
    /// which the first term resamples; what choosing otherwise would change is told by the shrunk rewards c. Read like the
    /// first term, another choice would bring the noise of the study's own reading a second time.
    pub(crate) fn replicate(
        &self,
        anew: &Self,
        starts: ([f64; 2], [f64; 2]),
        first_share: f64,
        rewards: impl Fn(usize) -> [f64; 2],
    ) -> Envelope {
        let (observed, resampled) = starts;
        let shrunk = |choice: [Option<usize>; 2]| {
            reading(choice, first_share, |one| one.map_or(observed, |index| self.shrunk[index]))
        };
        let read =
            |choice: [Option<usize>; 2]| reading(choice, first_share, |one| one.map_or(resampled, &rewards));
        let (mut i, mut j) = (0, 0);
        let mut steps = Vec::with_capacity(self.steps.len() + anew.steps.len());
        let mut x = 0.0;
        loop {
            let (own, other) = (self.steps[i].1, anew.steps[j].1);
            let moved = if own == other { 0.0 } else { shrunk(other) - shrunk(own) };
            steps.push((x, read(own) + moved));
            let (next_own, next_other) = (self.steps.get(i + 1), anew.steps.get(j + 1));
            x = match (next_own, next_other) {
                (Some(a), Some(b)) => a.0.min(b.0),
                (Some(next), None) | (None, Some(next)) => next.0,
                (None, None) => return Envelope::of_steps(steps),
            };
            i += usize::from(next_own.is_some_and(|next| next.0 <= x));
            j += usize::from(next_other.is_some_and(|next| next.0 <= x));
        }
    }
}

/// What the choices of both halves earn: each on the other half, `rewards` being those in both halves.
fn reading(
    [by_first, by_second]: [Option<usize>; 2],
    first_share: f64,
    rewards: impl Fn(Option<usize>) -> [f64; 2],
) -> f64 {
    let (on_second, on_first) = (rewards(by_first)[1], rewards(by_second)[0]);
    // In this form the mean of equal numbers is that number.
    on_second + first_share * (on_first - on_second)
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

/// The best of `points` = (KL, what is compared, index) at or below each KL, the farthest of equals; `start` is the
/// reference's.
fn chosen(start: f64, mut points: Vec<(f64, f64, usize)>) -> Vec<(f64, Option<usize>)> {
    points.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)).then(a.2.cmp(&b.2)));
    let mut best = start;
    let mut steps = vec![(0.0, None)];
    for (kl, compared, index) in points {
        let last_kl = steps[steps.len() - 1].0;
        if compared > best || (kl > last_kl && compared >= best) {
            best = compared;
            if kl <= last_kl {
                steps.pop();
            }
            steps.push((kl, Some(index)));
        }
    }
    steps
}

/// Both halves' choices along one KL.
fn merged(first: &[(f64, Option<usize>)], second: &[(f64, Option<usize>)]) -> Vec<(f64, [Option<usize>; 2])> {
    let mut kls: Vec<f64> = first.iter().chain(second).map(|step| step.0).collect();
    kls.sort_by(f64::total_cmp);
    kls.dedup();
    let at =
        |steps: &[(f64, Option<usize>)], kl: f64| steps[steps.partition_point(|step| step.0 <= kl) - 1].1;
    kls.into_iter().map(|kl| (kl, [at(first, kl), at(second, kl)])).collect()
}
