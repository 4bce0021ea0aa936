//! The two clipped losses (Schulman et al. 2017, equation 7, and its value-function sibling),
//! pure tensor mathematics.
//!
//! All tensors are `[B, R]`, B responses of at most R tokens; `mask` is 1 on real tokens and 0 on padding,
//! and every mean is over real tokens. Gradients flow into `logprobs` and `values` only.

use burn::tensor::Tensor;
use lm::masked;
use lm::sequences::to_vec;

/// The policy's loss and what it says about the step.
#[derive(Clone, Debug)]
pub struct PolicyLoss {
    /// `mean_t max(-A_t rho_t, -A_t clip(rho_t, 1 ± clip_range))`, `[1]`, differentiable.
    pub loss: Tensor<1>,
    /// Share of tokens where the clipped side is the larger one, so that the gradient is zero, `[1]`.
    pub clip_fraction: Tensor<1>,
    /// `mean_t log(rho_t)^2 / 2`, a KL from the old policy in nats per token to second order, `[1]`.
    pub approx_kl: Tensor<1>,
    /// `mean_t rho_t`, `[1]`; 1 in expectation as long as the samples represent the policy.
    pub mean_ratio: Tensor<1>,
}

/// A [`PolicyLoss`] on the host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PolicyNumbers {
    /// See [`PolicyLoss::loss`].
    pub loss: f64,
    /// See [`PolicyLoss::clip_fraction`].
    pub clip_fraction: f64,
    /// See [`PolicyLoss::approx_kl`].
    pub approx_kl: f64,
    /// See [`PolicyLoss::mean_ratio`].
    pub mean_ratio: f64,
}

impl PolicyLoss {
    /// Reads the numbers in one transfer.
    pub fn numbers(&self) -> PolicyNumbers {
        let parts = [&self.loss, &self.clip_fraction, &self.approx_kl, &self.mean_ratio];
        let [loss, clip_fraction, approx_kl, mean_ratio] = read(parts);
        PolicyNumbers { loss, clip_fraction, approx_kl, mean_ratio }
    }
}

/// The clipped surrogate with `rho_t = exp(logprobs - old_logprobs)`, log-probabilities in nats.
pub fn policy_loss(
    logprobs: Tensor<2>,
    old_logprobs: Tensor<2>,
    advantages: Tensor<2>,
    mask: Tensor<2>,
    clip_range: f64,
) -> PolicyLoss {
    // Masked before the exponential: padding must not overflow to an infinity that a mask cannot zero.
    let log_ratio = (logprobs - old_logprobs) * mask.clone();
    let ratio = log_ratio.clone().exp();
    let clipped = ratio.clone().clamp(1.0 - clip_range, 1.0 + clip_range);
    let advantages = advantages.neg();
    let plain_loss = advantages.clone() * ratio.clone();
    let clipped_loss = advantages * clipped;
    let real = mask.clone().without_autodiff();
    let is_clipped = exceeds(&clipped_loss, &plain_loss);
    PolicyLoss {
        loss: masked::mean(plain_loss.max_pair(clipped_loss), mask),
        clip_fraction: masked::mean(is_clipped, real.clone()),
        approx_kl: masked::mean(log_ratio.without_autodiff().square() * 0.5, real.clone()),
        mean_ratio: masked::mean(ratio.without_autodiff(), real),
    }
}

/// The value model's loss and what it says about the step.
#[derive(Clone, Debug)]
pub struct ValueLoss {
    /// `mean_t max((V_t - R_t)^2, (clip(V_t, V_old_t ± value_clip_range) - R_t)^2) / 2`, `[1]`,
    /// differentiable.
    pub loss: Tensor<1>,
    /// Share of tokens where the clipped side is the larger one, `[1]`.
    pub clip_fraction: Tensor<1>,
}

/// A [`ValueLoss`] on the host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValueNumbers {
    /// See [`ValueLoss::loss`].
    pub loss: f64,
    /// See [`ValueLoss::clip_fraction`].
    pub clip_fraction: f64,
}

