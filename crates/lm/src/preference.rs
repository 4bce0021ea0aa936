//! Preference pairs and the Bradley-Terry likelihood, shared by the reward model and DPO.

use burn::tensor::Tensor;
use burn::tensor::activation::log_sigmoid;

use crate::sequences::Sequence;

/// A prompt with a response that is preferred over another.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PreferencePair {
    /// Token ids of the prompt, begin token first.
    pub prompt: Vec<u32>,
    /// Token ids of the preferred response.
    pub chosen: Vec<u32>,
    /// Token ids of the other response.
    pub rejected: Vec<u32>,
}

impl PreferencePair {
    /// Prompt and chosen response.
    pub fn chosen_sequence(&self) -> Sequence {
        Sequence { prompt: self.prompt.clone(), response: self.chosen.clone() }
    }

    /// Prompt and rejected response.
    pub fn rejected_sequence(&self) -> Sequence {
        Sequence { prompt: self.prompt.clone(), response: self.rejected.clone() }
    }
}

/// Negative log-likelihood of preferences under the Bradley-Terry model, per pair `[B]` in nats:
///
/// `-(1 - eps) log sigma(margin) - eps log sigma(-margin)`
///
/// `margin = r(x, y_w) - r(x, y_l)` in the units of the reward, eps the probability that a label is flipped.
/// The reward model applies it to scores (Rafailov et al. 2023, equation 2), DPO to implicit rewards (equation 7);
/// eps > 0 is conservative DPO (Mitchell 2023).
pub fn bradley_terry_nll(margin: Tensor<1>, label_smoothing: f64) -> Tensor<1> {
    let right = log_sigmoid(margin.clone()).neg();
    if label_smoothing == 0.0 {
        return right;
    }
    right * (1.0 - label_smoothing) + log_sigmoid(margin.neg()).neg() * label_smoothing
}
