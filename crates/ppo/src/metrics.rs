//! What an iteration reports.

use lm::Metrics;

use crate::advantage::{Advantages, explained_variance, mean, variance};
use crate::loss::{PolicyNumbers, ValueNumbers};
use crate::rollout::Rollouts;

/// What the minibatches of an iteration did.
#[derive(Default)]
pub(crate) struct Updates {
    pub(crate) taken: Vec<MinibatchUpdate>,
    pub(crate) skipped: usize,
}

impl Updates {
    /// Mean over the minibatches that were taken; `NaN` if none was.
    fn average(&self, of: fn(&MinibatchUpdate) -> f64) -> f64 {
        mean(&self.taken.iter().map(of).collect::<Vec<_>>())
    }
}

/// One step of the policy and one of the value model.
pub(crate) struct MinibatchUpdate {
    pub(crate) policy: PolicyNumbers,
    pub(crate) value: ValueNumbers,
    pub(crate) policy_grad_norm: f64,
    pub(crate) value_grad_norm: f64,
    pub(crate) learning_rate: f64,
}

/// TRL's names and order, then ours. Averages over minibatches leave out the skipped ones.
pub(crate) fn metrics(
    rollouts: &Rollouts,
    scores: &[f64],
    kl_coef: f64,
    targets: &Advantages,
    updates: &Updates,
    tokens: u64,
) -> Metrics {
    let sequence_kl = mean(&rollouts.log_ratios());
    let entropies: Vec<f64> =
        rollouts.logprobs.iter().map(|row| -row.iter().map(|&x| f64::from(x)).sum::<f64>()).collect();
    let lengths: Vec<f64> = rollouts.sequences.iter().map(|s| s.response.len() as f64).collect();
    let ratios: Vec<f64> = updates.taken.iter().map(|update| update.policy.mean_ratio).collect();
    let average = |of: fn(&MinibatchUpdate) -> f64| updates.average(of);
    vec![
        // log pi(y | x) - log pi_ref(y | x), mean over responses, in nats
        ("objective/kl", sequence_kl),
        // -log pi(y | x), mean over responses: a sample estimate in nats
        ("objective/entropy", mean(&entropies)),
        ("objective/non_score_reward", -kl_coef * sequence_kl),
        // what PPO maximises, before scaling: score, missing-end penalty and KL penalty
        ("objective/rlhf_reward", mean(scores) - kl_coef * sequence_kl),
        // what the scorer says
        ("objective/scores", mean(&rollouts.scores)),
        ("policy/approxkl_avg", average(|u| u.policy.approx_kl)),
        ("policy/clipfrac_avg", average(|u| u.policy.clip_fraction)),
        ("loss/policy_avg", average(|u| u.policy.loss)),
        ("loss/value_avg", average(|u| u.value.loss)),
        ("val/clipfrac_avg", average(|u| u.value.clip_fraction)),
        ("val/ratio", mean(&ratios)),
        ("val/ratio_var", variance(&ratios)),
        ("val/num_eos_tokens", rollouts.ended.iter().filter(|&&ended| ended).count() as f64),
        ("val/explained_variance", explained_variance(&rollouts.values, &targets.returns)),
        ("objective/kl_coef", kl_coef),
        ("response_length", mean(&lengths)),
        ("policy/grad_norm", average(|u| u.policy_grad_norm)),
        ("val/grad_norm", average(|u| u.value_grad_norm)),
        ("policy/skipped_minibatches", updates.skipped as f64),
        ("learning_rate", updates.taken.last().map_or(f64::NAN, |update| update.learning_rate)),
        ("num_tokens", tokens as f64),
    ]
}
