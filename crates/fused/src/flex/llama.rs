//! What Llama's blocks add to the operations on the CPU.

use burn::backend::flex::{Flex, FlexTensor};

use super::{contiguous, dims, floats, tensor};
use crate::backend::{HostGradients, HostKernels};
use crate::heads::Heads;
use crate::kernels::linear::{self, Weight};
use crate::kernels::{rms_norm, rope, swiglu, thin};
use crate::rotation::Rotation;

/// Sizes of a product with a weight `[out, in]`.
fn product_sizes(x: &FlexTensor, weight: &FlexTensor) -> linear::Sizes {
    let ([rows, inputs], [outputs, _]) = (dims(x), dims(weight));
    linear::Sizes { rows, inputs, outputs }
}

/// `x W^T`, added to the residual and the bias if there are any.
pub(crate) fn product(
    residual: Option<&FlexTensor>,
    x: &FlexTensor,
    weight: &FlexTensor,
    bias: Option<&FlexTensor>,
) -> FlexTensor {
    let n = product_sizes(x, weight);
    let (residual, x, weight, bias) = (residual.map(floats), floats(x), floats(weight), bias.map(floats));
    let y = if n.rows <= thin::ROWS && n.inputs > 0 {
        thin::forward(residual, x, weight, bias, n)
    } else {
        linear::forward(residual, x, Weight::Transposed(weight), bias, n)
    };
    tensor(y, [n.rows, n.outputs])
}

/// Rotates packed rows, forwards or, with a `sign` of -1, backwards.
fn rotated(qkv: &FlexTensor, rotation: &Rotation, heads: Heads, sign: f32) -> FlexTensor {
    let [_, packed] = dims(qkv);
    let n = rope::Sizes { rotated: heads.queries + heads.keys, packed, head_dim: rotation.head_dim() };
    tensor(rope::rotate(floats(qkv), rotation, sign, n), qkv.layout().shape().clone())
}

impl HostKernels for Flex {
    fn fused_product(x: FlexTensor, weight: FlexTensor) -> FlexTensor {
        let [x, weight] = [x, weight].map(contiguous);
        product(None, &x, &weight, None)
    }

    fn fused_product_add(residual: FlexTensor, x: FlexTensor, weight: FlexTensor) -> FlexTensor {
        let [residual, x, weight] = [residual, x, weight].map(contiguous);
        product(Some(&residual), &x, &weight, None)
    }

    fn fused_rms_norm(x: FlexTensor, gamma: FlexTensor, eps: f64) -> FlexTensor {
        let [x, gamma] = [x, gamma].map(contiguous);
        tensor(rms_norm::forward(floats(&x), floats(&gamma), eps as f32), x.layout().shape().clone())
    }

    fn fused_rope(qkv: FlexTensor, rotation: Rotation, heads: Heads) -> FlexTensor {
        rotated(&contiguous(qkv), &rotation, heads, 1.0)
    }

    fn fused_swiglu(gate: FlexTensor, up: FlexTensor) -> FlexTensor {
        let [gate, up] = [gate, up].map(contiguous);
        tensor(swiglu::forward(floats(&gate), floats(&up)), gate.layout().shape().clone())
    }
}

impl HostGradients for Flex {
    fn product_gradients(
        x: &FlexTensor,
        weight: &FlexTensor,
        g: &FlexTensor,
        needs: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let n = product_sizes(x, weight);
        let dx = || linear::input_gradient(floats(g), Weight::Transposed(floats(weight)), n);
        // g^T x: the gradient of a weight [in, out] with the parts of x and g exchanged.
        let exchanged = linear::Sizes { inputs: n.outputs, outputs: n.inputs, ..n };
        let dw = || linear::weight_gradient(floats(g), floats(x), exchanged);
        [
            needs[0].then(|| tensor(dx(), [n.rows, n.inputs])),
            needs[1].then(|| tensor(dw(), [n.outputs, n.inputs])),
        ]
    }

    fn rms_norm_gradients(
        x: &FlexTensor,
        gamma: &FlexTensor,
        eps: f64,
        g: &FlexTensor,
        needs: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let [rows, d] = dims(x);
        let (dx, dgamma) = rms_norm::backward(floats(x), floats(gamma), floats(g), eps as f32);
        [needs[0].then(|| tensor(dx, [rows, d])), needs[1].then(|| tensor(dgamma, [d]))]
    }

    fn rope_gradient(rotation: &Rotation, heads: Heads, g: &FlexTensor) -> FlexTensor {
        rotated(g, rotation, heads, -1.0)
    }

    fn swiglu_gradients(
        gate: &FlexTensor,
        up: &FlexTensor,
        g: &FlexTensor,
        needs: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let [da, db] = swiglu::backward(floats(gate), floats(up), floats(g));
        let shape = || gate.layout().shape().clone();
        [needs[0].then(|| tensor(da, shape())), needs[1].then(|| tensor(db, shape()))]
    }
}
