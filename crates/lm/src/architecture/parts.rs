//! What the families are made of. A part is declared with its shape and gets its values later, random or from
//! a file: declaring a model allocates nothing.

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use fused::OutputHead;
use rand_chacha::ChaCha8Rng;

use super::adapter::{Adaptable, Adapter};
use crate::parameters::ParameterPath;
use crate::random::normals;

/// A parameter without values. Until it is given some it reads as `constant` everywhere.
pub(crate) fn declared<const D: usize>(
    shape: [usize; D],
    constant: f32,
    device: &Device,
) -> Param<Tensor<D>> {
    let fill = move |device: &Device, require_grad: bool| {
        Tensor::full(shape, constant, device).set_require_grad(require_grad)
    };
    Param::uninitialized(ParamId::new(), fill, device.clone(), true, shape.into())
}

/// `y = x W + b` with `W: [in, out]`.
#[derive(Module, Debug)]
pub(super) struct Linear {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
    adapter: Option<Adapter>,
}

impl Linear {
    pub(super) fn declared(input: usize, output: usize, device: &Device) -> Self {
        Self {
            weight: declared([input, output], 0.0, device),
            bias: declared([output], 0.0, device),
            adapter: None,
        }
    }

    /// `x W + b` of `x: [N, in]`, and what an adapter adds.
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let plain = |x| fused::linear(x, self.weight.val(), self.bias.val());
        match &self.adapter {
            None => plain(x),
            Some(adapter) => adapter.add_to(plain(x.clone()), x),
        }
    }

    /// `residual + x W + b`, and what an adapter adds.
    pub(super) fn add_to(&self, residual: Tensor<2>, x: Tensor<2>) -> Tensor<2> {
        let plain = |x| fused::linear_add(residual, x, self.weight.val(), self.bias.val());
        match &self.adapter {
            None => plain(x),
            Some(adapter) => adapter.add_to(plain(x.clone()), x),
        }
    }
}

impl Adaptable for Linear {
    fn sizes(&self) -> [usize; 2] {
        let shape = self.weight.lazy_shape();
        [shape[0], shape[1]]
    }

    fn adapter(&mut self) -> &mut Option<Adapter> {
        &mut self.adapter
    }

    fn merge(&mut self) {
        if let Some(adapter) = self.adapter.take() {
            self.weight = self.weight.clone().map(|weight| weight + adapter.update().transpose());
        }
    }
}

/// `y = x W^T + b` with `W: [out, in]`, as `nn.Linear` of PyTorch, with or without b.
#[derive(Module, Debug)]
pub(super) struct Projection {
    weight: Param<Tensor<2>>,
    bias: Option<Param<Tensor<1>>>,
    adapter: Option<Adapter>,
}

impl Projection {
    pub(super) fn declared(input: usize, output: usize, device: &Device) -> Self {
        Self { weight: declared([output, input], 0.0, device), bias: None, adapter: None }
    }

    /// The same with a bias.
    pub(super) fn with_bias(self) -> Self {
        let outputs = self.weight.lazy_shape()[0];
        Self { bias: Some(declared([outputs], 0.0, &self.weight.lazy_device())), ..self }
    }

    /// The weight `[out, in]`.
    pub(super) fn weight(&self) -> Tensor<2> {
        self.weight.val()
    }

    /// As an output head.
    pub(super) fn head(&self) -> OutputHead {
        OutputHead { weight: self.weight.val(), bias: self.bias.as_ref().map(Param::val) }
    }

    /// The first of its outputs alone.
    pub(super) fn first_outputs(self, outputs: usize) -> Self {
        let first = |bias: Param<Tensor<1>>| Param::from_tensor(bias.val().narrow(0, 0, outputs));
        Self { weight: first_rows(&self.weight, outputs), bias: self.bias.map(first), ..self }
    }

