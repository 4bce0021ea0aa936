//! Best-of-n sampling, from the reference samples at hand.

use serde::{Deserialize, Serialize};

use crate::PromptSamples;
use crate::intervals::{mean, standard_error};

/// The best of n reference samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestOfNPoint {
    /// Samples to choose from.
    pub n: usize,
    /// Mean reward of the best.
    pub reward: f64,
    /// Standard error of `reward` over prompts.
    pub reward_se: f64,
    /// Upper bound on the sequence KL from the reference, in nats.
    pub sequence_kl_bound: f64,
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
    BestOfNPoint {
        n,
        reward: mean(&rewards),
        reward_se: standard_error(&rewards),
        sequence_kl_bound: kl_bound(n),
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
