//! The Bradley-Terry loss of scores.

use burn::tensor::Tensor;
use lm::{bradley_terry_nll, expected_over_labels};

/// Loss and margin of preference pairs, each `[B]`.
#[derive(Clone, Debug)]
pub struct RewardLoss {
    /// `-p log sigma(r_w - r_l) - (1 - p) log sigma(r_l - r_w)` of each pair, in nats; their mean is
    /// minimised.
    pub loss: Tensor<1>,
    /// `r_w - r_l`, in units of the score.
    pub margin: Tensor<1>,
}

/// The negative log-likelihood of each pair from the scores of its chosen and rejected response and the
/// probability p that the chosen one is better, 1 for a hard label, all `[B]` (Rafailov et al. 2023, equation
/// 2, for p = 1). Differentiable in the scores.
///
/// # Panics
/// If the tensors differ in length.
pub fn reward_loss(chosen: Tensor<1>, rejected: Tensor<1>, probability: Tensor<1>) -> RewardLoss {
    assert_eq!(chosen.dims(), rejected.dims(), "scores of chosen and rejected responses differ in number");
    assert_eq!(chosen.dims(), probability.dims(), "scores and probabilities differ in number");
    let margin = chosen - rejected;
    let [right, flipped] =
        [margin.clone(), margin.clone().neg()].map(|margin| bradley_terry_nll(margin, 0.0));
    RewardLoss { loss: expected_over_labels(probability, right, flipped), margin }
}

#[cfg(test)]
mod tests {
    use lm::DeviceSpec;
    use lm::sequences::to_vec;

    use super::*;

    /// Loss, and its slopes in the chosen and the rejected score.
    fn one(chosen: f32, rejected: f32) -> [f32; 3] {
        soft(chosen, rejected, 1.0)
    }

    fn soft(chosen: f32, rejected: f32, probability: f32) -> [f32; 3] {
        let device = DeviceSpec::CPU.open().unwrap().autodiff();
        let [chosen, rejected] =
            [chosen, rejected].map(|score| Tensor::<1>::from_floats([score], &device).require_grad());
        let probability = Tensor::from_floats([probability], &device);
        let loss = reward_loss(chosen.clone(), rejected.clone(), probability).loss;
        let gradients = loss.backward();
        let slope = |side: Tensor<1>| to_vec(side.grad(&gradients).unwrap())[0];
        [to_vec(loss)[0], slope(chosen), slope(rejected)]
    }

    fn close(got: [f32; 3], want: [f64; 3]) {
        for (got, want) in got.into_iter().zip(want) {
            assert!((f64::from(got) - want).abs() <= 1e-6 * want.abs().max(1.0), "{got} is not {want}");
        }
    }

    #[test]
    fn hand_arithmetic() {
        // Equal scores: ln 2, and sigma(0) = 1/2 of a step each way.
        close(one(3.0, 3.0), [std::f64::consts::LN_2, -0.5, 0.5]);
        // Margin ln 3: sigma = 3/4, so the loss is ln(4/3) and the slope -(1 - 3/4).
        close(one(3.0_f32.ln() - 1.0, -1.0), [(4.0_f64 / 3.0).ln(), -0.25, 0.25]);
        // Swapped: sigma = 1/4.
        close(one(-1.0, 3.0_f32.ln() - 1.0), [4.0_f64.ln(), -0.75, 0.75]);
    }

    #[test]
    fn soft_labels_by_hand() {
        // Margin ln 3 at p = 3/4 is the optimum: the entropy of (3/4, 1/4), and no slope.
        let (margin, optimum) = (3.0_f32.ln(), 0.75 * (4.0_f64 / 3.0).ln() + 0.25 * 4.0_f64.ln());
        close(soft(margin, 0.0, 0.75), [optimum, 0.0, 0.0]);
        // At p = 1/2 the slope is sigma(m) - 1/2.
        close(soft(margin, 0.0, 0.5), [0.5 * (4.0_f64 / 3.0).ln() + 0.5 * 4.0_f64.ln(), 0.25, -0.25]);
        close(soft(500.0, -500.0, 0.75), [250.0, 0.25, -0.25]);
    }

    #[test]
    fn huge_margins_stay_finite() {
        close(one(500.0, -500.0), [0.0, 0.0, 0.0]);
        close(one(-500.0, 500.0), [1000.0, -1.0, 1.0]);
    }
}
