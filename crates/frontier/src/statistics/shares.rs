//! Shares of the optimum's gain.

use crate::Method;
use crate::statistics::analysis::{Analysis, Values};
use crate::statistics::resampling::{Axis, World};

/// Shares of the optimum's gain, at those of `kls` where there is one.
pub(crate) fn gain_shares(
    analysis: &Analysis<'_>,
    method: Method,
    kls: &[f64],
) -> Option<(Vec<f64>, Values)> {
    let start = analysis.resampled.start(World::Observed);
    let gains =
        |kl: &f64| analysis.optimum_reward(World::Observed, *kl).is_some_and(|reward| reward - start > 1e-9);
    let kls: Vec<f64> = kls.iter().copied().filter(gains).collect();
    let values = analysis.of_envelopes(method, &Axis::Kl, |world, start, envelope| {
        let share = |kl: &f64| {
            let possible = analysis.optimum_reward(world, *kl).unwrap_or(start) - start;
            (envelope.at(*kl) - start) / possible.max(1e-9)
        };
        kls.iter().map(share).collect()
    })?;
    Some((kls, values))
}
