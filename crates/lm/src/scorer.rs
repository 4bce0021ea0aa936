//! Scores of responses: the trait that ground truths and reward models share, and a scalar head on the language model.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use crate::LmError;
use crate::architecture::Gpt2;
use crate::logprobs::response_hidden;
use crate::policy::{map_batches, map_responses};
use crate::sequences::{Batch, Sequence, check, to_vec};

/// Something that says how good a response is: one number per sequence, higher is better.
///
/// A *score* is what a `Scorer` says; a *reward* is what PPO optimises.
pub trait Scorer: Send + Sync {
    /// Scores in the order of `sequences`.
    ///
    /// # Errors
    /// If a sequence cannot be scored.
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError>;
}

/// `y = h w^T` without bias, named and shaped as `GPT2ForSequenceClassification.score`.
#[derive(Module, Debug)]
struct ScoreHead {
    weight: Param<Tensor<2>>,
}

/// A GPT-2 body with one output a position: a reward model or a value model.
#[derive(Module, Debug)]
pub struct ScalarModel {
    transformer: Gpt2,
    score: ScoreHead,
}

impl ScalarModel {
    /// A body with a zero head: every output is exactly 0 until the first step, whatever the body says.
    pub fn with_zero_head(body: Gpt2) -> Self {
        let device = body.device().without_autodiff();
        let weight = Param::from_tensor(Tensor::zeros([1, body.config().n_embd], &device));
        Self { transformer: body, score: ScoreHead { weight } }
    }

    /// The body.
    pub fn body(&self) -> &Gpt2 {
        &self.transformer
    }

    /// The head's weights `[1, d]`.
    pub fn head(&self) -> Tensor<2> {
        self.score.weight.val()
    }

    /// The device of the weights, with gradients if the model trains.
    pub fn device(&self) -> Device {
        self.transformer.device()
    }

    /// The output at the last real token of each sequence: a batch made by [`Batch::whole`] to `[B]`.
    ///
    /// # Panics
    /// If the batch was made by [`Batch::new`], which does not feed the last token.
    pub fn scores(&self, batch: &Batch) -> Tensor<1> {
        #[allow(clippy::expect_used, reason = "documented panic")]
        let last = batch.last().expect("a batch made by Batch::whole");
        self.project(self.transformer.hidden(batch.fed(), Some(last)))
    }

    /// The output at the state before each response token, `V(x, y_<t)`: `[B, R]`, zero at padding.
    pub fn values(&self, batch: &Batch) -> Tensor<2> {
        let flat = self.project(response_hidden(&self.transformer, batch));
        batch.mask().scatter(flat)
    }

    fn project(&self, hidden: Tensor<2>) -> Tensor<1> {
        fused::project(hidden, self.head())
    }

    /// [`ScalarModel::values`] without gradients, ragged rows in the order of `sequences`.
    ///
    /// # Errors
    /// [`LmError::Sequence`] for a sequence that does not fit the model.
    pub fn values_of(&self, sequences: &[Sequence]) -> Result<Vec<Vec<f32>>, LmError> {
        let model = self.fitting(sequences)?;
        let device = model.device();
        Ok(map_responses(sequences, &device, |rows| {
            let batch = Batch::new(rows, &device);
            batch.mask().rows(model.values(&batch))
        }))
    }

    fn fitting(&self, sequences: &[Sequence]) -> Result<Self, LmError> {
        let config = self.transformer.config();
        check(sequences, config.vocab_size, config.n_positions)?;
        Ok(self.valid())
    }
}

impl Scorer for ScalarModel {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        let model = self.fitting(sequences)?;
        let device = model.device();
        Ok(map_batches(sequences, &device, |rows| to_vec(model.scores(&Batch::whole(rows, &device)))))
    }
}
