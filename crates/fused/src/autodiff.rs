//! The backward passes as burn's autodiff records them, the same for every backend with kernels.

use std::fmt::Debug;
use std::marker::PhantomData;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, TensorMetadata};

use crate::Packing;
use crate::backend::{Gradients, Kernels};
use crate::heads::Heads;

mod llama;

pub(crate) type Tracked<B, C> = FloatTensor<Autodiff<B, C>>;

/// What an operation keeps for its backward pass, and that pass. Kept tensors share their storage
/// with the operation's inputs.
pub(crate) trait Saved<B: Gradients, const N: usize>: Clone + Send + Debug + 'static {
    /// Gradients of those of the `N` inputs that `needs` marks, from the gradient of the output, which is
    /// contiguous.
    fn gradients(self, g: FloatTensor<B>, needs: [bool; N]) -> [Option<FloatTensor<B>>; N];
}

/// An operation on the tape; it keeps an `S`.
#[derive(Debug)]
struct Step<S>(PhantomData<S>);

impl<B: Gradients, S: Saved<B, N>, const N: usize> Backward<B, N> for Step<S> {
    type State = S;

    fn backward(self, ops: Ops<S, N>, grads: &mut grads::Gradients, _: &mut Checkpointer) {
        let g = B::contiguous(grads.consume::<B>(&ops.node));
        let needs = ops.parents.each_ref().map(Option::is_some);
        let found = ops.state.gradients(g, needs);
        for (parent, gradient) in ops.parents.into_iter().zip(found) {
            if let (Some(parent), Some(gradient)) = (parent, gradient) {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}

/// Runs an operation and records it if any input needs a gradient, with what `keep` takes of the
/// inputs for the backward pass.
pub(crate) fn record<B: Gradients, C: CheckpointStrategy, S: Saved<B, N>, const N: usize>(
    inputs: [Tracked<B, C>; N],
    keep: impl FnOnce(&[FloatTensor<B>; N]) -> S,
    operation: impl FnOnce([FloatTensor<B>; N]) -> FloatTensor<B>,
) -> Tracked<B, C> {
    let nodes = inputs.each_ref().map(Tracked::<B, C>::node);
    let inputs = inputs.map(Tracked::<B, C>::into_primitive);
    match Step::<S>(PhantomData).prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let inputs = inputs.map(B::contiguous);
            let saved = keep(&inputs);
            prep.finish(saved, operation(inputs))
        }
        OpsKind::UnTracked(prep) => prep.finish(operation(inputs)),
    }
}

/// The same of an operation that computes more where it is recorded: `forward` also returns what the backward
/// pass needs, `inference` only the result.
pub(crate) fn record_saving<B: Gradients, C: CheckpointStrategy, S: Saved<B, N>, const N: usize>(
    inputs: [Tracked<B, C>; N],
    inference: impl FnOnce([FloatTensor<B>; N]) -> FloatTensor<B>,
    forward: impl FnOnce([FloatTensor<B>; N]) -> (FloatTensor<B>, S),
) -> Tracked<B, C> {
    let nodes = inputs.each_ref().map(Tracked::<B, C>::node);
    let inputs = inputs.map(Tracked::<B, C>::into_primitive);
    match Step::<S>(PhantomData).prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (output, saved) = forward(inputs.map(B::contiguous));
            prep.finish(saved, output)
        }
        OpsKind::UnTracked(prep) => prep.finish(inference(inputs)),
    }
}

#[derive(Clone, Debug)]
struct LinearSaved<T> {
    x: T,
    weight: T,
}

impl<B: Gradients> Saved<B, 3> for LinearSaved<FloatTensor<B>> {
    fn gradients(self, g: FloatTensor<B>, needs: [bool; 3]) -> [Option<FloatTensor<B>>; 3] {
        B::linear_gradients(&self.x, &self.weight, &g, needs)
    }
}

#[derive(Clone, Debug)]
struct LinearAddSaved<T>(LinearSaved<T>);

impl<B: Gradients> Saved<B, 4> for LinearAddSaved<FloatTensor<B>> {
    fn gradients(
        self,
        g: FloatTensor<B>,
        [residual, x, weight, bias]: [bool; 4],
    ) -> [Option<FloatTensor<B>>; 4] {
        let [dx, dw, db] = B::linear_gradients(&self.0.x, &self.0.weight, &g, [x, weight, bias]);
        [residual.then_some(g), dx, dw, db]
    }
}

#[derive(Clone, Debug)]
struct NormSaved<T> {
    x: T,
    gamma: T,
    eps: f64,
}

impl<B: Gradients> Saved<B, 3> for NormSaved<FloatTensor<B>> {
    fn gradients(self, g: FloatTensor<B>, needs: [bool; 3]) -> [Option<FloatTensor<B>>; 3] {
        B::layer_norm_gradients(&self.x, &self.gamma, self.eps, &g, needs)
    }
}

