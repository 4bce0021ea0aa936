//! Log-probabilities of responses and KL estimators: the only place that pairs a hidden state with the next
//! token.

use burn::tensor::Tensor;
use fused::OutputHead;

use crate::architecture::Decoder;
use crate::batch::Batch;
use crate::recompute::{self, Activations, Segments};
use crate::sequences::{ResponseMask, to_vec};

/// `log pi(y_t | x, y_<t)` in nats for every response token: `[B, R]`, exactly zero at padding.
#[derive(Clone, Debug)]
pub struct TokenLogProbs {
    values: Tensor<2>,
    mask: ResponseMask,
}

impl TokenLogProbs {
    /// Wraps values `[B, R]` that are zero at padding.
    ///
    /// # Panics
    /// If values and mask differ in shape.
    pub fn new(values: Tensor<2>, mask: ResponseMask) -> Self {
        assert_eq!(values.dims(), mask.dims(), "log-probs and mask differ in shape");
        Self { values, mask }
    }

    /// The values `[B, R]`.
    pub fn values(&self) -> Tensor<2> {
        self.values.clone()
    }

    /// Which values are real.
    pub fn mask(&self) -> &ResponseMask {
        &self.mask
    }

    /// `log pi(y | x) = sum_t log pi(y_t | x, y_<t)`, `[B]`.
    pub fn sum(self) -> SequenceLogProbs {
        SequenceLogProbs(self.values.sum_dim(1).squeeze_dim(1))
    }
}

/// `log pi(y | x)` in nats for every sequence, `[B]`.
#[derive(Clone, Debug)]
pub struct SequenceLogProbs(pub Tensor<1>);

/// Log-probabilities of the responses of a batch at `temperature`: `softmax(logits / temperature)`. The
/// product with the vocabulary is made at response positions only.
pub(crate) fn token_logprobs(
    model: &Decoder,
    batch: &Batch,
    temperature: f64,
    activations: Activations,
) -> (TokenLogProbs, Segments) {
    let (hidden, segments) = response_hidden(model, batch, activations);
    let (hidden, head) = tempered(hidden, model.head(), temperature);
    let flat = fused::target_logprobs(hidden, head, batch.targets().clone());
    (TokenLogProbs::new(batch.mask().scatter(flat), batch.mask().clone()), segments)
}

/// Hidden states that predict the response tokens, row after row: `[M, d]`.
pub(crate) fn response_hidden(
    model: &Decoder,
    batch: &Batch,
    activations: Activations,
) -> (Tensor<2>, Segments) {
    recompute::hidden(model, (batch.fed(), batch.positions()), activations)
}

/// Scaling the hidden states and the head's bias scales the logits, without touching `[N, V]`.
pub(crate) fn tempered(hidden: Tensor<2>, head: OutputHead, temperature: f64) -> (Tensor<2>, OutputHead) {
    #[expect(clippy::float_cmp, reason = "exactly 1 is the common case, and only that one is free")]
    if temperature == 1.0 {
        return (hidden, head);
    }
    let bias = head.bias.map(|bias| bias / temperature);
    (hidden / temperature, OutputHead { bias, ..head })
}

/// What two policies say of the same responses, token by token, flat `[N]` on the host.
pub(crate) struct TokenKl {
    /// `KL(pi(. | s_t) || pi_ref(. | s_t))` over the whole vocabulary, in nats.
    pub(crate) exact: Vec<f32>,
    /// `log pi(y_t | s_t) - log pi_ref(y_t | s_t)`: the one-sample estimate k1 (Schulman 2020).
    pub(crate) k1: Vec<f32>,
}

/// Exact and sampled KL at every response position of a batch.
pub(crate) fn token_kl(policy: (&Decoder, f64), reference: (&Decoder, f64), batch: &Batch) -> TokenKl {
    let tempered = |(model, temperature): (&Decoder, f64)| {
        let (hidden, _) = response_hidden(model, batch, Activations::Kept);
        tempered(hidden, model.head(), temperature)
    };
    let ((hidden, head), (reference_hidden, reference_head)) = (tempered(policy), tempered(reference));
    let (exact, k1) =
        fused::token_kl(hidden, head, reference_hidden, reference_head, batch.targets().clone());
    TokenKl { exact: to_vec(exact), k1: to_vec(k1) }
}
