//! What Llama's blocks add to the tape.

use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;

use super::{Saved, Tracked, record};
use crate::backend::{HostGradients, HostKernels};
use crate::heads::Heads;
use crate::rotation::Rotation;

#[derive(Clone, Debug)]
struct ProductSaved<T> {
    x: T,
    weight: T,
}

impl<B: HostGradients> Saved<B, 2> for ProductSaved<FloatTensor<B>> {
    fn gradients(self, g: FloatTensor<B>, needs: [bool; 2]) -> [Option<FloatTensor<B>>; 2] {
        B::product_gradients(&self.x, &self.weight, &g, needs)
    }
}

#[derive(Clone, Debug)]
struct ProductAddSaved<T>(ProductSaved<T>);

impl<B: HostGradients> Saved<B, 3> for ProductAddSaved<FloatTensor<B>> {
    fn gradients(self, g: FloatTensor<B>, [residual, x, weight]: [bool; 3]) -> [Option<FloatTensor<B>>; 3] {
        let [dx, dw] = B::product_gradients(&self.0.x, &self.0.weight, &g, [x, weight]);
        [residual.then_some(g), dx, dw]
    }
}

#[derive(Clone, Debug)]
struct RmsNormSaved<T> {
    x: T,
    gamma: T,
    eps: f64,
}

impl<B: HostGradients> Saved<B, 2> for RmsNormSaved<FloatTensor<B>> {
    fn gradients(self, g: FloatTensor<B>, needs: [bool; 2]) -> [Option<FloatTensor<B>>; 2] {
        B::rms_norm_gradients(&self.x, &self.gamma, self.eps, &g, needs)
    }
}

#[derive(Clone, Debug)]
struct RopeSaved {
    rotation: Rotation,
    heads: Heads,
}

impl<B: HostGradients> Saved<B, 1> for RopeSaved {
    fn gradients(self, g: FloatTensor<B>, [qkv]: [bool; 1]) -> [Option<FloatTensor<B>>; 1] {
        [qkv.then(|| B::rope_gradient(&self.rotation, self.heads, &g))]
    }
}

#[derive(Clone, Debug)]
struct SwigluSaved<T> {
    gate: T,
    up: T,
}

impl<B: HostGradients> Saved<B, 2> for SwigluSaved<FloatTensor<B>> {
    fn gradients(self, g: FloatTensor<B>, needs: [bool; 2]) -> [Option<FloatTensor<B>>; 2] {
        B::swiglu_gradients(&self.gate, &self.up, &g, needs)
    }
}

impl<B: HostGradients, C: CheckpointStrategy> HostKernels for Autodiff<B, C> {
    fn fused_product(x: Tracked<B, C>, weight: Tracked<B, C>) -> Tracked<B, C> {
        record::<B, C, _, _>(
            [x, weight],
            |[x, weight]| ProductSaved { x: x.clone(), weight: weight.clone() },
            |[x, weight]| B::fused_product(x, weight),
        )
    }

    fn fused_product_add(residual: Tracked<B, C>, x: Tracked<B, C>, weight: Tracked<B, C>) -> Tracked<B, C> {
        record::<B, C, _, _>(
            [residual, x, weight],
            |[_, x, weight]| ProductAddSaved(ProductSaved { x: x.clone(), weight: weight.clone() }),
            |[residual, x, weight]| B::fused_product_add(residual, x, weight),
        )
    }

    fn fused_rms_norm(x: Tracked<B, C>, gamma: Tracked<B, C>, eps: f64) -> Tracked<B, C> {
        record::<B, C, _, _>(
            [x, gamma],
            |[x, gamma]| RmsNormSaved { x: x.clone(), gamma: gamma.clone(), eps },
            |[x, gamma]| B::fused_rms_norm(x, gamma, eps),
        )
    }

    fn fused_rope(qkv: Tracked<B, C>, rotation: Rotation, heads: Heads) -> Tracked<B, C> {
        let saved = RopeSaved { rotation: rotation.clone(), heads };
        record::<B, C, _, _>([qkv], |_| saved, |[qkv]| B::fused_rope(qkv, rotation, heads))
    }

    fn fused_swiglu(gate: Tracked<B, C>, up: Tracked<B, C>) -> Tracked<B, C> {
        record::<B, C, _, _>(
            [gate, up],
            |[gate, up]| SwigluSaved { gate: gate.clone(), up: up.clone() },
            |[gate, up]| B::fused_swiglu(gate, up),
        )
    }
}
