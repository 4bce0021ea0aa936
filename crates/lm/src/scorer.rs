//! Scores of responses: the trait that ground truths and reward models share, and a scalar
//! head on the language model.

use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};

use crate::LmError;
use crate::architecture::Decoder;
use crate::batch::{Batch, WholeBatch};
use crate::logprobs::response_hidden;
use crate::policy::{map_batches, map_responses};
use crate::random::{Stream, normals};
use crate::recompute::{self, Activations, Segments};
use crate::sequences::{Sequence, check, to_vec};

/// Something that says how good a response is: one number per sequence, higher is better.
///
/// A *score* is what a `Scorer` says; a *reward* is what PPO optimises.
pub trait Scorer: Send + Sync {
    /// Scores in the order of `sequences`.
    ///
    /// # Errors
    /// If a sequence cannot be scored.
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError>;

    /// The same scores before they are rounded to f32, where the scorer has computed in f64; what computes on
    /// with scores asks for these.
    ///
    /// # Errors
    /// As [`Scorer::score`].
    fn score_f64(&self, sequences: &[Sequence]) -> Result<Vec<f64>, LmError> {
        Ok(self.score(sequences)?.into_iter().map(f64::from).collect())
    }
}

impl<S: Scorer + ?Sized> Scorer for Box<S> {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        self.as_ref().score(sequences)
    }

    fn score_f64(&self, sequences: &[Sequence]) -> Result<Vec<f64>, LmError> {
        self.as_ref().score_f64(sequences)
    }
}

impl<S: Scorer + ?Sized> Scorer for Arc<S> {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        self.as_ref().score(sequences)
    }

    fn score_f64(&self, sequences: &[Sequence]) -> Result<Vec<f64>, LmError> {
        self.as_ref().score_f64(sequences)
    }
}

/// `y = h w^T` without bias, as `score` in Hugging Face's `...ForSequenceClassification`.
#[derive(Module, Debug)]
struct ScoreHead {
    weight: Param<Tensor<2>>,
}

/// A decoder with one output per position: a reward model or a value model.
#[derive(Module, Debug)]
pub struct ScalarModel {
    body: Decoder,
    score: ScoreHead,
}

impl ScalarModel {
    /// A body with a head of d weights.
    pub(crate) fn new(body: Decoder, head: Vec<f32>) -> Self {
        let body = body.without_head();
        let data = TensorData::new(head, [1, body.shape().width]);
        let weight = Param::from_tensor(Tensor::from_data(data, &body.device().without_autodiff()));
        Self { body, score: ScoreHead { weight } }
    }

    /// A body with a zero head: every output is exactly 0 until the first step, whatever the body says.
    pub fn with_zero_head(body: Decoder) -> Self {
        let width = body.shape().width;
        Self::new(body, vec![0.0; width])
    }

    /// A body with a random head, N(0, 1 / (d + 1)), as in Stiennon et al. 2020 (appendix B.1).
    ///
    /// A zero head would give the body no gradient at the first step. With this one the scores of different
    /// responses start about as far apart as the final norm's outputs are.
    pub fn with_random_head(body: Decoder, stream: Stream) -> Self {
        let width = body.shape().width;
        let std = (width as f64 + 1.0).sqrt().recip();
        // Of each pair of draws the first: one position of the stream per weight.
        let draws = normals(2 * width, std, &mut stream.rng());
        Self::new(body, draws.into_iter().step_by(2).collect())
    }

    /// The body.
    pub fn body(&self) -> &Decoder {
        &self.body
    }

    /// The head's weights `[1, d]`.
    pub fn head(&self) -> Tensor<2> {
        self.score.weight.val()
    }

    /// The device of the weights, with gradients if the model trains.
    pub fn device(&self) -> Device {
        self.body.device()
    }

    /// The output at the last token of each sequence, `[B]`.
    pub fn scores(&self, batch: &WholeBatch) -> Tensor<1> {
        self.training_scores(batch, Activations::Kept).0
    }

    /// The same in a step that trains the model, and what the graph of a loss on them lacks.
    pub fn training_scores(&self, batch: &WholeBatch, activations: Activations) -> (Tensor<1>, Segments) {
        let (hidden, segments) =
            recompute::hidden(&self.body, (batch.fed(), Some(batch.last())), activations);
        (self.project(hidden), segments)
    }

    /// The output at the state before each response token, `V(x, y_<t)`: `[B, R]`, zero at padding.
    pub fn values(&self, batch: &Batch) -> Tensor<2> {
        self.training_values(batch, Activations::Kept).0
    }

    /// The same in a step that trains the model, and what the graph of a loss on them lacks.
    pub fn training_values(&self, batch: &Batch, activations: Activations) -> (Tensor<2>, Segments) {
        let (hidden, segments) = response_hidden(&self.body, batch, activations);
        (batch.mask().scatter(self.project(hidden)), segments)
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
        let shape = self.body.shape();
        check(sequences, shape.vocabulary, shape.context)?;
        Ok(self.valid())
    }
}

impl Scorer for ScalarModel {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        let model = self.fitting(sequences)?;
        let device = model.device();
        Ok(map_batches(sequences, &device, |rows| to_vec(model.scores(&WholeBatch::new(rows, &device)))))
    }
}
