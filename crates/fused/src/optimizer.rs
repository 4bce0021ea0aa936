//! Optimiser steps over all parameters of a model.

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use crate::backend::Updates;
use crate::reference;
use crate::rules::{AdamW, RmsProp, Updated, Weight};
#[cfg(feature = "cube")]
use crate::switch::is_cube;
use crate::switch::is_fused;

/// One AdamW step of every parameter: with `g = gradient_scale * gradient`,
/// `m <- beta1 m + (1 - beta1) g`, `v <- beta2 v + (1 - beta2) g^2` and
/// `p <- (1 - lr wd) p - lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)`; the moments are m and v.
///
/// # Panics
/// If a parameter, its gradient and its moments differ in size.
pub fn adamw(weights: Vec<Weight<2>>, rule: AdamW) -> Vec<Updated<2>> {
    #[cfg(feature = "cube")]
    if on_gpu(&weights) {
        return crate::cube::updates::adamw(weights, rule.factors());
    }
    let update = |Weight { value, gradient, moments }: Weight<2>| {
        if !is_fused(&value.device()) {
            let (value, moments) = reference::adamw(value, gradient, moments, rule.factors());
            return Updated { value, moments };
        }
        let [first, second] = moments.map(Tensor::into_dispatch);
        let (value, first, second) =
            Dispatch::fused_adamw(value.into_dispatch(), gradient.into_dispatch(), first, second, rule);
        Updated { value: Tensor::from_dispatch(value), moments: [first, second].map(Tensor::from_dispatch) }
    };
    weights.into_iter().map(update).collect()
}

/// One RMSprop step of every parameter: with `g = gradient_scale * gradient`,
/// `v <- alpha v + (1 - alpha) g^2` and `p <- p - lr g / (sqrt(v) + eps)`; the moment is v.
///
/// # Panics
/// If a parameter, its gradient and its moments differ in size.
pub fn rmsprop(weights: Vec<Weight<1>>, rule: RmsProp) -> Vec<Updated<1>> {
    #[cfg(feature = "cube")]
    if on_gpu(&weights) {
        return crate::cube::updates::rmsprop(weights, rule);
    }
    let update = |Weight { value, gradient, moments: [second] }: Weight<1>| {
        if !is_fused(&value.device()) {
            let (value, second) = reference::rmsprop(value, gradient, second, rule);
            return Updated { value, moments: [second] };
        }
        let (value, second) = Dispatch::fused_rmsprop(
            value.into_dispatch(),
            gradient.into_dispatch(),
            second.into_dispatch(),
            rule,
        );
        Updated { value: Tensor::from_dispatch(value), moments: [Tensor::from_dispatch(second)] }
    };
    weights.into_iter().map(update).collect()
}

#[cfg(feature = "cube")]
fn on_gpu<const M: usize>(weights: &[Weight<M>]) -> bool {
    weights.first().is_some_and(|weight| is_cube(&weight.value.device()) && is_fused(&weight.value.device()))
}

/// Sum of the squares of all elements of all tensors, `[1]`: of the gradients, the square of their global
/// norm.
///
/// # Panics
/// If there is no tensor.
pub fn sum_of_squares(tensors: Vec<Tensor<1>>) -> Tensor<1> {
    #[cfg(feature = "cube")]
    if tensors.first().is_some_and(|tensor| is_cube(&tensor.device()) && is_fused(&tensor.device())) {
        return crate::cube::updates::sum_of_squares(tensors);
    }
    let squares = |x: Tensor<1>| {
        if !is_fused(&x.device()) {
            return x.square().sum();
        }
        Tensor::from_dispatch(Dispatch::fused_sum_of_squares(x.into_dispatch()))
    };
    tensors
        .into_iter()
        .map(squares)
        .reduce(|sum, more| sum + more)
        .unwrap_or_else(|| panic!("the squares of no tensor have no device"))
}
