//! Update rules of optimisers, for one parameter.

use burn::backend::Dispatch;
use burn::tensor::{Device, Tensor, s};

use crate::backend::Updates;
use crate::kernels::optimizer::Factors;
use crate::{is_flex, is_fused, reference};

/// Constants of one AdamW step (Loshchilov and Hutter 2019), as `torch.optim.AdamW` names them.
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// Decoupled weight decay, times the learning rate.
    pub weight_decay: f32,
    /// The number of this step, counted from 1.
    pub step: usize,
    /// Factor on the gradient: how gradients are clipped without a pass of their own.
    pub gradient_scale: f32,
}

impl AdamW {
    pub(crate) fn factors(self) -> Factors {
        let correction = |beta: f32| 1.0 - f64::from(beta).powf(self.step as f64);
        Factors {
            gradient_scale: self.gradient_scale,
            beta1: self.beta1,
            beta2: self.beta2,
            keep: (1.0 - self.learning_rate * f64::from(self.weight_decay)) as f32,
            rate: (self.learning_rate / correction(self.beta1)) as f32,
            root: correction(self.beta2).sqrt().recip() as f32,
            epsilon: self.epsilon,
        }
    }
}

/// Constants of one RMSprop step without momentum (Tieleman and Hinton 2012), as `torch.optim.RMSprop` names them.
#[derive(Clone, Copy, Debug)]
pub struct RmsProp {
    /// The learning rate of this step.
    pub learning_rate: f32,
    /// Decay of the squared average.
    pub alpha: f32,
    /// Added to its root.
    pub epsilon: f32,
    /// Factor on the gradient.
    pub gradient_scale: f32,
}

/// One AdamW step: with `g = gradient_scale * gradient`,
/// `m <- beta1 m + (1 - beta1) g`, `v <- beta2 v + (1 - beta2) g^2` and
/// `p <- (1 - lr wd) p - lr m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)`.
///
/// All are `[n]`. Returns the new parameter and the moments, which are written in place when they have no other owner.
/// It has no gradient: call it on tensors without autodiff.
///
/// # Panics
/// If the sizes differ.
pub fn adamw(
    parameter: Tensor<1>,
    gradient: Tensor<1>,
    [first, second]: [Tensor<1>; 2],
    rule: AdamW,
) -> (Tensor<1>, [Tensor<1>; 2]) {
    if !is_fused(&parameter.device()) {
        return reference::adamw(parameter, gradient, [first, second], rule.factors());
    }
    let (parameter, first, second) = Dispatch::fused_adamw(
        parameter.into_dispatch(),
        gradient.into_dispatch(),
        first.into_dispatch(),
        second.into_dispatch(),
        rule,
    );
    let [first, second] = [first, second].map(Tensor::from_dispatch);
    (Tensor::from_dispatch(parameter), [first, second])
}

/// One RMSprop step: with `g = gradient_scale * gradient`, `v <- alpha v + (1 - alpha) g^2` and
/// `p <- p - lr g / (sqrt(v) + eps)`.
///
/// All are `[n]`. Returns the new parameter and the average, which is written in place when it has no other owner. It has
/// no gradient.
///
/// # Panics
/// If the sizes differ.
pub fn rmsprop(
    parameter: Tensor<1>,
    gradient: Tensor<1>,
    second: Tensor<1>,
    rule: RmsProp,
) -> (Tensor<1>, Tensor<1>) {
    if !is_fused(&parameter.device()) {
        return reference::rmsprop(parameter, gradient, second, rule);
    }
    let (parameter, second) = Dispatch::fused_rmsprop(
        parameter.into_dispatch(),
        gradient.into_dispatch(),
        second.into_dispatch(),
        rule,
    );
    (Tensor::from_dispatch(parameter), Tensor::from_dispatch(second))
}

/// The sum of the squares of several tensors: of all gradients, for their global norm.
#[derive(Debug)]
pub struct SquareSum(Tensor<1>);

impl SquareSum {
    /// Partial sums that a GPU's cubes add to side by side; one is enough for the CPU.
    #[cfg(feature = "cube")]
    const PARTS: usize = crate::cube::SQUARE_PARTS;
    #[cfg(not(feature = "cube"))]
    const PARTS: usize = 1;

    /// Nothing yet, on a device without gradients.
    pub fn new(device: &Device) -> Self {
        let parts = if is_flex(device) { 1 } else { Self::PARTS };
        Self(Tensor::zeros([parts], device))
    }

    /// Adds the squares of a tensor `[n]`.
    #[must_use]
    pub fn with(self, x: Tensor<1>) -> Self {
        if !is_fused(&x.device()) {
            let first = self.0.clone().slice(s![0..1]) + x.square().sum();
            return Self(self.0.slice_assign(s![0..1], first));
        }
        Self(Tensor::from_dispatch(Dispatch::fused_add_squares(self.0.into_dispatch(), x.into_dispatch())))
    }

    /// The sum, `[1]`.
    pub fn total(self) -> Tensor<1> {
        if !is_fused(&self.0.device()) {
            return self.0.sum();
        }
        Tensor::from_dispatch(Dispatch::fused_total(self.0.into_dispatch()))
    }
}
