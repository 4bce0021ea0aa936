//! An operation with inputs and gradients.

use anyhow::{Context, Result};
use burn::tensor::{Device, Int, Tensor, TensorData};
use lm::Stream;
use lm::sequences::to_vec;
use rand::RngExt;

/// Flat tensors to a flat tensor.
type Operation = Box<dyn Fn(&[Tensor<1>]) -> Tensor<1>>;

/// An operation: flat inputs to a flat output.
pub struct Case {
    pub name: String,
    /// Name and length of each input.
    pub inputs: Vec<(&'static str, usize)>,
    run: Operation,
    has_gradient: bool,
}

impl Case {
    pub fn new(
        name: String,
        inputs: &[(&'static str, usize)],
        run: impl Fn(&[Tensor<1>]) -> Tensor<1> + 'static,
    ) -> Self {
        Self { name, inputs: inputs.to_vec(), run: Box::new(run), has_gradient: true }
    }

    pub fn without_gradient(self) -> Self {
        Self { has_gradient: false, ..self }
    }

    /// The output and the gradients of a weighted sum of it.
    pub fn evaluate(&self, values: &[Vec<f32>], device: &Device) -> Result<(Vec<f32>, Vec<Vec<f32>>)> {
        let device = if self.has_gradient { device.clone().autodiff() } else { device.clone() };
        let tensor = |values: &[f32]| Tensor::<1>::from_floats(values, &device);
        let inputs: Vec<Tensor<1>> = values.iter().map(|values| tensor(values)).collect();
        if !self.has_gradient {
            return Ok((to_vec((self.run)(&inputs)), Vec::new()));
        }
        let inputs: Vec<Tensor<1>> = inputs.into_iter().map(Tensor::require_grad).collect();
        let output = (self.run)(&inputs);
        let [length] = output.dims();
        let weights = tensor(&numbers(length, "weights of the output"));
        let gradients = (output.clone() * weights).sum().backward();
        let of_inputs = inputs
            .iter()
            .zip(&self.inputs)
            .map(|(input, (name, _))| {
                let gradient = input.grad(&gradients).with_context(|| format!("no gradient of {name}"))?;
                Ok(to_vec(gradient))
            })
            .collect::<Result<_>>()?;
        Ok((to_vec(output), of_inputs))
    }
}

/// Numbers of unit size and either sign.
pub fn numbers(count: usize, purpose: &str) -> Vec<f32> {
    let mut rng = Stream::new(0, purpose).rng();
    // A sum of uniform numbers is nearly normal.
    (0..count).map(|_| (0..4).map(|_| rng.random_range(-0.866_f32..0.866)).sum()).collect()
}

/// Whole numbers below `limit`, with repeats.
pub fn ids(count: usize, limit: usize, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = (0..count).map(|i| ((i * i * 7 + i + limit - 1) % limit) as i32).collect();
    Tensor::from_data(TensorData::new(values, [count]), device)
}
