//! Products with weights as PyTorch's `nn.Linear` stores them, `[out, in]`, with a bias and without.

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::backend::{HostKernels, Kernels};
use crate::biased::BiasedKernels;
use crate::switch::{is_cube, is_fused, is_fused_on_host};

/// Affine map `y = x W^T + b`: x `[N, in]`, W `[out, in]`, b `[out]`, y `[N, out]`. [`product`] is the
/// same without b, [`crate::linear`] with W `[in, out]`.
///
/// # Panics
/// If the shapes do not agree.
pub fn affine(x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    assert_shapes("affine", &x, &weight, &bias);
    let device = x.device();
    if is_fused_on_host(&device) {
        return Tensor::from_dispatch(Dispatch::fused_affine(
            x.into_dispatch(),
            weight.into_dispatch(),
            bias.into_dispatch(),
        ));
    }
    // burn's own product would round the factors to TF32 on a GPU.
    if is_cube(&device) && is_fused(&device) {
        return Tensor::from_dispatch(Dispatch::fused_linear(
            x.into_dispatch(),
            weight.transpose().into_dispatch(),
            bias.into_dispatch(),
        ));
    }
    x.matmul(weight.transpose()) + bias.unsqueeze()
}

/// [`affine`] added to a residual stream, `y = r + x W^T + b`: r and y `[N, out]`.
///
/// # Panics
/// If the shapes do not agree.
pub fn affine_add(residual: Tensor<2>, x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>) -> Tensor<2> {
    assert_shapes("affine_add", &x, &weight, &bias);
    let ([rows, _], [outputs, _]) = (x.dims(), weight.dims());
    assert!(
        residual.dims() == [rows, outputs],
        "affine_add: x has {rows} rows, the weight {outputs}, and the residual is {:?}",
        residual.dims()
    );
    if !is_fused_on_host(&x.device()) {
        return residual + affine(x, weight, bias);
    }
    Tensor::from_dispatch(Dispatch::fused_affine_add(
        residual.into_dispatch(),
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// Product with a weight as PyTorch's `nn.Linear` stores it, without bias, `y = x W^T`: x `[N, in]`, W
/// `[out, in]`, y `[N, out]`.
///
/// # Panics
/// If the shapes do not agree.
pub fn product(x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    let ([_, inputs], [outputs, columns]) = (x.dims(), weight.dims());
    assert!(inputs == columns, "product: x has {inputs} columns, the weight is {outputs} x {columns}");
    let device = x.device();
    if is_fused_on_host(&device) {
        return Tensor::from_dispatch(Dispatch::fused_product(x.into_dispatch(), weight.into_dispatch()));
    }
    if is_cube(&device) && is_fused(&device) {
        return affine(x, weight, Tensor::zeros([outputs], &device));
    }
    x.matmul(weight.transpose())
}

/// [`product`] added to a residual stream, `y = r + x W^T`: r and y `[N, out]`.
///
/// # Panics
/// If the shapes do not agree.
pub fn product_add(residual: Tensor<2>, x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    let ([rows, inputs], [outputs, columns]) = (x.dims(), weight.dims());
    assert!(
        inputs == columns && residual.dims() == [rows, outputs],
        "product_add: x is {rows} x {inputs}, the weight is {outputs} x {columns}, the residual {:?}",
        residual.dims()
    );
    if !is_fused_on_host(&x.device()) {
        return residual + product(x, weight);
    }
    Tensor::from_dispatch(Dispatch::fused_product_add(
        residual.into_dispatch(),
        x.into_dispatch(),
        weight.into_dispatch(),
    ))
}

fn assert_shapes(operation: &str, x: &Tensor<2>, weight: &Tensor<2>, bias: &Tensor<1>) {
    let ([_, inputs], [outputs, columns], [biases]) = (x.dims(), weight.dims(), bias.dims());
    assert!(
        inputs == columns && outputs == biases,
        "{operation}: x has {inputs} columns, the weight is {outputs} x {columns}, the bias has {biases}"
    );
}
