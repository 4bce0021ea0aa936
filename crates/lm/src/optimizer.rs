//! Optimisers with explicit constants, schedules, and clipping by the global norm.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use fused::{AdamW, RmsProp, Updated, Weight};
use serde::{Deserialize, Serialize};

use crate::LmError;
use crate::parameters::{Place, Values, places};
use crate::problem::{Config, Problem};
use crate::sequences::to_vec;
use crate::state::{State, refuse};

/// An optimiser with every constant written out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerConfig {
    /// The update rule and its constants.
    pub algorithm: Algorithm,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// The learning rate over the steps.
    pub schedule: Schedule,
    /// Largest L2 norm of the gradient of all parameters together.
    pub max_grad_norm: f64,
}

/// The update rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
pub enum Algorithm {
    /// AdamW (Loshchilov and Hutter 2019): weight decay is decoupled and applies to matrices only.
    Adamw {
        /// Decay of the first moment.
        beta1: f32,
        /// Decay of the second moment.
        beta2: f32,
        /// Added to the root of the second moment.
        epsilon: f32,
        /// Decoupled weight decay, times the learning rate.
        weight_decay: f32,
    },
    /// `RMSprop` (Tieleman and Hinton 2012) as in PyTorch, without momentum: `p -= lr g / (sqrt(v) + epsilon)`.
    Rmsprop {
        /// Decay of the squared average.
        alpha: f32,
        /// Added to its root.
        epsilon: f32,
    },
}

/// Linear warm-up, then a decay that would reach `floor` times the peak one step after the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Steps of the linear warm-up; step 0 already trains.
    pub warmup_steps: usize,
    /// The shape after the warm-up.
    pub decay: Decay,
    /// Share of the peak that is left at the end; 1 for `constant`.
    pub floor: f64,
}

/// The shape of a learning rate after its warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Stays at the peak.
    Constant,
    /// A straight line down to the floor.
    Linear,
    /// Half a cosine down to the floor.
    Cosine,
}

impl Algorithm {
    /// As a configuration spells it.
    fn name(&self) -> &'static str {
        match self {
            Self::Adamw { .. } => "adamw",
            Self::Rmsprop { .. } => "rmsprop",
        }
    }
}

impl Schedule {
    /// Factor on the peak learning rate at a step (counted from 0) of `total`.
    pub fn factor(&self, step: usize, total: usize) -> f64 {
        if step < self.warmup_steps {
            return (step + 1) as f64 / (self.warmup_steps + 1) as f64;
        }
        let span = total.saturating_sub(self.warmup_steps).max(1) as f64;
        let progress = ((step - self.warmup_steps) as f64 / span).min(1.0);
        let left = match self.decay {
            Decay::Constant => 1.0,
            Decay::Linear => 1.0 - progress,
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        };
        self.floor + (1.0 - self.floor) * left
    }
}

impl Config for OptimizerConfig {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = self.algorithm.problems_within("algorithm");
        problems.extend(Problem::unless_positive("learning_rate", self.learning_rate));
        problems.extend(self.schedule.problems_within("schedule"));
        problems.extend(Problem::unless_positive("max_grad_norm", self.max_grad_norm));
        problems
    }
}

impl Config for Algorithm {
    fn problems(&self) -> Vec<Problem> {
        let decay = |key: &str, value: f32| {
            Problem::unless((0.0..1.0).contains(&value), key, value, "0 up to, not including, 1")
        };
        let found = match *self {
            Self::Adamw { beta1, beta2, epsilon, weight_decay } => {
                let possible = weight_decay >= 0.0 && weight_decay.is_finite();
                vec![
                    decay("beta1", beta1),
                    decay("beta2", beta2),
                    Problem::unless_positive("epsilon", epsilon),
                    Problem::unless(possible, "weight_decay", weight_decay, "0 or more"),
                ]
            }
            Self::Rmsprop { alpha, epsilon } => {
                vec![decay("alpha", alpha), Problem::unless_positive("epsilon", epsilon)]
            }
        };
        found.into_iter().flatten().collect()
    }
}

