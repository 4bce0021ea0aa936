//! Optimiser steps over all tensors of a model; one launch serves as many tensors as it can take buffers.

use burn::backend::{BackendTensor, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind};
use burn::tensor::Tensor;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

use super::kernels::optimizer;
use super::tensors::{empty, or_copy, slice};
use super::{Launch, launch, per_row};
use crate::rules::{Factors, RmsProp, Updated, Weight};

/// A tensor of a Cube device as its primitive.
fn primitive(tensor: Tensor<1>) -> CubeTensor {
    match tensor.into_dispatch().kind {
        DispatchTensorKind::Cube(BackendTensor::Float(tensor)) => tensor,
        _ => panic!("optimisers update float tensors of one device, without gradients"),
    }
}

fn wrapped(tensor: CubeTensor) -> Tensor<1> {
    let kind = DispatchTensorKind::Cube(BackendTensor::Float(tensor));
    Tensor::from_dispatch(DispatchTensor { kind, autodiff: DispatchAutodiffContext::Disabled })
}

/// Tensors that one launch serves if each has `buffers` of them: 32 on CUDA, one or two in WebGPU.
fn at_once(client: &Client, buffers: usize) -> usize {
    (client.properties().hardware.max_bindings as usize / buffers).clamp(1, 32)
}

/// One line of cubes per tensor.
fn lines(client: &Client, tensors: usize) -> Launch<'_> {
    let count = CubeCount::Static(optimizer::CUBES as u32, tensors as u32, 1);
    Launch { client, count, dim: CubeDim::new_1d(optimizer::UNITS as u32) }
}

fn buffers<'a>(tensors: impl Iterator<Item = &'a CubeTensor>) -> SequenceArg<Box<[f32]>> {
    tensors.map(|tensor| tensor.clone().into_buffer_arg()).collect()
}

fn counts<'a>(tensors: impl Iterator<Item = &'a CubeTensor>) -> SequenceArg<usize> {
    tensors.map(|tensor| tensor.meta.num_elements()).collect()
}

/// The sum of the squares of all elements of all tensors, `[1]`.
pub(crate) fn sum_of_squares(tensors: Vec<Tensor<1>>) -> Tensor<1> {
    let tensors: Vec<CubeTensor> =
        tensors.into_iter().map(|tensor| into_contiguous(primitive(tensor))).collect();
    let [like, ..] = &tensors[..] else { panic!("the squares of no tensor have no device") };
    let client = &like.client;
    let (sums, out) = (empty(like, [tensors.len() * optimizer::CUBES]), empty(like, [1]));
    let mut done = 0;
    for group in tensors.chunks(at_once(client, 2)) {
        let part = slice(&sums, done * optimizer::CUBES, group.len() * optimizer::CUBES);
        done += group.len();
        launch!(
            optimizer::add_squares::launch_unchecked,
            lines(client, group.len()),
            buffers(group.iter()),
            counts(group.iter()),
            part.into_buffer_arg(),
            group.len(),
        );
    }
    launch!(
        optimizer::total::launch_unchecked,
        per_row(client, 1, optimizer::UNITS),
        sums.into_buffer_arg(),
        out.clone().into_buffer_arg(),
        tensors.len() * optimizer::CUBES,
    );
    wrapped(out)
}

/// The tensors of a step on the device: contiguous values and gradients, moments that may be overwritten, and
/// room for the result.
struct Prepared<const M: usize> {
    value: CubeTensor,
    gradient: CubeTensor,
    moments: [CubeTensor; M],
    out: CubeTensor,
}

impl<const M: usize> Prepared<M> {
    fn new(weight: Weight<M>) -> Self {
        let value = into_contiguous(primitive(weight.value));
        let gradient = into_contiguous(primitive(weight.gradient));
        let out = empty(&value, [value.meta.num_elements()]);
        Self { value, gradient, moments: weight.moments.map(|moment| or_copy(primitive(moment))), out }
    }

    fn finish(self) -> Updated<M> {
        Updated { value: wrapped(self.out), moments: self.moments.map(wrapped) }
    }
}

/// See [`crate::adamw`].
pub(crate) fn adamw(weights: Vec<Weight<2>>, rule: Factors) -> Vec<Updated<2>> {
    let all: Vec<Prepared<2>> = weights.into_iter().map(Prepared::new).collect();
    let size = all.first().map_or(1, |one| at_once(&one.value.client, 6));
    for group in all.chunks(size) {
        launch!(
            optimizer::adamw::launch_unchecked,
            lines(&group[0].value.client, group.len()),
            buffers(group.iter().map(|one| &one.value)),
            buffers(group.iter().map(|one| &one.gradient)),
            buffers(group.iter().map(|one| &one.moments[0])),
            buffers(group.iter().map(|one| &one.moments[1])),
            buffers(group.iter().map(|one| &one.out)),
            counts(group.iter().map(|one| &one.value)),
            rule.gradient_scale,
            rule.beta1,
            rule.beta2,
            rule.keep,
            rule.rate,
            rule.root,
            rule.epsilon,
            group.len(),
        );
    }
    all.into_iter().map(Prepared::finish).collect()
}

/// See [`crate::rmsprop`].
pub(crate) fn rmsprop(weights: Vec<Weight<1>>, rule: RmsProp) -> Vec<Updated<1>> {
    let all: Vec<Prepared<1>> = weights.into_iter().map(Prepared::new).collect();
    let size = all.first().map_or(1, |one| at_once(&one.value.client, 5));
    for group in all.chunks(size) {
        launch!(
            optimizer::rmsprop::launch_unchecked,
            lines(&group[0].value.client, group.len()),
            buffers(group.iter().map(|one| &one.value)),
            buffers(group.iter().map(|one| &one.gradient)),
            buffers(group.iter().map(|one| &one.moments[0])),
            buffers(group.iter().map(|one| &one.out)),
            counts(group.iter().map(|one| &one.value)),
            rule.gradient_scale,
            rule.learning_rate,
            rule.alpha,
            rule.epsilon,
            group.len(),
        );
    }
    all.into_iter().map(Prepared::finish).collect()
}
