//! Products with weights `[out, in]` and output heads, with a bias: an extension of burn's backends
//! with kernels on flex alone.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::flex::{Flex, FlexTensor};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, backend_extension};

use crate::autodiff::{Saved, Tracked, record, record_saving};
use crate::backend::HostGradients;
use crate::flex::{contiguous, dims, drawn, floats, indices, logprob_sizes, product, tensor};
use crate::kernels::{kl, linear, logprob, sample};

/// The operations of training.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait BiasedKernels: Backend {
    fn fused_affine(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    fn fused_affine_add(
        residual: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
    fn fused_biased_logprobs(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// Those of sampling and evaluation, which have no gradient.
#[backend_extension(Flex)]
pub(crate) trait BiasedInference: Backend {
    fn fused_biased_token_kl(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        reference_hidden: FloatTensor<Self>,
        reference_weight: FloatTensor<Self>,
        reference_bias: FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    fn fused_biased_sample(
        hidden: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        uniforms: &[f64],
    ) -> (IntTensor<Self>, FloatTensor<Self>);
}

/// The backward passes, of contiguous tensors.
pub(crate) trait BiasedGradients: BiasedKernels + HostGradients {
    fn bias_gradient(g: &FloatTensor<Self>) -> FloatTensor<Self>;
    fn biased_logprobs_saving(
        hidden: &FloatTensor<Self>,
        weight: &FloatTensor<Self>,
        bias: &FloatTensor<Self>,
        targets: IntTensor<Self>,
    ) -> (FloatTensor<Self>, Self::Softmax);
    fn biased_logprobs_gradients(
        saved: LogprobSaved<FloatTensor<Self>, Self::Softmax>,
        g: &FloatTensor<Self>,
        needs: [bool; 3],
    ) -> [Option<FloatTensor<Self>>; 3];
}

/// A head with a bias as its kernels take it.
fn head<'a>(weight: &'a FlexTensor, bias: &'a FlexTensor) -> logprob::Head<'a> {
    logprob::Head { weight: floats(weight), bias: Some(floats(bias)) }
}

impl BiasedKernels for Flex {
    fn fused_affine(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        let [x, weight, bias] = [x, weight, bias].map(contiguous);
        product(None, &x, &weight, Some(&bias))
    }

    fn fused_affine_add(
        residual: FlexTensor,
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
    ) -> FlexTensor {
        let [residual, x, weight, bias] = [residual, x, weight, bias].map(contiguous);
        product(Some(&residual), &x, &weight, Some(&bias))
    }

    fn fused_biased_logprobs(
        hidden: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        targets: FlexTensor,
    ) -> FlexTensor {
        let [hidden, weight, bias] = [hidden, weight, bias].map(contiguous);
        let n = logprob_sizes(&hidden, &weight);
        let (head, targets) = (head(&weight, &bias), indices(&targets, n.vocab));
        let inputs = logprob::Inputs { hidden: floats(&hidden), head, targets: &targets, n };
        tensor(logprob::forward(inputs), [n.rows])
    }
}

impl BiasedInference for Flex {
    fn fused_biased_token_kl(
        hidden: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        reference_hidden: FlexTensor,
        reference_weight: FlexTensor,
        reference_bias: FlexTensor,
        targets: FlexTensor,
    ) -> (FlexTensor, FlexTensor) {
        let policy = [hidden, weight, bias].map(contiguous);
        let reference = [reference_hidden, reference_weight, reference_bias].map(contiguous);
        let [policy, reference] = [&policy, &reference].map(|[hidden, weight, bias]| kl::Policy {
            hidden: floats(hidden),
            head: head(weight, bias),
            n: logprob_sizes(hidden, weight),
        });
        let targets = indices(&targets, policy.n.vocab);
        let (exact, k1) = kl::forward(policy, reference, &targets);
        (tensor(exact, [targets.len()]), tensor(k1, [targets.len()]))
    }

    fn fused_biased_sample(
        hidden: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        uniforms: &[f64],
    ) -> (FlexTensor, FlexTensor) {
        let [hidden, weight, bias] = [hidden, weight, bias].map(contiguous);
        let n = logprob_sizes(&hidden, &weight);
        drawn(sample::forward(floats(&hidden), head(&weight, &bias), uniforms, n))
    }
}

impl BiasedGradients for Flex {
    fn bias_gradient(g: &FlexTensor) -> FlexTensor {
        let [rows, outputs] = dims(g);
        let n = linear::Sizes { rows, inputs: 0, outputs };
        tensor(linear::bias_gradient(floats(g), n), [outputs])
    }

    fn biased_logprobs_saving(
        hidden: &FlexTensor,
        weight: &FlexTensor,
        bias: &FlexTensor,
        targets: FlexTensor,
    ) -> (FlexTensor, Self::Softmax) {
        let n = logprob_sizes(hidden, weight);
        let targets = indices(&targets, n.vocab);
        let inputs =
            logprob::Inputs { hidden: floats(hidden), head: head(weight, bias), targets: &targets, n };
        let (logprobs, softmax) = logprob::forward_saving(inputs);
        (tensor(logprobs, [n.rows]), (targets, Arc::new(softmax)))
    }

    fn biased_logprobs_gradients(
        saved: LogprobSaved<FlexTensor, Self::Softmax>,
        g: &FlexTensor,
        needs: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let LogprobSaved { hidden, weight, bias, softmax: (targets, softmax) } = saved;
        let n = logprob_sizes(&hidden, &weight);
        let inputs =
            logprob::Inputs { hidden: floats(&hidden), head: head(&weight, &bias), targets: &targets, n };
        let [dh, dw, db] = logprob::backward(inputs, &softmax, floats(g), needs);
        [
            dh.map(|g| tensor(g, [n.rows, n.d])),
            dw.map(|g| tensor(g, [n.vocab, n.d])),
            db.map(|g| tensor(g, [n.vocab])),
        ]
    }
}

#[derive(Clone, Debug)]
struct AffineSaved<T> {
    x: T,
    weight: T,
}

impl<B: BiasedGradients> Saved<B, 3> for AffineSaved<FloatTensor<B>> {
    fn gradients(self, g: FloatTensor<B>, [x, weight, bias]: [bool; 3]) -> [Option<FloatTensor<B>>; 3] {
        let [dx, dw] = B::product_gradients(&self.x, &self.weight, &g, [x, weight]);
        [dx, dw, bias.then(|| B::bias_gradient(&g))]
    }
}

#[derive(Clone, Debug)]
struct AffineAddSaved<T>(AffineSaved<T>);

impl<B: BiasedGradients> Saved<B, 4> for AffineAddSaved<FloatTensor<B>> {
    fn gradients(
        self,
        g: FloatTensor<B>,
        [residual, x, weight, bias]: [bool; 4],
    ) -> [Option<FloatTensor<B>>; 4] {
        let [dx, dw, db] = Saved::<B, 3>::gradients(self.0, g.clone(), [x, weight, bias]);
        [residual.then_some(g), dx, dw, db]
    }
}

/// What [`BiasedKernels::fused_biased_logprobs`] keeps.
#[derive(Clone, Debug)]
pub(crate) struct LogprobSaved<T, S> {
    hidden: T,
    weight: T,
    bias: T,
    softmax: S,
}

impl<B: BiasedGradients> Saved<B, 3> for LogprobSaved<FloatTensor<B>, B::Softmax> {
    fn gradients(self, g: FloatTensor<B>, needs: [bool; 3]) -> [Option<FloatTensor<B>>; 3] {
        B::biased_logprobs_gradients(self, &g, needs)
    }
}

impl<B: BiasedGradients, C: CheckpointStrategy> BiasedKernels for Autodiff<B, C> {
    fn fused_affine(x: Tracked<B, C>, weight: Tracked<B, C>, bias: Tracked<B, C>) -> Tracked<B, C> {
        record::<B, C, _, _>(
            [x, weight, bias],
            |[x, weight, _]| AffineSaved { x: x.clone(), weight: weight.clone() },
            |[x, weight, bias]| B::fused_affine(x, weight, bias),
        )
    }

    fn fused_affine_add(
        residual: Tracked<B, C>,
        x: Tracked<B, C>,
        weight: Tracked<B, C>,
        bias: Tracked<B, C>,
    ) -> Tracked<B, C> {
        record::<B, C, _, _>(
            [residual, x, weight, bias],
            |[_, x, weight, _]| AffineAddSaved(AffineSaved { x: x.clone(), weight: weight.clone() }),
            |[residual, x, weight, bias]| B::fused_affine_add(residual, x, weight, bias),
        )
    }

    fn fused_biased_logprobs(
        hidden: Tracked<B, C>,
        weight: Tracked<B, C>,
        bias: Tracked<B, C>,
        targets: IntTensor<B>,
    ) -> Tracked<B, C> {
        let for_inference = targets.clone();
        record_saving::<B, C, _, _>(
            [hidden, weight, bias],
            |[hidden, weight, bias]| B::fused_biased_logprobs(hidden, weight, bias, for_inference),
            |[hidden, weight, bias]| {
                let (logprobs, softmax) = B::biased_logprobs_saving(&hidden, &weight, &bias, targets);
                (logprobs, LogprobSaved { hidden, weight, bias, softmax })
            },
        )
    }
}
