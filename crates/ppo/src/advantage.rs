//! Rewards per token and generalised advantages, on ragged host rows: row i holds one number for each token
//! of response i and nothing else, so there is no padding to go wrong. Sums run in f64.

/// Advantages and the returns that the value model learns, in the shape of the rewards.
#[derive(Clone, Debug, PartialEq)]
pub struct Advantages {
    /// `A_t`, not whitened.
    pub advantages: Vec<Vec<f32>>,
    /// `R_t = A_t + V(s_t)`.
    pub returns: Vec<Vec<f32>>,
}

/// What PPO maximises, token by token (Ziegler et al. 2019, equation 2):
///
/// `r_t = -kl_coef (log pi(y_t | s_t) - log pi_ref(y_t | s_t))`, plus `scores[i]` at the last token of
/// response i.
///
/// A row sums to `score - kl_coef * (log pi(y | x) - log pi_ref(y | x))`. An empty response has no token that
/// could carry its score and gets an empty row.
///
/// # Panics
/// If the rows differ in number or length: a bug of the caller.
pub fn shaped_rewards(
    logprobs: &[Vec<f32>],
    reference_logprobs: &[Vec<f32>],
    scores: &[f64],
    kl_coef: f64,
) -> Vec<Vec<f32>> {
    assert_same_shape(logprobs, reference_logprobs);
    assert_eq!(logprobs.len(), scores.len(), "one score per response");
    logprobs
        .iter()
        .zip(reference_logprobs)
        .zip(scores)
        .map(|((row, reference), score)| {
            let last = row.len().wrapping_sub(1);
            row.iter()
                .zip(reference)
                .enumerate()
                .map(|(t, (&logprob, &reference))| {
                    let penalty = kl_coef * (f64::from(logprob) - f64::from(reference));
                    ((if t == last { *score } else { 0.0 }) - penalty) as f32
                })
                .collect()
        })
        .collect()
}

/// Generalised advantage estimation (Schulman et al. 2016, equation 16):
///
/// `delta_t = r_t + gamma V(s_{t+1}) - V(s_t)`, `A_t = delta_t + gamma lambda A_{t+1}`.
///
/// `V(s_{t+1})` after the last token is 0, whether the policy ended the response or ran out of tokens:
/// nothing more can be earned in either case.
///
/// # Panics
/// If rewards and values differ in shape: a bug of the caller.
pub fn generalized_advantages(
    rewards: &[Vec<f32>],
    values: &[Vec<f32>],
    gamma: f64,
    gae_lambda: f64,
) -> Advantages {
    assert_same_shape(rewards, values);
    let rows = rewards.iter().zip(values).map(|(rewards, values)| {
        let mut advantages = vec![0.0; rewards.len()];
        let mut returns = vec![0.0; rewards.len()];
        let (mut next_value, mut next_advantage) = (0.0, 0.0);
        for t in (0..rewards.len()).rev() {
            let value = f64::from(values[t]);
            let delta = f64::from(rewards[t]) + gamma * next_value - value;
            next_advantage = delta + gamma * gae_lambda * next_advantage;
            next_value = value;
            advantages[t] = next_advantage as f32;
            returns[t] = (next_advantage + value) as f32;
        }
        (advantages, returns)
    });
    let (advantages, returns) = rows.unzip();
    Advantages { advantages, returns }
}

/// `1 - Var(R - V) / Var(R)` over all tokens: 1 for values that foresee every return, 0 for values that know
/// only their mean, negative for values that mislead; `NaN` if all returns are equal.
///
/// # Panics
/// If values and returns differ in shape: a bug of the caller.
pub fn explained_variance(values: &[Vec<f32>], returns: &[Vec<f32>]) -> f64 {
    assert_same_shape(values, returns);
    let flat = |rows: &[Vec<f32>]| -> Vec<f64> { rows.iter().flatten().map(|&x| f64::from(x)).collect() };
    let returns = flat(returns);
    let errors: Vec<f64> = returns.iter().zip(flat(values)).map(|(r, v)| r - v).collect();
    let total = variance(&returns);
    if total > 0.0 { 1.0 - variance(&errors) / total } else { f64::NAN }
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Population variance.
pub(crate) fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64
}

fn assert_same_shape(a: &[Vec<f32>], b: &[Vec<f32>]) {
    let same = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.len() == b.len());
    assert!(same, "rows differ in number or length");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: &[Vec<f32>], wanted: &[&[f32]]) {
        assert_eq!(
            found.iter().map(Vec::len).collect::<Vec<_>>(),
            wanted.iter().map(|w| w.len()).collect::<Vec<_>>()
        );
        for (f, w) in found.iter().flatten().zip(wanted.iter().copied().flatten()) {
            assert!((f - w).abs() < 1e-6, "{found:?} is not {wanted:?}");
        }
    }

    // Log-ratios 0.5, -1 and 2 at kl_coef 0.1, scores 3 and -1; an empty response keeps its place.
    #[test]
    fn rewards_by_hand() {
        let logprobs = [vec![-1.0, -2.0], vec![], vec![-0.5]];
        let reference = [vec![-1.5, -1.0], vec![], vec![-2.5]];
        let rewards = shaped_rewards(&logprobs, &reference, &[3.0, 9.0, -1.0], 0.1);
        close(&rewards, &[&[-0.05, 3.1], &[], &[-1.2]]);
    }

    // gamma = 0.5, lambda = 0.5, rewards 1, 0, 2, values 2, 4, 1:
    //   delta_2 = 2 - 1 = 1                 A_2 = 1
    //   delta_1 = 0 + 0.5 * 1 - 4 = -3.5    A_1 = -3.5 + 0.25 * 1 = -3.25
    //   delta_0 = 1 + 0.5 * 4 - 2 = 1       A_0 = 1 + 0.25 * -3.25 = 0.1875
    #[test]
    fn advantages_by_hand() {
        let found =
            generalized_advantages(&[vec![1.0, 0.0, 2.0], vec![]], &[vec![2.0, 4.0, 1.0], vec![]], 0.5, 0.5);
        close(&found.advantages, &[&[0.1875, -3.25, 1.0], &[]]);
        close(&found.returns, &[&[2.1875, 0.75, 2.0], &[]]);
    }

    // Returns 0, 2, 4 have variance 8/3; errors 0, 0, 3 have mean 1 and variance 2.
    #[test]
    fn explained_variance_by_hand() {
        let found = explained_variance(&[vec![0.0, 2.0], vec![1.0]], &[vec![0.0, 2.0], vec![4.0]]);
        assert!((found - 0.25).abs() < 1e-12, "{found}");
        assert!(explained_variance(&[vec![1.0]], &[vec![1.0]]).is_nan());
    }
}
