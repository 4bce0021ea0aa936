//! Optimisers with explicit constants, schedules, and clipping by the global norm.

mod config;
mod moments;

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Tensor;
use fused::{AdamW, RmsProp, Updated, Weight};

pub use self::config::{Algorithm, Decay, OptimizerConfig, Schedule};
use crate::LmError;
use crate::problem::Config;
use crate::recompute::Segments;
use crate::state::State;

/// An optimiser at work: its moments, flat and by parameter, and its step count.
pub struct Optimizer {
    config: OptimizerConfig,
    adamw: HashMap<ParamId, [Tensor<1>; 2]>,
    rmsprop: HashMap<ParamId, [Tensor<1>; 1]>,
    step: usize,
    total: usize,
}

/// What an optimiser step did.
#[derive(Clone, Copy, Debug)]
pub struct Update {
    /// Global L2 norm of the gradient before clipping.
    pub grad_norm: f64,
    /// The learning rate that was used.
    pub learning_rate: f64,
}

/// The gradient of a sum of losses, one after another: the graph of each is gone before the next is made, so
/// that a batch takes no more memory than its largest part.
///
/// The losses are parts of one loss. A mean over examples, or over tokens, is the sum of its parts' sums,
/// each over the number of all: a mean of the parts' means is another loss wherever parts differ in size.
pub struct Gradients<M>(GradientsAccumulator<M>);

impl<M: Module> Default for Gradients<M> {
    fn default() -> Self {
        Self(GradientsAccumulator::new())
    }
}

impl<M: Module> Gradients<M> {
    /// The gradient of a loss, of which `segments` are what its graph lacks.
    pub fn of(module: &M, loss: &Tensor<1>, segments: Segments) -> Self {
        let mut gradients = Self::default();
        gradients.add(module, loss, segments);
        gradients
    }

    /// Differentiates a part of the loss, of which `segments` are what its graph lacks, and adds its
    /// gradient.
    pub fn add(&mut self, module: &M, part: &Tensor<1>, segments: Segments) {
        // What a parameter has from two stages is added up first, as in one graph: sums repeat to the bit.
        let mut whole = GradientsAccumulator::new();
        segments.differentiate(part.backward(), |found| {
            whole.accumulate(module, GradientsParams::from_grads(found, module));
        });
        self.0.accumulate(module, whole.grads());
    }

    /// The sum, by parameter.
    pub fn into_params(mut self) -> GradientsParams {
        self.0.grads()
    }
}

impl Optimizer {
    /// An optimiser that will take `total` steps.
    ///
    /// # Errors
    /// [`LmError::Config`] with every impossible constant.
    pub fn new(config: &OptimizerConfig, total: usize) -> Result<Self, LmError> {
        config.check()?;
        Ok(Self { config: config.clone(), adamw: HashMap::new(), rmsprop: HashMap::new(), step: 0, total })
    }

    /// Keeps the step count and, by the paths of `module`'s parameters, the moments.
    pub fn save<M: Module>(&self, name: &str, module: &M, into: &mut State) {
        into.set(&format!("{name}/step"), self.step);
        into.set(&format!("{name}/algorithm"), self.config.algorithm.name());
        match self.config.algorithm {
            Algorithm::Adamw { .. } => moments::save(&self.adamw, moments::ADAMW, (name, module), into),
            Algorithm::Rmsprop { .. } => moments::save(&self.rmsprop, moments::RMSPROP, (name, module), into),
        }
    }

    /// This optimiser with the step count and the moments that were kept under `name`;
    /// `module` is what it updates.
    ///
    /// # Errors
    /// [`LmError::State`] for a state of another algorithm or another module.
    pub fn restored<M: Module>(&self, name: &str, module: &M, from: &State) -> Result<Self, LmError> {
        from.require(&format!("{name}/algorithm"), self.config.algorithm.name())?;
        let mut restored = Self {
            config: self.config.clone(),
            adamw: HashMap::new(),
            rmsprop: HashMap::new(),
            step: from.count(&format!("{name}/step"))?,
            total: self.total,
        };
        match self.config.algorithm {
            Algorithm::Adamw { .. } => restored.adamw = moments::read(moments::ADAMW, (name, module), from)?,
            Algorithm::Rmsprop { .. } => {
                restored.rmsprop = moments::read(moments::RMSPROP, (name, module), from)?;
            }
        }
        Ok(restored)
    }

    /// Differentiates `loss`, whose graph is whole, and updates the module; see [`Optimizer::step_with`].
    ///
    /// # Errors
    /// As there.
    pub fn step<M: Module>(&mut self, module: &mut M, loss: &Tensor<1>) -> Result<Update, LmError> {
        let gradients = Gradients::of(module, loss, Segments::default());
        self.step_with(module, gradients)
    }

