//! Losses on preference pairs, from sequence log-probs and numbers alone.
//!
//! Notation: `y_w` chosen, `y_l` rejected, `log pi(y|x)` summed over the tokens of the response, in nats; all
//! tensors are `[B]`, one number per pair.

use burn::tensor::Tensor;
use lm::{SequenceLogProbs, bradley_terry_nll, expected_over_labels};

use crate::Loss;

/// Loss and implicit rewards of preference pairs, each `[B]`.
#[derive(Clone, Debug)]
pub struct PreferenceLoss {
    /// The loss of each pair; their mean is minimised.
    pub loss: Tensor<1>,
    /// Implicit reward `beta log(pi(y_w|x) / pi_ref(y_w|x))`, in units of the reward, up to a term of the
    /// prompt.
    pub chosen_rewards: Tensor<1>,
    /// The same of the rejected response.
    pub rejected_rewards: Tensor<1>,
}

/// The loss of each pair under `policy`, with `reference` fixed; both are (chosen, rejected). See
/// [`Loss`] for the equations. `probability` is the probability that the chosen response is the better
/// one, 1 for a hard label: the loss is its mean over both labels, [`expected_over_labels`].
/// Differentiable in the policy's log-probs.
///
/// # Panics
/// If the five tensors differ in length.
pub fn preference_loss(
    policy: (SequenceLogProbs, SequenceLogProbs),
    reference: (SequenceLogProbs, SequenceLogProbs),
    probability: Tensor<1>,
    beta: f64,
    loss: &Loss,
) -> PreferenceLoss {
    let (SequenceLogProbs(chosen), SequenceLogProbs(rejected)) = policy;
    let (SequenceLogProbs(reference_chosen), SequenceLogProbs(reference_rejected)) = reference;
    let pairs = chosen.dims();
    for side in [&rejected, &reference_chosen, &reference_rejected, &probability] {
        assert_eq!(side.dims(), pairs, "log-probs and probabilities of pairs differ in number");
    }
    let chosen_logratio = chosen.clone() - reference_chosen;
    let rejected_logratio = rejected.clone() - reference_rejected;
    let difference = chosen_logratio.clone() - rejected_logratio.clone();
    let of_label = |difference: Tensor<1>, chosen: Tensor<1>, rejected: Tensor<1>| match *loss {
        Loss::Sigmoid { label_smoothing } => bradley_terry_nll(difference * beta, label_smoothing),
        Loss::Ipo {} => (difference - 1.0 / (2.0 * beta)).square(),
        Loss::Hinge {} => (difference * -beta + 1.0).clamp_min(0.0),
        Loss::Unlikelihood { alpha } => rejected * alpha - chosen,
    };
    let flipped = of_label(difference.clone().neg(), rejected.clone(), chosen.clone());
    let right = of_label(difference, chosen, rejected);
    PreferenceLoss {
        loss: expected_over_labels(probability, right, flipped),
        chosen_rewards: chosen_logratio * beta,
        rejected_rewards: rejected_logratio * beta,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::float_cmp, reason = "zero is exactly zero")]

    use burn::tensor::Device;
    use lm::DeviceSpec;
    use lm::sequences::to_vec;

    use super::*;

    const LOSSES: [Loss; 5] = [
        Loss::Sigmoid { label_smoothing: 0.0 },
        Loss::Sigmoid { label_smoothing: 0.2 },
        Loss::Ipo {},
        Loss::Hinge {},
        Loss::Unlikelihood { alpha: 0.3 },
    ];

    fn device() -> Device {
        DeviceSpec::CPU.open().unwrap()
    }

    fn certain() -> Tensor<1> {
        Tensor::from_floats([1.0], &device())
    }

    /// Loss, chosen and rejected reward of one pair; `logps` are policy chosen, policy rejected, reference
    /// chosen, reference rejected.
    fn one(logps: [f32; 4], beta: f64, loss: &Loss) -> [f32; 3] {
        let [a, b, c, d] = logps.map(|logp| SequenceLogProbs(Tensor::from_floats([logp], &device())));
        let out = preference_loss((a, b), (c, d), certain(), beta, loss);
        [out.loss, out.chosen_rewards, out.rejected_rewards].map(|tensor| to_vec(tensor)[0])
    }

    /// Loss and its gradient with respect to (chosen, rejected) policy log-probs.
    fn with_gradient(logps: [f32; 4], beta: f64, loss: &Loss) -> (f32, [f32; 2]) {
        let device = device().autodiff();
        let [a, b, c, d] = logps.map(|logp| Tensor::<1>::from_floats([logp], &device));
        let (a, b) = (a.require_grad(), b.require_grad());
        let wrap = SequenceLogProbs;
        let one = Tensor::from_floats([1.0], &device);
        let out =
            preference_loss((wrap(a.clone()), wrap(b.clone())), (wrap(c), wrap(d)), one, beta, loss).loss;
        let gradients = out.clone().sum().backward();
        // A side that does not enter the loss has no gradient at all.
        let gradient = |side: &Tensor<1>| side.grad(&gradients).map_or(0.0, |gradient| to_vec(gradient)[0]);
        (to_vec(out)[0], [gradient(&a), gradient(&b)])
    }

    fn close(got: f32, want: f64, tolerance: f64) {
        assert!((f64::from(got) - want).abs() <= tolerance * want.abs().max(1.0), "{got} is not {want}");
    }

    #[test]
    fn hand_arithmetic() {
        // Log-ratios: chosen -10 + 12 = 2, rejected -9 + 8 = -1, so h = 3 and beta h = 0.3 at beta = 0.1.
        let logps = [-10.0, -9.0, -12.0, -8.0];
        // sigma(0.3) = 1 / (1 + e^-0.3) = 0.574442517, its negative logarithm 0.554355244;
        // -log sigma(-0.3) is 0.3 more, 0.854355244.
        let [loss, chosen, rejected] = one(logps, 0.1, &Loss::Sigmoid { label_smoothing: 0.0 });
        close(loss, 0.554_355_244, 1e-6);
        close(chosen, 0.2, 1e-6);
        close(rejected, -0.1, 1e-6);
        // 0.75 * 0.554355244 + 0.25 * 0.854355244 = 0.629355244.
        close(one(logps, 0.1, &Loss::Sigmoid { label_smoothing: 0.25 })[0], 0.629_355_244, 1e-6);
        // 1 / (2 * 0.1) = 5 and (3 - 5)^2 = 4.
        close(one(logps, 0.1, &Loss::Ipo {})[0], 4.0, 1e-6);
        // 1 - 0.1 * 3 = 0.7; at beta 0.5 the margin is 1.5, beyond 1.
        close(one(logps, 0.1, &Loss::Hinge {})[0], 0.7, 1e-6);
        close(one(logps, 0.5, &Loss::Hinge {})[0], 0.0, 1e-6);
        // 10 - 0.5 * 9 = 5.5.
        close(one(logps, 0.1, &Loss::Unlikelihood { alpha: 0.5 })[0], 5.5, 1e-6);
    }

    #[test]
    fn huge_margins_stay_finite() {
        for margin in [-1e3_f32, 1e3] {
            let logps = [margin, 0.0, 0.0, 0.0];
            for loss in &LOSSES {
                let (value, gradient) = with_gradient(logps, 1.0, loss);
                assert!(value.is_finite(), "{loss:?} at {margin} is {value}");
                assert!(
                    gradient.iter().all(|g| g.is_finite()),
                    "{loss:?} at {margin}: gradient {gradient:?}"
                );
            }
            // -log sigma(m) is -m far below zero with slope -1, and 0 far above with slope 0.
            let (value, [slope, _]) = with_gradient(logps, 1.0, &LOSSES[0]);
            close(value, f64::from((-margin).max(0.0)), 1e-6);
            close(slope, if margin < 0.0 { -1.0 } else { 0.0 }, 1e-6);
        }
    }

    #[test]
    fn swapping_responses_swaps_rewards_and_slopes() {
        let logps = [-3.5, -4.25, -3.0, -5.0];
        let swapped = [-4.25, -3.5, -5.0, -3.0];
        for loss in &LOSSES {
            let [_, chosen, rejected] = one(logps, 0.7, loss);
            let [_, swapped_chosen, swapped_rejected] = one(swapped, 0.7, loss);
            assert_eq!((chosen, rejected), (swapped_rejected, swapped_chosen));
        }
        // -log sigma(-m) = -log sigma(m) + m, and the two slopes in m add up to -1 in all.
        let (loss, [slope, other_slope]) = with_gradient(logps, 0.7, &LOSSES[0]);
        let (swapped_loss, [swapped_slope, _]) = with_gradient(swapped, 0.7, &LOSSES[0]);
        // beta h = 0.7 * ((-3.5 + 3) - (-4.25 + 5)) = -0.875.
        close(swapped_loss, f64::from(loss) - 0.875, 1e-6);
        close(slope + swapped_slope, -0.7, 1e-6);
        assert_eq!(slope, -other_slope, "the pair's two slopes cancel");
        // Half smoothing cannot tell the two apart.
        let half = Loss::Sigmoid { label_smoothing: 0.5 };
        close(one(logps, 0.7, &half)[0], f64::from(one(swapped, 0.7, &half)[0]), 1e-6);
    }

    #[test]
    fn half_smoothing_rests_at_margin_zero() {
        let (loss, gradient) =
            with_gradient([-2.0, -7.0, -2.0, -7.0], 0.5, &Loss::Sigmoid { label_smoothing: 0.5 });
        close(loss, std::f64::consts::LN_2, 1e-6);
        assert_eq!(gradient, [0.0, 0.0]);
    }

    /// The equations once more, in f64 and without tensors.
    fn oracle([a, b, c, d]: [f64; 4], beta: f64, loss: &Loss) -> f64 {
        let h = (a - c) - (b - d);
        let nll = |margin: f64| (-margin).exp().ln_1p();
        match *loss {
            Loss::Sigmoid { label_smoothing: e } => (1.0 - e) * nll(beta * h) + e * nll(-beta * h),
            Loss::Ipo {} => (h - 0.5 / beta).powi(2),
            Loss::Hinge {} => (1.0 - beta * h).max(0.0),
            Loss::Unlikelihood { alpha } => -a + alpha * b,
        }
    }

    #[test]
    fn gradients_are_finite_differences() {
        for logps in [[-3.0_f32, -2.5, -2.75, -4.0], [-8.0, -1.0, -2.0, -2.0], [-0.5, -6.0, -3.0, -3.5]] {
            for loss in &LOSSES {
                let (value, gradient) = with_gradient(logps, 0.4, loss);
                let at = logps.map(f64::from);
                close(value, oracle(at, 0.4, loss), 1e-6);
                for (side, got) in gradient.into_iter().enumerate() {
                    let step = |sign: f64| {
                        let mut moved = at;
                        moved[side] += sign * 1e-5;
                        oracle(moved, 0.4, loss)
                    };
                    close(got, (step(1.0) - step(-1.0)) / 2e-5, 1e-5);
                }
            }
        }
    }
}
