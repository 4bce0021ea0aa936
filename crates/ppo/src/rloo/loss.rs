//! Rewards of whole responses, their baselines and the policy gradient.

use burn::tensor::Tensor;
use lm::SequenceLogProbs;

/// `R = score - kl_coef (log pi(y | x) - log pi_ref(y | x))` of each response, the log-ratio in nats.
///
/// # Panics
/// If scores and log-ratios differ in number: a bug of the caller.
pub fn penalized_rewards(scores: &[f64], log_ratios: &[f64], kl_coef: f64) -> Vec<f64> {
    assert_eq!(scores.len(), log_ratios.len(), "one log-ratio per score");
    scores.iter().zip(log_ratios).map(|(score, log_ratio)| score - kl_coef * log_ratio).collect()
}

/// `A_i = R_i - mean of the other R_j of its prompt`. The `k` rewards of a prompt come one after another. The
/// baseline does not depend on the response that it is subtracted from, so the gradient stays unbiased.
///
/// # Panics
/// If `k` is below 2 or the rewards are not `k` for each prompt: a bug of the caller.
pub fn leave_one_out_advantages(rewards: &[f64], k: usize) -> Vec<f64> {
    assert!(k >= 2 && rewards.len().is_multiple_of(k), "{} rewards, {k} to a prompt", rewards.len());
    let of_prompt = |rewards: &[f64]| {
        let total: f64 = rewards.iter().sum();
        rewards.iter().map(|reward| reward - (total - reward) / (k - 1) as f64).collect::<Vec<f64>>()
    };
    rewards.chunks(k).flat_map(of_prompt).collect()
}

/// `-mean_i A_i log pi(y_i | x)`, `[1]`, from log-probs and advantages `[B]`. Differentiable in the
/// log-probs; its gradient is that of `-J` where the responses are the policy's own (Williams 1992).
pub fn policy_gradient_loss(
    SequenceLogProbs(logprobs): SequenceLogProbs,
    advantages: Tensor<1>,
) -> Tensor<1> {
    (logprobs * advantages).mean().neg()
}

#[cfg(test)]
mod tests {
    use lm::DeviceSpec;
    use lm::sequences::to_vec;

    use super::*;

    // 3 - 0.5 * 2 = 2 and -1 - 0.5 * -4 = 1.
    #[test]
    fn rewards_by_hand() {
        assert_eq!(penalized_rewards(&[3.0, -1.0], &[2.0, -4.0], 0.5), [2.0, 1.0]);
    }

    // Of 1, 2, 6 the others' means are 4, 3.5, 1.5; a prompt whose responses earn the same teaches nothing.
    #[test]
    fn advantages_by_hand() {
        let found = leave_one_out_advantages(&[1.0, 2.0, 6.0, 5.0, 5.0, 5.0], 3);
        assert_eq!(found, [-3.0, -1.5, 4.5, 0.0, 0.0, 0.0]);
        // Of two, each is the other's baseline.
        assert_eq!(leave_one_out_advantages(&[1.0, 4.0], 2), [-3.0, 3.0]);
    }

    // -(-2 * 1 + -3 * -2) / 2 = -2, and the slopes are -A / 2.
    #[test]
    fn loss_by_hand() {
        let device = DeviceSpec::CPU.open().unwrap().autodiff();
        let logprobs = Tensor::<1>::from_floats([-2.0, -3.0], &device).require_grad();
        let advantages = Tensor::from_floats([1.0, -2.0], &device);
        let loss = policy_gradient_loss(SequenceLogProbs(logprobs.clone()), advantages);
        let slopes = to_vec(logprobs.grad(&loss.backward()).unwrap());
        assert_eq!((to_vec(loss), slopes), (vec![-2.0], vec![-0.5, 1.0]));
    }
}
