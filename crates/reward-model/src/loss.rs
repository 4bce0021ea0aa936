//! The Bradley-Terry loss of scores.

use burn::tensor::Tensor;
use lm::bradley_terry_nll;

/// Loss and margin of preference pairs, each `[B]`.
#[derive(Clone, Debug)]
pub struct RewardLoss {
    /// `-log sigma(r_w - r_l)` of each pair, in nats; their mean is minimised.
    pub loss: Tensor<1>,
    /// `r_w - r_l`, in units of the score.
    pub margin: Tensor<1>,
}

/// The negative log-likelihood of each pair from the scores of its chosen and rejected response, both `[B]`
/// (Rafailov et al. 2023, equation 2). Differentiable in both.
///
/// # Panics
/// If the two tensors differ in length.
pub fn reward_loss(chosen: Tensor<1>, rejected: Tensor<1>) -> RewardLoss {
    assert_eq!(chosen.dims(), rejected.dims(), "scores of chosen and rejected responses differ in number");
    let margin = chosen - rejected;
    RewardLoss { loss: bradley_terry_nll(margin.clone(), 0.0), margin }
}

#[cfg(test)]
mod tests {
    use lm::DeviceSpec;
    use lm::sequences::to_vec;

    use super::*;

    /// Loss, and its slopes in the chosen and the rejected score.
    fn one(chosen: f32, rejected: f32) -> [f32; 3] {
        let device = DeviceSpec::CPU.open().unwrap().autodiff();
        let [chosen, rejected] =
            [chosen, rejected].map(|score| Tensor::<1>::from_floats([score], &device).require_grad());
        let loss = reward_loss(chosen.clone(), rejected.clone()).loss;
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
    fn huge_margins_stay_finite() {
        close(one(500.0, -500.0), [0.0, 0.0, 0.0]);
        close(one(-500.0, 500.0), [1000.0, -1.0, 1.0]);
    }
}