impl ValueLoss {
    /// Reads the numbers in one transfer.
    pub fn numbers(&self) -> ValueNumbers {
        let [loss, clip_fraction] = read([&self.loss, &self.clip_fraction]);
        ValueNumbers { loss, clip_fraction }
    }
}

/// The clipped square error of values to returns, both in units of the reward.
pub fn value_loss(
    values: Tensor<2>,
    old_values: Tensor<2>,
    returns: Tensor<2>,
    mask: Tensor<2>,
    value_clip_range: f64,
) -> ValueLoss {
    let moved = (values.clone() - old_values.clone()).clamp(-value_clip_range, value_clip_range);
    let clipped_error = (old_values + moved - returns.clone()).square();
    let error = (values - returns).square();
    let real = mask.clone().without_autodiff();
    let is_clipped = exceeds(&clipped_error, &error);
    ValueLoss {
        loss: masked::mean(error.max_pair(clipped_error), mask) * 0.5,
        clip_fraction: masked::mean(is_clipped, real),
    }
}

/// 1 where `a > b` and 0 elsewhere, without gradients.
fn exceeds(a: &Tensor<2>, b: &Tensor<2>) -> Tensor<2> {
    a.clone().without_autodiff().greater(b.clone().without_autodiff()).float()
}

fn read<const N: usize>(parts: [&Tensor<1>; N]) -> [f64; N] {
    let values = to_vec(Tensor::cat(parts.map(|part| part.clone().without_autodiff()).to_vec(), 0));
    std::array::from_fn(|i| f64::from(values[i]))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};
    use lm::DeviceSpec;

    use super::*;

    fn device() -> Device {
        DeviceSpec::CPU.open().unwrap()
    }

    fn row(values: &[f32]) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values.to_vec(), [1, values.len()]), &device())
    }

    fn close(found: f64, wanted: f64) {
        assert!((found - wanted).abs() < 1e-6, "{found} is not {wanted}");
    }

    // Ratios 1.5, 0.5, 1.5, 1 and one padded token that would be infinite.
    //   A = 1,  rho = 1.5: max(-1.5, -1.2) = -1.2, clipped
    //   A = 1,  rho = 0.5: max(-0.5, -0.8) = -0.5
    //   A = -1, rho = 1.5: max( 1.5,  1.2) =  1.5: a bad token that became likelier is never excused
    //   A = 2,  rho = 1:                     -2
    // mean: (-1.2 - 0.5 + 1.5 - 2) / 4 = -0.55; mean ratio: 4.5 / 4.
    #[test]
    fn policy_loss_by_hand() {
        let logprobs = row(&[1.5_f32.ln(), 0.5_f32.ln(), 1.5_f32.ln(), 0.0, 1e4]);
        let advantages = row(&[1.0, 1.0, -1.0, 2.0, 7.0]);
        let mask = row(&[1.0, 1.0, 1.0, 1.0, 0.0]);
        let found = policy_loss(logprobs.clone(), row(&[0.0; 5]), advantages, mask, 0.2).numbers();
        close(found.loss, -0.55);
        close(found.clip_fraction, 0.25);
        close(found.mean_ratio, 1.125);
        let squares = 2.0 * 1.5_f64.ln().powi(2) + 0.5_f64.ln().powi(2);
        close(found.approx_kl, squares / 8.0);
    }

    // V_old = 0, clip 0.5.
    //   V = 1, R = 2: (1 - 2)^2 = 1, (0.5 - 2)^2 = 2.25: clipped
    //   V = 1, R = 0: 1, 0.25: 1
    //   V = 0.25, R = 1: both 0.5625
    // mean / 2: (2.25 + 1 + 0.5625) / 6 = 0.635416...
    #[test]
    fn value_loss_by_hand() {
        let mask = row(&[1.0, 1.0, 1.0, 0.0]);
        let found =
            value_loss(row(&[1.0, 1.0, 0.25, 9.0]), row(&[0.0; 4]), row(&[2.0, 0.0, 1.0, 0.0]), mask, 0.5)
                .numbers();
        close(found.loss, 3.8125 / 6.0);
        close(found.clip_fraction, 1.0 / 3.0);
    }
}
