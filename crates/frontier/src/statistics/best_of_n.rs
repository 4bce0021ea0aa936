//! Best-of-n sampling, from the reference samples at hand.

use serde::{Deserialize, Serialize};

use crate::PromptSamples;
use crate::statistics::intervals::{mean, standard_error};

/// The best of n reference samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestOfNPoint {
    /// Samples to choose from.
    pub n: usize,
    /// Mean reward of the best.
    pub reward: f64,
    /// Standard error of `reward` over prompts.
    pub reward_se: f64,
    /// The 95% interval of `reward` over prompts.
    pub interval: (f64, f64),
    /// Upper bound on the sequence KL from the reference, in nats: see [`kl_bound`].
    pub sequence_kl_bound: f64,
    /// Estimate of the sequence KL, in nats: see [`kl_estimate`].
    pub sequence_kl_estimate: f64,
}

/// Best-of-n for n = 1, 2, 4, ... up to half the samples of a prompt, beyond which the estimate rests on too
/// few distinct maxima.
pub fn best_of_n_curve(samples: &PromptSamples) -> Vec<BestOfNPoint> {
    let most = samples.samples_per_prompt() / 2;
    let counts = std::iter::successors(Some(1), |n| Some(n * 2)).take_while(|n| *n <= most);
    counts.map(|n| best_of_n(samples, n)).collect()
}

fn best_of_n(samples: &PromptSamples, n: usize) -> BestOfNPoint {
    let rewards: Vec<f64> = samples.prompts().iter().filter_map(|scores| expected_max(scores, n)).collect();
    let kls: Vec<f64> = samples.prompts().iter().map(|scores| kl_estimate(scores, n)).collect();
    let (reward, reward_se) = (mean(&rewards), standard_error(&rewards));
    BestOfNPoint {
        n,
        reward,
        reward_se,
        // The normal interval: prompts are many and their values bounded.
        interval: (reward - 1.959_964 * reward_se, reward + 1.959_964 * reward_se),
        sequence_kl_bound: kl_bound(n),
        sequence_kl_estimate: mean(&kls),
    }
}

/// The mean of the maximum over all subsets of n of the m scores: an unbiased estimate of the expected
/// maximum of n independent draws.
///
/// ```text
/// sum_i r_(i) C(i-1, n-1) / C(m, n)   over the order statistics r_(1) <= ... <= r_(m)
/// ```
///
/// (as the pass@k estimate of Chen et al. 2021). `None` unless 1 <= n <= m.
pub fn expected_max(scores: &[f64], n: usize) -> Option<f64> {
    let m = scores.len();
    if n == 0 || n > m {
        return None;
    }
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    // From the largest down: the weight of rank m is n/m, and C(i-2, n-1) / C(i-1, n-1) = (i-n) / (i-1).
    let mut weight = n as f64 / m as f64;
    let mut total = 0.0;
    for rank in (n..=m).rev() {
        total += weight * sorted[rank - 1];
        weight *= (rank - n) as f64 / (rank.max(2) - 1) as f64;
    }
    Some(total)
}

/// ln n - (n-1)/n nats: KL(best-of-n || reference) if scores never tie (Stiennon et al. 2020), an upper bound
/// in general (Beirami et al. 2024).
pub fn kl_bound(n: usize) -> f64 {
    let n = n as f64;
    n.ln() - (n - 1.0) / n
}

/// The KL of best-of-n with its ties counted, in nats, for one prompt.
///
/// With F the distribution function of the score under the reference, best-of-n draws a score up to s with
/// probability `F(s)^n` and, among equal scores, any one as the reference would. Let u = F(s), from a to b
/// over a value of the score:
///
/// ```text
/// no ties:   ∫_a^b n u^(n-1) ln(n u^(n-1)) du
/// tied:      (b^n - a^n) ln( (b^n - a^n) / (b - a) )
/// ```
///
/// Scores that occur once among the m samples count as without ties, others as tied, and the sum goes over
/// all values. Without any tie it is [`kl_bound`]; ties that m samples do not show are missed, so it leans
/// high.
pub fn kl_estimate(scores: &[f64], n: usize) -> f64 {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (m, power) = (sorted.len() as f64, n as f64);
    // The antiderivative of n u^(n-1) ln(n u^(n-1)), 0 at u = 0.
    let integral = |u: f64| {
        let log = if u > 0.0 { (power - 1.0) * u.ln() } else { 0.0 };
        u.powf(power) * (power.ln() + log - (power - 1.0) / power)
    };
    let mut below = 0_usize;
    let chunks = sorted.chunk_by(|x, y| x.total_cmp(y).is_eq()).map(|tied| {
        let (a, b) = (below as f64 / m, (below + tied.len()) as f64 / m);
        below += tied.len();
        if tied.len() == 1 {
            return integral(b) - integral(a);
        }
        let mass = b.powf(power) - a.powf(power);
        if mass > 0.0 { mass * (mass / (b - a)).ln() } else { 0.0 }
    });
    chunks.sum()
}
