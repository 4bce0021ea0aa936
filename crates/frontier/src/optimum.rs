//! The reweighted optimum: the best that any policy can do, estimated from reference samples.

use serde::{Deserialize, Serialize};

use crate::PromptSamples;
use crate::intervals::{mean, standard_error};

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
/// of which the means over prompts are returned. Exponentials are taken relative to the largest. The KL
/// cannot exceed ln m, so the estimate is low where few samples carry the weight: see `effective_samples`.
pub fn optimum_at(samples: &PromptSamples, lambda: f64) -> OptimumPoint {
    let (mut rewards, mut kls, mut sizes) = (Vec::new(), Vec::new(), Vec::new());
    for scores in samples.prompts() {
        let largest = scores.iter().map(|r| lambda * r).fold(f64::NEG_INFINITY, f64::max);
        let exponentials: Vec<f64> = scores.iter().map(|r| (lambda * r - largest).exp()).collect();
        let total: f64 = exponentials.iter().sum();
        let reward = exponentials.iter().zip(scores).map(|(e, r)| e * r).sum::<f64>() / total;
        let log_mean = largest + (total / scores.len() as f64).ln();
        rewards.push(reward);
        // The KL is not negative; near lambda = 0 the difference of two equal terms can round below 0.
        kls.push((lambda * reward - log_mean).max(0.0));
        sizes.push(total * total / exponentials.iter().map(|e| e * e).sum::<f64>());
    }
    OptimumPoint {
        lambda,
        reward: mean(&rewards),
        reward_se: standard_error(&rewards),
        sequence_kl: mean(&kls),
        sequence_kl_se: standard_error(&kls),
        effective_samples: mean(&sizes),
    }
}

/// The optimal frontier from lambda = 0 upward, by steps of a tenth, as long as the mean effective sample
/// size is at least `min_effective_samples` (8 is a fair demand).
///
/// Lambda grows from 0.05 to 1000 divided by the range of the scores. KL and reward increase along the curve.
pub fn optimum_curve(samples: &PromptSamples, min_effective_samples: f64) -> Vec<OptimumPoint> {
    let scores = || samples.prompts().iter().flatten().copied();
    let range = scores().fold(f64::NEG_INFINITY, f64::max) - scores().fold(f64::INFINITY, f64::min);
    let scale = if range > 0.0 { range.recip() } else { 1.0 };
    let lambdas = std::iter::successors(Some(0.05), |lambda| Some(lambda * 1.1)).take_while(|l| *l < 1000.0);
    std::iter::once(0.0)
        .chain(lambdas.map(|lambda| lambda * scale))
        .map(|lambda| optimum_at(samples, lambda))
        .take_while(|point| point.effective_samples >= min_effective_samples)
        .collect()
}

/// The reward of a curve at `kl` nats, linear between its points; `None` beyond its ends.
///
/// The true curve is concave, so the line lies a little below it.
pub fn optimum_reward(curve: &[OptimumPoint], kl: f64) -> Option<f64> {
    let after = curve.partition_point(|point| point.sequence_kl <= kl);
    let below = curve.get(after.checked_sub(1)?)?;
    match curve.get(after) {
        Some(above) => {
            let share = (kl - below.sequence_kl) / (above.sequence_kl - below.sequence_kl);
            Some(below.reward + share * (above.reward - below.reward))
        }
        None => (kl <= below.sequence_kl).then_some(below.reward),
    }
}
