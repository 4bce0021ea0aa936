//! The backward passes, as burn's autodiff records them.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::{Flex, FlexTensor};
use burn::backend::tensor::FloatTensor;

use crate::Trees;
use crate::backend::{
    Kernels, attention_sizes, contiguous, dims, floats, indices, linear_sizes, logprob_sizes, tensor,
};
use crate::kernels::{attention, embedding, gelu, linear, logprob, norm};

type Tracked<C> = FloatTensor<Autodiff<Flex, C>>;

/// What an operation keeps for its backward pass, and that pass. Kept tensors share their storage
/// with the operation's inputs.
trait Saved<const N: usize>: Clone + Send + Debug + 'static {
    /// Gradients of the `N` inputs, where `needs` asks for them, from that of the output, which is
    /// contiguous.
    fn gradients(self, g: FlexTensor, needs: [bool; N]) -> [Option<FlexTensor>; N];
}

/// Recorded step of an operation that keeps an `S`.
#[derive(Debug)]
struct Step<S>(PhantomData<S>);

impl<S: Saved<N>, const N: usize> Backward<Flex, N> for Step<S> {
    type State = S;

    fn backward(self, ops: Ops<S, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let g = contiguous(grads.consume::<Flex>(&ops.node));
        let needs = ops.parents.each_ref().map(Option::is_some);
        let found = ops.state.gradients(g, needs);
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<Flex>(parent.id, gradient);
            }
        }
    }
}

/// Runs an operation and records it if any input needs a gradient: `forward` also returns what
/// the backward pass needs, `inference` only the result.
fn record<C: CheckpointStrategy, S: Saved<N>, const N: usize>(
    inputs: [Tracked<C>; N],
    inference: impl FnOnce([FlexTensor; N]) -> FlexTensor,
    forward: impl FnOnce([FlexTensor; N]) -> (FlexTensor, S),
) -> Tracked<C> {
    let nodes = inputs.each_ref().map(Tracked::<C>::node);
    let inputs = inputs.map(Tracked::<C>::into_primitive);
    match Step::<S>(PhantomData).prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (output, saved) = forward(inputs.map(contiguous));
            prep.finish(saved, output)
        }
        OpsKind::UnTracked(prep) => prep.finish(inference(inputs)),
    }
}

#[derive(Clone, Debug)]
struct LinearSaved {
    x: FlexTensor,
    weight: FlexTensor,
}

impl Saved<3> for LinearSaved {
    fn gradients(self, g: FlexTensor, [x, weight, bias]: [bool; 3]) -> [Option<FlexTensor>; 3] {
        let n = linear_sizes(&self.x, &self.weight);
        let g = floats(&g);
        let dx = || linear::input_gradient(g, floats(&self.weight), n);
        let dw = || linear::weight_gradient(floats(&self.x), g, n);
        [
            x.then(|| tensor(dx(), [n.rows, n.inputs])),
            weight.then(|| tensor(dw(), [n.inputs, n.outputs])),
            bias.then(|| tensor(linear::bias_gradient(g, n), [n.outputs])),
        ]
    }
}

#[derive(Clone, Debug)]
struct LinearAddSaved(LinearSaved);

impl Saved<4> for LinearAddSaved {
    fn gradients(self, g: FlexTensor, [residual, x, weight, bias]: [bool; 4]) -> [Option<FlexTensor>; 4] {
        let [dx, dw, db] = self.0.gradients(g.clone(), [x, weight, bias]);
        [residual.then_some(g), dx, dw, db]
    }
}

#[derive(Clone, Debug)]
struct NormSaved {
    x: FlexTensor,
    gamma: FlexTensor,
    eps: f64,
}

impl Saved<3> for NormSaved {
    fn gradients(self, g: FlexTensor, needs: [bool; 3]) -> [Option<FlexTensor>; 3] {
        let [rows, d] = dims(&self.x);
        let grads = norm::backward(floats(&self.x), floats(&self.gamma), floats(&g), self.eps as f32);
        [
            needs[0].then(|| tensor(grads.x, [rows, d])),
            needs[1].then(|| tensor(grads.gamma, [d])),
            needs[2].then(|| tensor(grads.beta, [d])),
        ]
    }
}

#[derive(Clone, Debug)]
struct GeluSaved {
    x: FlexTensor,
}

impl Saved<1> for GeluSaved {
    fn gradients(self, g: FlexTensor, [x]: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let shape = self.x.layout().shape().clone();
        [x.then(|| tensor(gelu::backward(floats(&self.x), floats(&g)), shape))]
    }
}

#[derive(Clone, Debug)]
struct AttentionSaved {
    qkv: FlexTensor,
    trees: Trees,
    heads: usize,
}

impl Saved<1> for AttentionSaved {
    fn gradients(self, g: FlexTensor, [qkv]: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let n = attention_sizes(&self.qkv, self.heads);
        let shape = self.qkv.layout().shape().clone();
        [qkv.then(|| tensor(attention::backward(floats(&self.qkv), floats(&g), &self.trees, n), shape))]
    }
}

