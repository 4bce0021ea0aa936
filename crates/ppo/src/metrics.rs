//! What an iteration reports.

use lm::{Metrics, ScoredResponses};

use crate::advantage::{Advantages, explained_variance, mean, variance};
use crate::loss::{PolicyNumbers, ValueNumbers};
use crate::rollout::{Rollouts, sum};

/// What the minibatches of an iteration did.
#[derive(Default)]
pub(crate) struct Updates {
    pub(crate) policy: Vec<PolicyUpdate>,
    pub(crate) value: Vec<ValueUpdate>,
    pub(crate) skipped: usize,
}

/// One step of the policy.
pub(crate) struct PolicyUpdate {
    pub(crate) numbers: PolicyNumbers,
    pub(crate) grad_norm: f64,
    pub(crate) learning_rate: f64,
}

/// One step of the value model.
pub(crate) struct ValueUpdate {
    pub(crate) numbers: ValueNumbers,
    pub(crate) grad_norm: f64,
}

/// Mean of a number over updates; `NaN` if there was none.
fn average<T>(updates: &[T], of: impl Fn(&T) -> f64) -> f64 {
    mean(&updates.iter().map(of).collect::<Vec<_>>())
}

/// What the policy is paid for.
#[derive(Clone, Copy)]
pub(crate) struct Objective<'a> {
    /// `log pi(y | x) - log pi_ref(y | x)` of each response, in nats.
    pub(crate) log_ratios: &'a [f64],
    /// Scores, less the penalty of a missing end.
    pub(crate) scores: &'a [f64],
    pub(crate) kl_coef: f64,
}

/// The numbers of the aim itself, by TRL's names.
pub(crate) fn objective(responses: &ScoredResponses, of: Objective<'_>) -> Metrics {
    let sequence_kl = mean(of.log_ratios);
    let entropies: Vec<f64> = responses.logprobs.iter().map(|row| -sum(row)).collect();
    vec![
        // log pi(y | x) - log pi_ref(y | x), mean over responses, in nats
        ("objective/kl", sequence_kl),
        // -log pi(y | x), mean over responses: a sample estimate in nats
        ("objective/entropy", mean(&entropies)),
        ("objective/non_score_reward", -of.kl_coef * sequence_kl),
        // what is maximised, before scaling: score, missing-end penalty and KL penalty
        ("objective/rlhf_reward", mean(of.scores) - of.kl_coef * sequence_kl),
        // what the scorer says
        ("objective/scores", mean(&responses.scores)),
    ]
}

/// TRL's names and order, then ours. Averages over minibatches leave out the skipped ones; those of the
/// policy are `NaN` while the value model warms up.
pub(crate) fn metrics(
    rollouts: &Rollouts,
    scores: &[f64],
    kl_coef: f64,
    targets: &Advantages,
    updates: &Updates,
    tokens: u64,
) -> Metrics {
    let responses = &rollouts.responses;
    let lengths: Vec<f64> = responses.sequences.iter().map(|s| s.response.len() as f64).collect();
    let ratios: Vec<f64> = updates.policy.iter().map(|update| update.numbers.mean_ratio).collect();
    let policy = |of: fn(&PolicyUpdate) -> f64| average(&updates.policy, of);
    let value = |of: fn(&ValueUpdate) -> f64| average(&updates.value, of);
    let mut metrics = objective(responses, Objective { log_ratios: &rollouts.log_ratios(), scores, kl_coef });
    metrics.extend([
        ("policy/approxkl_avg", policy(|u| u.numbers.approx_kl)),
        ("policy/clipfrac_avg", policy(|u| u.numbers.clip_fraction)),
        ("loss/policy_avg", policy(|u| u.numbers.loss)),
        ("loss/value_avg", value(|u| u.numbers.loss)),
        ("val/clipfrac_avg", value(|u| u.numbers.clip_fraction)),
        ("val/ratio", mean(&ratios)),
        ("val/ratio_var", variance(&ratios)),
        ("val/num_eos_tokens", responses.ended_count() as f64),
        ("val/explained_variance", explained_variance(&rollouts.values, &targets.returns)),
        ("objective/kl_coef", kl_coef),
        ("response_length", mean(&lengths)),
        ("policy/grad_norm", policy(|u| u.grad_norm)),
        ("val/grad_norm", value(|u| u.grad_norm)),
        ("policy/skipped_minibatches", updates.skipped as f64),
        ("learning_rate", updates.policy.last().map_or(f64::NAN, |update| update.learning_rate)),
        ("num_tokens", tokens as f64),
    ]);
    metrics
}
