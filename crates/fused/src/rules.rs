//! The constants of optimiser steps, and what a step takes and gives.

use burn::tensor::Tensor;

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
    /// Decoupled weight decay; the learning rate multiplies it.
    pub weight_decay: f32,
    /// The number of this step, counted from 1.
    pub step: usize,
    /// Factor on the gradient: clipping needs no pass of its own.
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

/// The numbers of an AdamW step that are the same for all elements.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Factors {
    pub(crate) gradient_scale: f32,
    pub(crate) beta1: f32,
    pub(crate) beta2: f32,
    /// `1 - learning_rate * weight_decay`.
    pub(crate) keep: f32,
    /// `learning_rate / (1 - beta1^t)`.
    pub(crate) rate: f32,
    /// `1 / sqrt(1 - beta2^t)`.
    pub(crate) root: f32,
    pub(crate) epsilon: f32,
}

/// Constants of one RMSprop step without momentum (Tieleman and Hinton 2012), as `torch.optim.RMSprop` names
/// them.
#[derive(Clone, Copy, Debug)]
pub struct RmsProp {
    /// The learning rate of this step.
    pub learning_rate: f32,
    /// Decay of the average of the squared gradient.
    pub alpha: f32,
    /// Added to the root of that average.
    pub epsilon: f32,
    /// Factor on the gradient.
    pub gradient_scale: f32,
}

/// A parameter and what an optimiser step reads, each `[n]` and without autodiff.
#[derive(Debug)]
pub struct Weight<const M: usize> {
    /// The parameter.
    pub value: Tensor<1>,
    /// Its gradient.
    pub gradient: Tensor<1>,
    /// The moments: m and v of AdamW, v of RMSprop.
    pub moments: [Tensor<1>; M],
}

/// A parameter after an optimiser step.
#[derive(Debug)]
pub struct Updated<const M: usize> {
    /// The parameter.
    pub value: Tensor<1>,
    /// The new moments, written in place if the old ones had no other owner.
    pub moments: [Tensor<1>; M],
}