#[derive(Clone, Debug)]
struct LogprobSaved {
    hidden: FlexTensor,
    head: FlexTensor,
    targets: Vec<usize>,
    softmax: Arc<logprob::Saved>,
}

impl Saved<2> for LogprobSaved {
    fn gradients(self, g: FlexTensor, needs: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let n = logprob_sizes(&self.hidden, &self.head);
        let inputs = logprob::Inputs {
            hidden: floats(&self.hidden),
            head: floats(&self.head),
            targets: &self.targets,
            n,
        };
        let [hidden, head] = logprob::backward(inputs, &self.softmax, floats(&g), needs);
        [hidden.map(|h| tensor(h, [n.rows, n.d])), head.map(|h| tensor(h, [n.vocab, n.d]))]
    }
}

#[derive(Clone, Debug)]
struct EmbeddingSaved {
    ids: Vec<usize>,
    rows: usize,
}

impl Saved<1> for EmbeddingSaved {
    fn gradients(self, g: FlexTensor, [table]: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let [_, d] = dims(&g);
        let gradient = || embedding::backward(floats(&g), &self.ids, self.rows, d);
        [table.then(|| tensor(gradient(), [self.rows, d]))]
    }
}

impl<C: CheckpointStrategy> Kernels for Autodiff<Flex, C> {
    fn fused_linear(x: Tracked<C>, weight: Tracked<C>, bias: Tracked<C>) -> Tracked<C> {
        record::<C, _, _>(
            [x, weight, bias],
            |[x, weight, bias]| Flex::fused_linear(x, weight, bias),
            |[x, weight, bias]| {
                let saved = LinearSaved { x: x.clone(), weight: weight.clone() };
                (Flex::fused_linear(x, weight, bias), saved)
            },
        )
    }

    fn fused_linear_add(
        residual: Tracked<C>,
        x: Tracked<C>,
        weight: Tracked<C>,
        bias: Tracked<C>,
    ) -> Tracked<C> {
        record::<C, _, _>(
            [residual, x, weight, bias],
            |[residual, x, weight, bias]| Flex::fused_linear_add(residual, x, weight, bias),
            |[residual, x, weight, bias]| {
                let saved = LinearAddSaved(LinearSaved { x: x.clone(), weight: weight.clone() });
                (Flex::fused_linear_add(residual, x, weight, bias), saved)
            },
        )
    }

    fn fused_layer_norm(x: Tracked<C>, gamma: Tracked<C>, beta: Tracked<C>, eps: f64) -> Tracked<C> {
        record::<C, _, _>(
            [x, gamma, beta],
            |[x, gamma, beta]| Flex::fused_layer_norm(x, gamma, beta, eps),
            |[x, gamma, beta]| {
                let saved = NormSaved { x: x.clone(), gamma: gamma.clone(), eps };
                (Flex::fused_layer_norm(x, gamma, beta, eps), saved)
            },
        )
    }

    fn fused_gelu(x: Tracked<C>) -> Tracked<C> {
        record::<C, _, _>(
            [x],
            |[x]| Flex::fused_gelu(x),
            |[x]| (Flex::fused_gelu(x.clone()), GeluSaved { x }),
        )
    }

    fn fused_causal_attention(qkv: Tracked<C>, trees: Trees, heads: usize) -> Tracked<C> {
        let for_inference = trees.clone();
        record::<C, _, _>(
            [qkv],
            |[qkv]| Flex::fused_causal_attention(qkv, for_inference, heads),
            |[qkv]| {
                let saved = AttentionSaved { qkv: qkv.clone(), trees: trees.clone(), heads };
                (Flex::fused_causal_attention(qkv, trees, heads), saved)
            },
        )
    }

    fn fused_target_logprobs(hidden: Tracked<C>, head: Tracked<C>, targets: FlexTensor) -> Tracked<C> {
        let for_inference = targets.clone();
        record::<C, _, _>(
            [hidden, head],
            |[hidden, head]| Flex::fused_target_logprobs(hidden, head, for_inference),
            |[hidden, head]| {
                let n = logprob_sizes(&hidden, &head);
                let targets = indices(&targets, n.vocab);
                let (logprobs, softmax) = logprob::forward_saving(logprob::Inputs {
                    hidden: floats(&hidden),
                    head: floats(&head),
                    targets: &targets,
                    n,
                });
                let softmax = Arc::new(softmax);
                (tensor(logprobs, [n.rows]), LogprobSaved { hidden, head, targets, softmax })
            },
        )
    }

    fn fused_embedding(table: Tracked<C>, ids: FlexTensor) -> Tracked<C> {
        let for_inference = ids.clone();
        record::<C, _, _>(
            [table],
            |[table]| Flex::fused_embedding(table, for_inference),
            |[table]| {
                let [rows, _] = dims(&table);
                let saved = EmbeddingSaved { ids: indices(&ids, rows), rows };
                (Flex::fused_embedding(table, ids), saved)
            },
        )
    }
}
