//! Shares of the optimum's gain.

use crate::Method;
use crate::statistics::analysis::{Analysis, Values, along_kl};
use crate::statistics::resampling::World;

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