    /// `x W^T + b` of `x: [N, in]`, and what an adapter adds.
    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let plain = |x| match &self.bias {
            None => fused::product(x, self.weight.val()),
            Some(bias) => fused::affine(x, self.weight.val(), bias.val()),
        };
        match &self.adapter {
            None => plain(x),
            Some(adapter) => adapter.add_to(plain(x.clone()), x),
        }
    }

    /// `residual + x W^T + b`, and what an adapter adds.
    pub(super) fn add_to(&self, residual: Tensor<2>, x: Tensor<2>) -> Tensor<2> {
        let plain = |x| match &self.bias {
            None => fused::product_add(residual, x, self.weight.val()),
            Some(bias) => fused::affine_add(residual, x, self.weight.val(), bias.val()),
        };
        match &self.adapter {
            None => plain(x),
            Some(adapter) => adapter.add_to(plain(x.clone()), x),
        }
    }
}

impl Adaptable for Projection {
    fn sizes(&self) -> [usize; 2] {
        let shape = self.weight.lazy_shape();
        [shape[1], shape[0]]
    }

    fn adapter(&mut self) -> &mut Option<Adapter> {
        &mut self.adapter
    }

    fn merge(&mut self) {
        if let Some(adapter) = self.adapter.take() {
            self.weight = self.weight.clone().map(|weight| weight + adapter.update());
        }
    }
}

/// Root-mean-square norm (Zhang and Sennrich 2019) with scale, over the last dimension.
#[derive(Module, Debug)]
pub(super) struct RmsNorm {
    weight: Param<Tensor<1>>,
}

impl RmsNorm {
    pub(super) fn declared(width: usize, device: &Device) -> Self {
        Self { weight: declared([width], 1.0, device) }
    }

    pub(super) fn forward(&self, x: Tensor<2>, epsilon: f64) -> Tensor<2> {
        fused::rms_norm(x, self.weight.val(), epsilon)
    }
}

/// Layer norm (Ba et al. 2016) with scale and shift, over the last dimension.
#[derive(Module, Debug)]
pub(super) struct LayerNorm {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
}

impl LayerNorm {
    pub(super) fn declared(width: usize, device: &Device) -> Self {
        Self { weight: declared([width], 1.0, device), bias: declared([width], 0.0, device) }
    }

    pub(super) fn forward(&self, x: Tensor<2>, epsilon: f64) -> Tensor<2> {
        fused::layer_norm(x, self.weight.val(), self.bias.val(), epsilon)
    }
}

/// A table with one row for each token or position.
#[derive(Module, Debug)]
pub(super) struct Embedding {
    pub(super) weight: Param<Tensor<2>>,
}

impl Embedding {
    pub(super) fn declared(rows: usize, width: usize, device: &Device) -> Self {
        Self { weight: declared([rows, width], 0.0, device) }
    }
}

/// The first rows of a table, as a parameter of its own.
pub(super) fn first_rows(table: &Param<Tensor<2>>, rows: usize) -> Param<Tensor<2>> {
    let table = table.val();
    let [_, width] = table.dims();
    Param::from_tensor(table.slice([0..rows, 0..width]))
}

/// Gives a declared model its initial values: matrices are drawn from N(0, std²), in the order of the fields,
/// with the standard deviation that `std` says for the path; vectors keep their constants.
pub(super) fn draw<M: Module>(module: M, rng: ChaCha8Rng, std: impl Fn(&str) -> f64) -> M {
    module.map(&mut Draw { path: ParameterPath::default(), rng, std })
}

struct Draw<F> {
    path: ParameterPath,
    rng: ChaCha8Rng,
    std: F,
}

impl<F: Fn(&str) -> f64> ModuleMapper for Draw<F> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if D < 2 {
            return param.map(|constant| constant);
        }
        let shape = param.lazy_shape();
        let values = normals(shape.num_elements(), (self.std)(&self.path.to_string()), &mut self.rng);
        Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), &param.lazy_device()))
    }
}
