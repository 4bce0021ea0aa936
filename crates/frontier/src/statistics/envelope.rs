//! The upper envelope of a method's points.

use std::collections::BTreeMap;

use crate::Method;
use crate::records::{EvalRow, on_frontier};

/// The best reward at or below each KL: a step function that never falls.
///
/// ```text
/// E(K) = max({start} ∪ {reward_i : KL_i <= K})
/// ```
///
/// where `start` is the reference's mean reward at KL 0. Beyond the last point it stays flat, since a policy
/// of smaller KL is at hand there too.
///
/// A maximum over noisy scores is biased upward, by up to about 2 standard errors when many points crowd
/// together; [`isotonic`](crate::isotonic) regression shows the points' trend without that choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// (KL at which the step begins, reward from there on), both increasing; the first KL is 0.
    steps: Vec<(f64, f64)>,
}

impl Envelope {
    /// The envelope of `points` = (KL in nats, reward) above `start`.
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

/// One envelope per seed from all of a method's points [on its frontier](on_frontier) of that seed.
pub fn envelopes_by_seed<'a>(
    rows: impl IntoIterator<Item = &'a EvalRow>,
    method: Method,
    start: f64,
) -> BTreeMap<u64, Envelope> {
    let mut points: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
    for row in rows.into_iter().filter(|row| row.method == method && on_frontier(row)) {
        points.entry(row.seed).or_default().push((row.sequence_kl, row.score));
    }
    points.into_iter().map(|(seed, points)| (seed, Envelope::new(start, points))).collect()
}