#[derive(Clone, Debug)]
struct GeluSaved<T> {
    x: T,
}

impl<B: Gradients> Saved<B, 1> for GeluSaved<FloatTensor<B>> {
    fn gradients(self, g: FloatTensor<B>, [x]: [bool; 1]) -> [Option<FloatTensor<B>>; 1] {
        [x.then(|| B::gelu_gradient(&self.x, &g))]
    }
}

#[derive(Clone, Debug)]
struct AttentionSaved<T> {
    qkv: T,
    packing: Packing,
    heads: Heads,
}

impl<B: Gradients> Saved<B, 1> for AttentionSaved<FloatTensor<B>> {
    fn gradients(self, g: FloatTensor<B>, [qkv]: [bool; 1]) -> [Option<FloatTensor<B>>; 1] {
        [qkv.then(|| B::causal_attention_gradient(&self.qkv, &self.packing, self.heads, &g))]
    }
}

#[derive(Clone, Debug)]
struct LogprobSaved<T, S> {
    hidden: T,
    head: T,
    softmax: S,
}

impl<B: Gradients> Saved<B, 2> for LogprobSaved<FloatTensor<B>, B::Softmax> {
    fn gradients(self, g: FloatTensor<B>, needs: [bool; 2]) -> [Option<FloatTensor<B>>; 2] {
        B::target_logprobs_gradients(&self.hidden, &self.head, self.softmax, &g, needs)
    }
}

#[derive(Clone, Debug)]
struct EmbeddingSaved<I> {
    ids: I,
    rows: usize,
}

impl<B: Gradients> Saved<B, 1> for EmbeddingSaved<IntTensor<B>> {
    fn gradients(self, g: FloatTensor<B>, [table]: [bool; 1]) -> [Option<FloatTensor<B>>; 1] {
        [table.then(|| B::embedding_gradient(&self.ids, self.rows, &g))]
    }
}

impl<B: Gradients, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    fn fused_linear(x: Tracked<B, C>, weight: Tracked<B, C>, bias: Tracked<B, C>) -> Tracked<B, C> {
        record::<B, C, _, _>(
            [x, weight, bias],
            |[x, weight, _]| LinearSaved { x: x.clone(), weight: weight.clone() },
            |[x, weight, bias]| B::fused_linear(x, weight, bias),
        )
    }

    fn fused_linear_add(
        residual: Tracked<B, C>,
        x: Tracked<B, C>,
        weight: Tracked<B, C>,
        bias: Tracked<B, C>,
    ) -> Tracked<B, C> {
        record::<B, C, _, _>(
            [residual, x, weight, bias],
            |[_, x, weight, _]| LinearAddSaved(LinearSaved { x: x.clone(), weight: weight.clone() }),
            |[residual, x, weight, bias]| B::fused_linear_add(residual, x, weight, bias),
        )
    }

    fn fused_layer_norm(
        x: Tracked<B, C>,
        gamma: Tracked<B, C>,
        beta: Tracked<B, C>,
        eps: f64,
    ) -> Tracked<B, C> {
        record::<B, C, _, _>(
            [x, gamma, beta],
            |[x, gamma, _]| NormSaved { x: x.clone(), gamma: gamma.clone(), eps },
            |[x, gamma, beta]| B::fused_layer_norm(x, gamma, beta, eps),
        )
    }

    fn fused_gelu(x: Tracked<B, C>) -> Tracked<B, C> {
        record::<B, C, _, _>([x], |[x]| GeluSaved { x: x.clone() }, |[x]| B::fused_gelu(x))
    }

    fn fused_causal_attention(qkv: Tracked<B, C>, packing: Packing, heads: Heads) -> Tracked<B, C> {
        let kept = packing.clone();
        record::<B, C, _, _>(
            [qkv],
            |[qkv]| AttentionSaved { qkv: qkv.clone(), packing: kept, heads },
            |[qkv]| B::fused_causal_attention(qkv, packing, heads),
        )
    }

    fn fused_target_logprobs(
        hidden: Tracked<B, C>,
        head: Tracked<B, C>,
        targets: IntTensor<B>,
    ) -> Tracked<B, C> {
        let for_inference = targets.clone();
        record_saving::<B, C, _, _>(
            [hidden, head],
            |[hidden, head]| B::fused_target_logprobs(hidden, head, for_inference),
            |[hidden, head]| {
                let (logprobs, softmax) = B::target_logprobs_saving(&hidden, &head, targets);
                (logprobs, LogprobSaved { hidden, head, softmax })
            },
        )
    }

    fn fused_embedding(table: Tracked<B, C>, ids: IntTensor<B>) -> Tracked<B, C> {
        let kept = ids.clone();
        record::<B, C, _, _>(
            [table],
            |[table]| EmbeddingSaved { ids: kept, rows: table.shape()[0] },
            |[table]| B::fused_embedding(table, ids),
        )
    }
}