impl Config for Schedule {
    fn problems(&self) -> Vec<Problem> {
        let possible = (0.0..=1.0).contains(&self.floor);
        Problem::unless(possible, "floor", self.floor, "0 to 1").into_iter().collect()
    }
}

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
            Algorithm::Adamw { .. } => save_moments(&self.adamw, ADAMW_MOMENTS, (name, module), into),
            Algorithm::Rmsprop { .. } => save_moments(&self.rmsprop, RMSPROP_MOMENTS, (name, module), into),
        }
    }

    /// This optimiser with the step count and the moments that were kept under `name`; `module` is what it updates.
    ///
    /// # Errors
    /// [`LmError::State`] for a state of another algorithm or another module.
    pub fn restored<M: Module>(&self, name: &str, module: &M, from: &State) -> Result<Self, LmError> {
        from.require(&format!("{name}/algorithm"), self.config.algorithm.name())?;
        let mut restored = Self {
            config: self.config.clone(),
            adamw: HashMap::new(),
            rmsprop: HashMap::new(),
            step: from.get(&format!("{name}/step"))?,
            total: self.total,
        };
        match self.config.algorithm {
            Algorithm::Adamw { .. } => restored.adamw = moments(ADAMW_MOMENTS, (name, module), from)?,
            Algorithm::Rmsprop { .. } => restored.rmsprop = moments(RMSPROP_MOMENTS, (name, module), from)?,
        }
        Ok(restored)
    }

    /// Differentiates `loss`, clips the gradient by its global norm and updates the module.
    ///
    /// Clipping scales all gradients together so that their global L2 norm is at most `max_grad_norm`, as
    /// `torch.nn.utils.clip_grad_norm_` does (Pascanu et al. 2013).
    ///
    /// # Errors
    /// [`LmError::NotFinite`] if the gradient is not finite; the module is then unchanged.
    pub fn step<M: Module>(&mut self, module: &mut M, loss: &Tensor<1>) -> Result<Update, LmError> {
        let mut found =
            Found { gradients: GradientsParams::from_grads(loss.backward(), module), parameters: Vec::new() };
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

/// `PyTorch`'s names for the moments of `AdamW`, in the order in which they are kept here.
const ADAMW_MOMENTS: [&str; 2] = ["exp_avg", "exp_avg_sq"];

/// `PyTorch`'s name for the moment of `RMSprop`.
const RMSPROP_MOMENTS: [&str; 1] = ["square_avg"];

/// Puts moments into a state, each in a section `name/KIND`.
fn save_moments<M: Module, const N: usize>(
    moments: &HashMap<ParamId, [Tensor<1>; N]>,
    kinds: [&str; N],
    (name, module): (&str, &M),
    into: &mut State,
) {
    for Place { path, id, shape, .. } in places(module) {
        // A parameter that has had no gradient yet has none.
        let Some(moments) = moments.get(&id) else { continue };
        for (kind, moment) in kinds.into_iter().zip(moments) {
            let values = Values { shape: shape.clone(), values: to_vec(moment.clone()) };
            into.set_tensor(&format!("{name}/{kind}"), &path, values);
        }
    }
}

/// The moments that [`save_moments`] put into a state, for the parameters of `module`.
fn moments<M: Module, const N: usize>(
    kinds: [&str; N],
    (name, module): (&str, &M),
    from: &State,
) -> Result<HashMap<ParamId, [Tensor<1>; N]>, LmError> {
    let sections = kinds.map(|kind| format!("{name}/{kind}"));
    let places = places(module);
    for section in &sections {
        from.refuse_others(section, places.iter().map(|place| place.path.as_str()))?;
    }
    let mut moments = HashMap::new();
    for Place { path, id, shape, device } in places {
        let mut found = Vec::new();
        for section in &sections {
            found.extend(from.tensor(section, &path, &shape)?);
        }
        let count = found.len();
        let flat = |values: Vec<f32>| Tensor::from_floats(values.as_slice(), &device);
        let found: Vec<Tensor<1>> = found.into_iter().map(flat).collect();
        match <[Tensor<1>; N]>::try_from(found) {
            Ok(all) => moments.insert(id, all),
            Err(_) if count == 0 => None,
            Err(_) => {
                let expected = format!("all or none of {}", kinds.join(", "));
                return Err(refuse(&format!("{name}/{path}"), format!("{count} moments"), expected));
            }
        };
    }
    Ok(moments)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warm_up_and_decay() {
        let schedule = Schedule { warmup_steps: 3, decay: Decay::Cosine, floor: 0.2 };
        let want = [0.25, 0.5, 0.75, 1.0];
        for (step, want) in want.into_iter().enumerate() {
            assert!((schedule.factor(step, 13) - want).abs() < 1e-12);
        }
        // Half-way down the cosine: 0.2 + 0.8 / 2.
        assert!((schedule.factor(8, 13) - 0.6).abs() < 1e-12);
        assert!((schedule.factor(13, 13) - 0.2).abs() < 1e-12);
        let linear = Schedule { warmup_steps: 0, decay: Decay::Linear, floor: 0.0 };
        assert!((linear.factor(1, 4) - 0.75).abs() < 1e-12);
    }
}