    /// Clips a gradient by its global norm and updates the module.
    ///
    /// Clipping scales all gradients together so that their global L2 norm is at most `max_grad_norm`, as
    /// `torch.nn.utils.clip_grad_norm_` does (Pascanu et al. 2013).
    ///
    /// # Errors
    /// [`LmError::NotFinite`] if the gradient is not finite; the module is then unchanged.
    pub fn step_with<M: Module>(
        &mut self,
        module: &mut M,
        gradients: Gradients<M>,
    ) -> Result<Update, LmError> {
        let mut found = Found { gradients: gradients.into_params(), parameters: Vec::new() };
        module.visit(&mut found);
        let grad_norm = global_norm(&found.parameters);
        if !grad_norm.is_finite() {
            return Err(LmError::NotFinite { what: "the gradient norm", value: grad_norm, step: self.step });
        }
        let learning_rate = self.config.learning_rate * self.config.schedule.factor(self.step, self.total);
        self.step += 1;
        let gradient_scale = (self.config.max_grad_norm / (grad_norm + 1e-6)).min(1.0) as f32;
        let (matrices, vectors): (Vec<_>, Vec<_>) =
            found.parameters.into_iter().partition(|parameter| parameter.is_matrix);
        let mut updated = Replaced(HashMap::new());
        for (parameters, is_matrix) in [(matrices, true), (vectors, false)] {
            updated.0.extend(self.update(parameters, is_matrix, (learning_rate, gradient_scale)));
        }
        *module = module.clone().map(&mut updated);
        Ok(Update { grad_norm, learning_rate })
    }

    /// The next values of flat parameters, all of them of matrices or all of vectors.
    fn update(
        &mut self,
        parameters: Vec<Parameter>,
        is_matrix: bool,
        (learning_rate, gradient_scale): (f64, f32),
    ) -> Vec<(ParamId, Tensor<1>)> {
        match self.config.algorithm {
            Algorithm::Adamw { beta1, beta2, epsilon, weight_decay } => {
                let weight_decay = if is_matrix { weight_decay } else { 0.0 };
                let step = self.step;
                let rule = AdamW { learning_rate, beta1, beta2, epsilon, weight_decay, step, gradient_scale };
                remember(&mut self.adamw, parameters, |weights| fused::adamw(weights, rule))
            }
            Algorithm::Rmsprop { alpha, epsilon } => {
                let rule = RmsProp { learning_rate: learning_rate as f32, alpha, epsilon, gradient_scale };
                remember(&mut self.rmsprop, parameters, |weights| fused::rmsprop(weights, rule))
            }
        }
    }
}

/// Runs a rule with the moments of each parameter, zeros at first, and keeps the new ones.
fn remember<const M: usize>(
    moments: &mut HashMap<ParamId, [Tensor<1>; M]>,
    parameters: Vec<Parameter>,
    rule: impl FnOnce(Vec<Weight<M>>) -> Vec<Updated<M>>,
) -> Vec<(ParamId, Tensor<1>)> {
    let ids: Vec<ParamId> = parameters.iter().map(|parameter| parameter.id).collect();
    let weight = |Parameter { id, value, gradient, .. }: Parameter| {
        let zeros = || Tensor::zeros(value.dims(), &value.device());
        let moments = moments.remove(&id).unwrap_or_else(|| std::array::from_fn(|_| zeros()));
        Weight { value, gradient, moments }
    };
    let weights = parameters.into_iter().map(weight).collect();
    let keep = |(id, updated): (ParamId, Updated<M>)| {
        moments.insert(id, updated.moments);
        (id, updated.value)
    };
    ids.into_iter().zip(rule(weights)).map(keep).collect()
}

/// L2 norm of the gradients of all parameters together.
fn global_norm(parameters: &[Parameter]) -> f64 {
    if parameters.is_empty() {
        return 0.0;
    }
    let gradients = parameters.iter().map(|parameter| parameter.gradient.clone()).collect();
    let squares: f64 = fused::sum_of_squares(gradients).into_scalar::<f32>().into();
    squares.sqrt()
}

/// A parameter and its gradient, flat and without gradients of their own.
struct Parameter {
    id: ParamId,
    value: Tensor<1>,
    gradient: Tensor<1>,
    is_matrix: bool,
}

/// Collects the parameters that have a gradient.
struct Found {
    gradients: GradientsParams,
    parameters: Vec<Parameter>,
}

impl ModuleVisitor for Found {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.parameters.push(Parameter {
                id: param.id,
                value: param.val().inner().flatten(0, D - 1),
                gradient: gradient.flatten(0, D - 1),
                is_matrix: D >= 2,
            });
        }
    }
}

/// Puts new values in the place of parameters.
struct Replaced(HashMap<ParamId, Tensor<1>>);

impl ModuleMapper for Replaced {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(value) = self.0.remove(&param.id) else { return param };
        let (id, tensor, mapper) = param.consume();
        let value = Tensor::from_inner(value.reshape(tensor.dims())).require_grad();
        Param::from_mapped_value(id, value, mapper)
    }
}
