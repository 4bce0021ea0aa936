//! Every piece of mathematics against plain `PyTorch` (`scripts/reference/ppo.py`) and against finite
//! differences.

use burn::tensor::Tensor;
use lm::{ResponseMask, masked};
use ppo::advantage::{generalized_advantages, shaped_rewards};
use ppo::loss::{policy_loss, value_loss};
use serde::Deserialize;

use crate::trainers::device as host;

/// Losses are differentiated.
fn device() -> burn::tensor::Device {
    host().autodiff()
}

type Rows = Vec<Vec<f32>>;

#[derive(Deserialize)]
struct Fixture {
    policy: Vec<PolicyCase>,
    value: Vec<ValueCase>,
    advantage: Vec<AdvantageCase>,
    reward: Vec<RewardCase>,
    whitening: Vec<WhiteningCase>,
}

#[derive(Deserialize)]
struct PolicyCase {
    logprobs: Rows,
    old_logprobs: Rows,
    advantages: Rows,
    clip_range: f64,
    loss: f64,
    clip_fraction: f64,
    approx_kl: f64,
    mean_ratio: f64,
    gradient: Rows,
}

#[derive(Deserialize)]
struct ValueCase {
    values: Rows,
    old_values: Rows,
    returns: Rows,
    value_clip_range: f64,
    loss: f64,
    clip_fraction: f64,
    gradient: Rows,
}

#[derive(Deserialize)]
struct AdvantageCase {
    rewards: Rows,
    values: Rows,
    gamma: f64,
    gae_lambda: f64,
    advantages: Rows,
    returns: Rows,
}

#[derive(Deserialize)]
struct RewardCase {
    logprobs: Rows,
    reference_logprobs: Rows,
    scores: Vec<f64>,
    kl_coef: f64,
    rewards: Rows,
}

#[derive(Deserialize)]
struct WhiteningCase {
    values: Rows,
    whitened: Rows,
    scaled: Rows,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../fixtures/ppo.json")).unwrap()
}

fn mask(rows: &Rows) -> ResponseMask {
    ResponseMask::from_lengths(rows.iter().map(Vec::len).collect())
}

fn pad(rows: &Rows) -> Tensor<2> {
    mask(rows).pad(rows, &device())
}

fn real(rows: &Rows) -> Tensor<2> {
    mask(rows).tensor(&device())
}

fn close(found: f64, wanted: f64, what: &str) {
    assert!((found - wanted).abs() < 1e-5 * (1.0 + wanted.abs()), "{what}: {found} is not {wanted}");
}

fn rows_close(found: &Rows, wanted: &Rows, what: &str) {
    assert_eq!(
        found.iter().map(Vec::len).collect::<Vec<_>>(),
        wanted.iter().map(Vec::len).collect::<Vec<_>>()
    );
    for (found, wanted) in found.iter().flatten().zip(wanted.iter().flatten()) {
        close(f64::from(*found), f64::from(*wanted), what);
    }
}

/// The loss's gradient with respect to `input`, and none at padding.
fn gradient(loss: &Tensor<1>, input: &Tensor<2>, rows: &Rows) -> Rows {
    let gradient = input.grad(&loss.backward()).unwrap();
    let at_padding = gradient.clone() * (real(rows).without_autodiff().neg() + 1.0);
    assert!(at_padding.abs().sum().into_scalar::<f32>() == 0.0, "padding has a gradient");
    mask(rows).rows(gradient)
}

#[test]
fn policy_losses_match_pytorch() {
    let cases = fixture().policy;
    assert!(cases.iter().any(|case| case.clip_fraction > 0.2), "no case that clips");
    for case in cases {
        let logprobs = pad(&case.logprobs).require_grad();
        let found = policy_loss(
            logprobs.clone(),
            pad(&case.old_logprobs),
            pad(&case.advantages),
            real(&case.logprobs),
            case.clip_range,
        );
        let numbers = found.numbers();
        close(numbers.loss, case.loss, "loss");
        close(numbers.clip_fraction, case.clip_fraction, "clip fraction");
        close(numbers.approx_kl, case.approx_kl, "approximate KL");
        close(numbers.mean_ratio, case.mean_ratio, "mean ratio");
        rows_close(&gradient(&found.loss, &logprobs, &case.logprobs), &case.gradient, "gradient");
    }
}

#[test]
fn value_losses_match_pytorch() {
    let cases = fixture().value;
    assert!(cases.iter().any(|case| case.clip_fraction > 0.1), "no case that clips");
    for case in cases {
        let values = pad(&case.values).require_grad();
        let found = value_loss(
            values.clone(),
            pad(&case.old_values),
            pad(&case.returns),
            real(&case.values),
            case.value_clip_range,
        );
        let numbers = found.numbers();
        close(numbers.loss, case.loss, "loss");
        close(numbers.clip_fraction, case.clip_fraction, "clip fraction");
        rows_close(&gradient(&found.loss, &values, &case.values), &case.gradient, "gradient");
    }
}

#[test]
fn advantages_match_pytorch() {
    for case in fixture().advantage {
        let found = generalized_advantages(&case.rewards, &case.values, case.gamma, case.gae_lambda);
        rows_close(&found.advantages, &case.advantages, "advantages");
        rows_close(&found.returns, &case.returns, "returns");
    }
}

#[test]
fn rewards_match_pytorch() {
    for case in fixture().reward {
        let found = shaped_rewards(&case.logprobs, &case.reference_logprobs, &case.scores, case.kl_coef);
        rows_close(&found, &case.rewards, "rewards");
    }
}

#[test]
fn whitening_matches_pytorch() {
    for case in fixture().whitening {
        let (mut whitened, mut scaled) = (case.values.clone(), case.values);
        masked::whiten(&mut whitened);
        masked::scale_to_unit_variance(&mut scaled);
        rows_close(&whitened, &case.whitened, "whitened");
        rows_close(&scaled, &case.scaled, "scaled");
    }
}

/// The policy loss as plain loops in f64.
fn policy_loss_by_loops(logprobs: &[Vec<f64>], case: &PolicyCase) -> f64 {
    let (mut total, mut count) = (0.0, 0.0);
    for (i, row) in logprobs.iter().enumerate() {
        for (t, logprob) in row.iter().enumerate() {
            let ratio = (logprob - f64::from(case.old_logprobs[i][t])).exp();
            let advantage = f64::from(case.advantages[i][t]);
            let clipped = ratio.clamp(1.0 - case.clip_range, 1.0 + case.clip_range);
            total -= (ratio * advantage).min(clipped * advantage);
            count += 1.0;
        }
    }
    total / count
}

#[test]
fn policy_gradient_matches_finite_differences() {
    for case in fixture().policy {
        let logprobs = pad(&case.logprobs).require_grad();
        let old = pad(&case.old_logprobs);
        let found =
            policy_loss(logprobs.clone(), old, pad(&case.advantages), real(&case.logprobs), case.clip_range);
        let gradient = gradient(&found.loss, &logprobs, &case.logprobs);
        let exact: Vec<Vec<f64>> =
            case.logprobs.iter().map(|row| row.iter().map(|&x| f64::from(x)).collect()).collect();
        let step = 1e-6;
        for (i, row) in exact.iter().enumerate() {
            for t in 0..row.len() {
                let moved = |by: f64| {
                    let mut moved = exact.clone();
                    moved[i][t] += by;
                    policy_loss_by_loops(&moved, &case)
                };
                let slope = (moved(step) - moved(-step)) / (2.0 * step);
                close(f64::from(gradient[i][t]), slope, "gradient");
            }
        }
    }
}
