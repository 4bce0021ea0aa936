//! What an output head says of the next token: log-probabilities, divergences and draws, without the logits
//! of all rows in memory.

use burn::backend::Dispatch;
use burn::tensor::{Int, Tensor};

use crate::backend::{Inference, Kernels};
use crate::biased::{BiasedInference, BiasedKernels};
use crate::output_head::OutputHead;
use crate::reference;

/// Log-probability in nats of each row's target, `log softmax(logits)[n, targets[n]]` of the head's logits.
///
/// hidden `[N, d]`, head `[V, d]`, targets `[N]` in `0..V`; the result is `[N]`.
///
/// # Panics
/// If the shapes do not agree, or, on the CPU, a target is not in `0..V`. On a GPU such a target counts as
/// `V - 1`: to refuse it, the host would have to wait for the device.
pub fn target_logprobs(hidden: Tensor<2>, head: impl Into<OutputHead>, targets: Tensor<1, Int>) -> Tensor<1> {
    let head = head.into();
    head.check("target_logprobs", &hidden);
    let ([rows, _], [count]) = (hidden.dims(), targets.dims());
    assert!(rows == count, "target_logprobs: hidden has {rows} rows, and there are {count} targets");
    if !head.is_fused() {
        return reference::target_logprobs(hidden, head, targets);
    }
    let (hidden, weight, targets) =
        (hidden.into_dispatch(), head.weight.into_dispatch(), targets.into_dispatch());
    Tensor::from_dispatch(match head.bias {
        None => Dispatch::fused_target_logprobs(hidden, weight, targets),
        Some(bias) => Dispatch::fused_biased_logprobs(hidden, weight, bias.into_dispatch(), targets),
    })
}

/// KL divergence of a policy's next token from a reference's, in nats per row: the exact
/// `sum_v p_v (ln p_v - ln q_v)` and its one-sample estimate k1 `= ln p_y - ln q_y` (Schulman 2020) at the
/// target y, with `p = softmax(logits)` of the head's logits and `q` the same of the reference.
///
/// hidden `[N, d]`, head `[V, d]`, `reference_hidden` `[N, d']`, `reference_head` `[V, d']`, targets `[N]` in
/// `0..V`; both results are `[N]`. Equal logits give exactly 0. Only some rows of the logits `[N, V]` are in
/// memory at a time. It has no gradient: call it on a device without autodiff.
///
/// # Panics
/// If the shapes do not agree, or, on the CPU, a target is not in `0..V`. On a GPU such a target counts as
/// `V - 1`: to refuse it, the host would have to wait for the device.
pub fn token_kl(
    hidden: Tensor<2>,
    head: impl Into<OutputHead>,
    reference_hidden: Tensor<2>,
    reference_head: impl Into<OutputHead>,
    targets: Tensor<1, Int>,
) -> (Tensor<1>, Tensor<1>) {
    let (head, reference_head) = (head.into(), reference_head.into());
    head.check("token_kl", &hidden);
    reference_head.check("token_kl", &reference_hidden);
    let ([rows, _], [vocab, _], [count]) = (hidden.dims(), head.weight.dims(), targets.dims());
    let ([reference_rows, _], [reference_vocab, _]) = (reference_hidden.dims(), reference_head.weight.dims());
    assert!(
        rows == count && reference_rows == count && reference_vocab == vocab,
        "token_kl: the policy has {rows} rows over {vocab} tokens, the reference {reference_rows} over \
         {reference_vocab}, and there are {count} targets"
    );
    if hidden.device().is_autodiff() || !head.is_fused() || !reference_head.is_fused() {
        return reference::token_kl(hidden, head, reference_hidden, reference_head, targets);
    }
    // One bias without the other is beside zeros.
    let biases = (head.bias.is_some() || reference_head.bias.is_some())
        .then(|| [&head, &reference_head].map(OutputHead::bias_or_zeros));
    let [hidden, weight] = [hidden, head.weight].map(Tensor::into_dispatch);
    let [other, other_weight] = [reference_hidden, reference_head.weight].map(Tensor::into_dispatch);
    let targets = targets.into_dispatch();
    let (exact, k1) = match biases.map(|biases| biases.map(Tensor::into_dispatch)) {
        None => Dispatch::fused_token_kl(hidden, weight, other, other_weight, targets),
        Some([bias, other_bias]) => {
            Dispatch::fused_biased_token_kl(hidden, weight, bias, other, other_weight, other_bias, targets)
        }
    };
    (Tensor::from_dispatch(exact), Tensor::from_dispatch(k1))
}

/// Draws one token per row from the softmax of the head's logits by inverting the cumulative distribution at
/// the row's uniform number, and returns the tokens with their log-probabilities in nats.
///
/// hidden `[B, d]`, head `[V, d]`, `B` uniforms in `[0, 1)`; both results are `[B]`. Token v is drawn where
/// `sum_{u<v} p_u <= uniform < sum_{u<=v} p_u`; the sliver that rounding can leave at the end belongs to the
/// last token with a probability above zero. It has no gradient: call it on a device without autodiff.
///
/// # Panics
/// If the shapes do not agree or there are no tokens.
pub fn sample(
    hidden: Tensor<2>,
    head: impl Into<OutputHead>,
    uniforms: &[f64],
) -> (Tensor<1, Int>, Tensor<1>) {
    let head = head.into();
    head.check("sample", &hidden);
    let ([rows, _], [vocab, _]) = (hidden.dims(), head.weight.dims());
    assert!(
        rows == uniforms.len() && vocab > 0,
        "sample: hidden has {rows} rows, there are {} uniform numbers and {vocab} tokens",
        uniforms.len()
    );
    if hidden.device().is_autodiff() || !head.is_fused() {
        return reference::sample(hidden, head, uniforms);
    }
    let [hidden, weight] = [hidden, head.weight].map(Tensor::into_dispatch);
    let (tokens, logprobs) = match head.bias {
        None => Dispatch::fused_sample(hidden, weight, uniforms),
        Some(bias) => Dispatch::fused_biased_sample(hidden, weight, bias.into_dispatch(), uniforms),
    };
    (Tensor::from_dispatch(tokens), Tensor::from_dispatch(logprobs))
}
