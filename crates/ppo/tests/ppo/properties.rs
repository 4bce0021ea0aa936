//! Properties of rewards and advantages that hold for any numbers.

use ppo::advantage::{generalized_advantages, shaped_rewards};
use proptest::collection::vec;
use proptest::prelude::*;

/// Responses of 0 to 8 tokens, each with three numbers a token.
fn responses() -> impl Strategy<Value = Vec<Vec<(f32, f32, f32)>>> {
    vec(vec((-3.0_f32..0.0, -3.0_f32..0.0, -2.0_f32..2.0), 0..8), 1..6)
}

fn column(rows: &[Vec<(f32, f32, f32)>], of: fn(&(f32, f32, f32)) -> f32) -> Vec<Vec<f32>> {
    rows.iter().map(|row| row.iter().map(of).collect()).collect()
}

fn sum(row: &[f32]) -> f64 {
    row.iter().map(|&x| f64::from(x)).sum()
}

proptest! {
    /// However the penalty is spread over tokens, a response earns its score less kl_coef times its
    /// log-ratio.
    #[test]
    fn shaped_rewards_sum_to_the_penalised_score(rows in responses(), kl_coef in 0.0..2.0_f64, score in -3.0..3.0_f64) {
        let (logprobs, reference) = (column(&rows, |x| x.0), column(&rows, |x| x.1));
        let rewards = shaped_rewards(&logprobs, &reference, &vec![score; rows.len()], kl_coef);
        for i in 0..rows.len() {
            let carried = if rows[i].is_empty() { 0.0 } else { score };
            let wanted = carried - kl_coef * (sum(&logprobs[i]) - sum(&reference[i]));
            prop_assert!((sum(&rewards[i]) - wanted).abs() < 1e-5);
        }
    }

    /// lambda = 1: the discounted return less the value.
    #[test]
    fn lambda_one_is_monte_carlo(rows in responses(), gamma in 0.0..=1.0_f64) {
        let (rewards, values) = (column(&rows, |x| x.2), column(&rows, |x| x.1));
        let found = generalized_advantages(&rewards, &values, gamma, 1.0);
        for (i, row) in rewards.iter().enumerate() {
            for t in 0..row.len() {
                let later: f64 =
                    row[t..].iter().enumerate().map(|(k, &r)| gamma.powi(k as i32) * f64::from(r)).sum();
                prop_assert!((f64::from(found.returns[i][t]) - later).abs() < 1e-5);
                prop_assert!((f64::from(found.advantages[i][t]) - later + f64::from(values[i][t])).abs() < 1e-5);
            }
        }
    }

    /// lambda = 0: one step of temporal difference.
    #[test]
    fn lambda_zero_is_one_step(rows in responses(), gamma in 0.0..=1.0_f64) {
        let (rewards, values) = (column(&rows, |x| x.2), column(&rows, |x| x.1));
        let found = generalized_advantages(&rewards, &values, gamma, 0.0);
        for (i, row) in rewards.iter().enumerate() {
            for (t, &reward) in row.iter().enumerate() {
                let next = values[i].get(t + 1).copied().map_or(0.0, f64::from);
                let wanted = f64::from(reward) + gamma * next - f64::from(values[i][t]);
                prop_assert!((f64::from(found.advantages[i][t]) - wanted).abs() < 1e-5);
            }
        }
    }

    /// A response's advantages do not depend on its neighbours or their lengths.
    #[test]
    fn rows_are_independent(rows in responses(), gamma in 0.0..=1.0_f64, gae_lambda in 0.0..=1.0_f64) {
        let (rewards, values) = (column(&rows, |x| x.2), column(&rows, |x| x.1));
        let together = generalized_advantages(&rewards, &values, gamma, gae_lambda);
        for i in 0..rows.len() {
            let alone = generalized_advantages(&rewards[i..=i], &values[i..=i], gamma, gae_lambda);
            prop_assert_eq!(&alone.advantages[0], &together.advantages[i]);
            prop_assert_eq!(&alone.returns[0], &together.returns[i]);
        }
    }
}
