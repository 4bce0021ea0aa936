//! Preference pairs and the Bradley-Terry likelihood, shared by the reward model and DPO.

use std::collections::HashMap;
use std::ops::Range;

use burn::tensor::activation::log_sigmoid;
use burn::tensor::{Int, Tensor, TensorData};

use crate::sequences::Sequence;

/// A prompt with a response that is preferred over another.
///
/// A loss on a pair is the mean of its two labels: `p loss(y_w over y_l) + (1 - p) loss(y_l over y_w)`, p its
/// [`PreferencePair::probability`].
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct PreferencePair {
    /// Token ids of the prompt, begin token first.
    pub prompt: Vec<u32>,
    /// Token ids of the preferred response.
    pub chosen: Vec<u32>,
    /// Token ids of the other response.
    pub rejected: Vec<u32>,
    /// The probability that `chosen` is the better one, one half to 1; 1, also where a file does not say it,
    /// for a label that is taken at its word.
    #[serde(default = "certain")]
    pub probability: f32,
}

fn certain() -> f32 {
    1.0
}

impl PreferencePair {
    /// Prompt and chosen response.
    pub fn chosen_sequence(&self) -> Sequence {
        Sequence { prompt: self.prompt.clone(), response: self.chosen.clone() }
    }

    /// Whether the probability is one: one half to 1. Below one half the labels would mean their opposite.
    pub fn has_possible_probability(&self) -> bool {
        (0.5..=1.0).contains(&self.probability)
    }

    /// Prompt and rejected response.
    pub fn rejected_sequence(&self) -> Sequence {
        Sequence { prompt: self.prompt.clone(), response: self.rejected.clone() }
    }
}

/// The distinct responses of a list of pairs, so that each passes a model once: n responses to a prompt make
/// n (n - 1) / 2 pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct DistinctResponses {
    /// Each response with its prompt, in the order of their first pairs.
    pub sequences: Vec<Sequence>,
    /// For each pair, the index of the response that it prefers.
    pub chosen: Vec<usize>,
    /// For each pair, the index of the other.
    pub rejected: Vec<usize>,
}

impl DistinctResponses {
    /// Lists what occurs in `pairs`; the same tokens after different prompts are different responses.
    pub fn of<'a>(pairs: impl IntoIterator<Item = &'a PreferencePair>) -> Self {
        let mut known: HashMap<(&[u32], &[u32]), usize> = HashMap::new();
        let (mut sequences, mut chosen, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
        for pair in pairs {
            for (response, side) in [(&pair.chosen, &mut chosen), (&pair.rejected, &mut rejected)] {
                let place = known.entry((pair.prompt.as_slice(), response.as_slice())).or_insert_with(|| {
                    sequences.push(Sequence { prompt: pair.prompt.clone(), response: response.clone() });
                    sequences.len() - 1
                });
                side.push(*place);
            }
        }
        Self { sequences, chosen, rejected }
    }

    /// Hands one value for each distinct response out to the pairs: to the chosen, and to the rejected.
    ///
    /// # Panics
    /// If there are fewer values than responses.
    pub fn spread<T: Copy>(&self, values: &[T]) -> (Vec<T>, Vec<T>) {
        let pick = |indices: &[usize]| indices.iter().map(|&index| values[index]).collect();
        (pick(&self.chosen), pick(&self.rejected))
    }

    /// The same for a tensor with one value for each distinct response, `[N]`: that of the chosen and of the
    /// rejected response of each pair, `[B]` each, with gradients.
    pub fn paired(&self, values: &Tensor<1>) -> [Tensor<1>; 2] {
        [&self.chosen, &self.rejected].map(|side| {
            let indices: Vec<i32> = side.iter().map(|&index| index as i32).collect();
            let indices = TensorData::new(indices, [side.len()]);
            // Not `select`, whose gradient is one thread for all pairs on a GPU.
            values.clone().gather(0, Tensor::<1, Int>::from_data(indices, &values.device()))
        })
    }

    /// Tokens of the distinct responses with their prompts.
    pub fn tokens(&self) -> u64 {
        self.sequences.iter().map(|sequence| sequence.len() as u64).sum()
    }
}

/// Runs of pairs with the same prompt, which often share responses: n responses to a prompt make n (n - 1) /
/// 2 pairs. Drawn together, each response passes the model once for all its pairs, and a pass over the pairs
/// shows each response once (Ouyang et al. 2022, arXiv 2203.02155, section 3.5, for the reward model).
pub fn by_prompt(pairs: &[PreferencePair]) -> Vec<Range<usize>> {
    let mut end = 0;
    pairs
        .chunk_by(|a, b| a.prompt == b.prompt)
        .map(|run| {
            end += run.len();
            end - run.len()..end
        })
        .collect()
}

/// The loss of soft labels, `[B]`: `p loss(y_w over y_l) + (1 - p) loss(y_l over y_w)`, p the probability
/// `[B]` that the chosen response is the better one. `right` is the loss of the label as it is, `flipped`
/// that of the opposite label.
pub fn expected_over_labels(probability: Tensor<1>, right: Tensor<1>, flipped: Tensor<1>) -> Tensor<1> {
    right * probability.clone() + flipped * (probability.neg() + 1.0)
}

/// Negative log-likelihood of preferences under the Bradley-Terry model, per pair `[B]` in nats:
///
/// `-(1 - eps) log sigma(margin) - eps log sigma(-margin)`
///
/// `margin = r(x, y_w) - r(x, y_l)` in the units of the reward, eps the probability that a label is flipped.
/// The reward model applies it to scores (Rafailov et al. 2023, equation 2), DPO to implicit rewards
/// (equation 7); eps > 0 is conservative DPO (Mitchell 2023). That probability is the same for all pairs; for
/// one of each pair's own see [`expected_over_labels`].
pub fn bradley_terry_nll(margin: Tensor<1>, label_smoothing: f64) -> Tensor<1> {
    let right = log_sigmoid(margin.clone()).neg();
    if label_smoothing == 0.0 {
        return right;
    }
    right * (1.0 - label_smoothing) + log_sigmoid(margin.neg()).neg() * label_smoothing
}
