//! What all training shares: the trait [`Trainer`], optimisers with explicit constants, schedules, global-norm
//! clipping, and shuffled epochs.

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{
    AdamW, AdamWConfig, AdamWState, GradientsParams, LearningRate, ModuleOptimizer,
    Optimizer as BurnOptimizer, RmsPropConfig,
};
use burn::tensor::{Device, Tensor};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::LmError;
use crate::policy::Policy;
use crate::random::Stream;

/// Named numbers of one step, in the order in which the columns of `metrics.csv` stand.
pub type Metrics = Vec<(&'static str, f64)>;

/// Why a step failed; each crate's own error inside.
pub type StepError = Box<dyn std::error::Error + Send + Sync>;

/// An algorithm that improves a policy step by step.
pub trait Trainer {
    /// One step of the algorithm.
    ///
    /// # Errors
    /// If a number stops being finite or the data does not fit the model.
    fn step(&mut self) -> Result<Metrics, StepError>;

    /// The policy as it is now, without gradients.
    fn policy(&self) -> Policy;

    /// Tokens that the algorithm has processed so far: trained on, generated and scored, prompts included.
    fn tokens(&self) -> u64;
}

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

impl OptimizerConfig {
    /// Checks the constants.
    ///
    /// # Errors
    /// [`LmError::Config`] for the first impossible one.
    pub fn check(&self) -> Result<(), LmError> {
        let mut checks = vec![
            ("learning_rate", self.learning_rate, self.learning_rate > 0.0, "a positive number"),
            ("max_grad_norm", self.max_grad_norm, self.max_grad_norm > 0.0, "a positive number"),
            ("schedule.floor", self.schedule.floor, (0.0..=1.0).contains(&self.schedule.floor), "0 to 1"),
        ];
        let unit = |value: f32| (0.0..1.0).contains(&value);
        match self.algorithm {
            Algorithm::Adamw { beta1, beta2, epsilon, weight_decay } => checks.extend([
                ("algorithm.beta1", f64::from(beta1), unit(beta1), "0 up to, not including, 1"),
                ("algorithm.beta2", f64::from(beta2), unit(beta2), "0 up to, not including, 1"),
                ("algorithm.epsilon", f64::from(epsilon), epsilon > 0.0, "a positive number"),
                ("algorithm.weight_decay", f64::from(weight_decay), weight_decay >= 0.0, "0 or more"),
            ]),
            Algorithm::Rmsprop { alpha, epsilon } => checks.extend([
                ("algorithm.alpha", f64::from(alpha), unit(alpha), "0 up to, not including, 1"),
                ("algorithm.epsilon", f64::from(epsilon), epsilon > 0.0, "a positive number"),
            ]),
        }
        for (key, found, possible, expected) in checks {
            if !(possible && found.is_finite()) {
                return Err(LmError::Config { key, found: found.to_string(), expected: expected.to_owned() });
            }
        }
        Ok(())
    }
}

/// AdamW that decays matrices and leaves biases and norms alone, as GPT-2 is usually trained.
#[derive(Clone)]
struct MatrixDecay {
    matrices: AdamW,
    vectors: AdamW,
}

impl BurnOptimizer for MatrixDecay {
    type State<const D: usize> = AdamWState<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let rule = if D >= 2 { &self.matrices } else { &self.vectors };
        rule.step(lr, tensor, grad, state)
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        AdamW::to_device(state, device)
    }
}

/// An optimiser at work: its moments and its step count.
pub struct Optimizer {
    inner: ModuleOptimizer,
    config: OptimizerConfig,
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
    /// [`LmError::Config`] for an impossible constant.
    pub fn new(config: &OptimizerConfig, total: usize) -> Result<Self, LmError> {
        config.check()?;
        let inner = match config.algorithm {
            Algorithm::Adamw { beta1, beta2, epsilon, weight_decay } => {
                let rule = |decay| {
                    AdamWConfig::new()
                        .with_beta_1(beta1)
                        .with_beta_2(beta2)
                        .with_epsilon(epsilon)
                        .with_weight_decay(decay)
                        .build()
                };
                ModuleOptimizer::from(MatrixDecay { matrices: rule(weight_decay), vectors: rule(0.0) })
            }
            Algorithm::Rmsprop { alpha, epsilon } => RmsPropConfig::new()
                .with_alpha(alpha)
                .with_momentum(0.0)
                .with_epsilon(epsilon)
                .with_centered(false)
                .init(),
        };
        Ok(Self { inner, config: config.clone(), step: 0, total })
    }

    /// Differentiates `loss`, clips the global norm of the gradient and updates the module.
    ///
    /// # Errors
    /// [`LmError::NotFinite`] if the gradient is not finite; the module is then unchanged.
    pub fn step<M: Module>(&mut self, module: &mut M, loss: &Tensor<1>) -> Result<Update, LmError> {
        let gradients = GradientsParams::from_grads(loss.backward(), module);
        let (gradients, grad_norm) = clip_global_norm(module, gradients, self.config.max_grad_norm);
        if !grad_norm.is_finite() {
            return Err(LmError::NotFinite { what: "the gradient norm", value: grad_norm, step: self.step });
        }
        let learning_rate = self.config.learning_rate * self.config.schedule.factor(self.step, self.total);
        *module = self.inner.step(learning_rate, module.clone(), gradients);
        self.step += 1;
        Ok(Update { grad_norm, learning_rate })
    }
}

/// Scales all gradients together so that their global L2 norm is at most `max_norm`, as
/// `torch.nn.utils.clip_grad_norm_` does (Pascanu et al. 2013). Returns the norm before clipping.
pub fn clip_global_norm<M: Module>(
    module: &M,
    gradients: GradientsParams,
    max_norm: f64,
) -> (GradientsParams, f64) {
    let mut sum = SquaredNorm { gradients: &gradients, total: None };
    module.visit(&mut sum);
    let squared: f64 = sum.total.map_or(0.0, |total| total.into_scalar::<f32>().into());
    let norm = squared.sqrt();
    let factor = max_norm / (norm + 1e-6);
    if factor >= 1.0 || !norm.is_finite() {
        return (gradients, norm);
    }
    let mut scale = Scale { gradients, factor };
    module.visit(&mut scale);
    (scale.gradients, norm)
}

struct SquaredNorm<'a> {
    gradients: &'a GradientsParams,
    total: Option<Tensor<1>>,
}

impl ModuleVisitor for SquaredNorm<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let squared = gradient.square().sum();
            self.total = Some(match self.total.take() {
                Some(total) => total + squared,
                None => squared,
            });
        }
    }
}

struct Scale {
    gradients: GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.remove::<D>(param.id) {
            self.gradients.register(param.id, gradient * self.factor);
        }
    }
}

/// Endless shuffled passes: each pass visits every index once.
#[derive(Clone, Debug)]
pub struct Epochs {
    groups: Vec<Vec<usize>>,
    order: Vec<usize>,
    cursor: usize,
    epoch: u64,
    stream: Stream,
}

impl Epochs {
    /// Passes over `0..count`, shuffled by the stream.
    ///
    /// # Panics
    /// If `count` is 0: there would be nothing to visit.
    pub fn new(count: usize, stream: Stream) -> Self {
        Self::grouped((0..count).map(|index| vec![index]).collect(), stream)
    }

    /// Passes over groups of indices: a group's members come one after another, groups and members in random order.
    ///
    /// # Panics
    /// If there is no index at all.
    pub fn grouped(groups: Vec<Vec<usize>>, stream: Stream) -> Self {
        assert!(groups.iter().any(|group| !group.is_empty()), "epochs over no example");
        let mut epochs = Self { groups, order: Vec::new(), cursor: 0, epoch: 0, stream };
        epochs.shuffle();
        epochs
    }

    fn shuffle(&mut self) {
        let mut rng = self.stream.child(self.epoch).rng();
        let mut groups: Vec<&Vec<usize>> = self.groups.iter().collect();
        groups.shuffle(&mut rng);
        self.order.clear();
        for group in groups {
            let start = self.order.len();
            self.order.extend(group);
            self.order[start..].shuffle(&mut rng);
        }
    }

    /// The next `n` indices; a batch may span the end of a pass.
    pub fn next(&mut self, n: usize) -> Vec<usize> {
        (0..n)
            .map(|_| {
                if self.cursor == self.order.len() {
                    self.epoch += 1;
                    self.cursor = 0;
                    self.shuffle();
                }
                self.cursor += 1;
                self.order[self.cursor - 1]
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may panic")]
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

    #[test]
    fn epochs_visit_everything_once_a_pass() {
        let mut epochs = Epochs::new(5, Stream::new(1, "test"));
        let mut passes = [epochs.next(5), epochs.next(5)];
        assert_ne!(passes[0], passes[1], "two passes have the same order");
        for pass in &mut passes {
            pass.sort_unstable();
            assert_eq!(*pass, [0, 1, 2, 3, 4]);
        }
    }

    #[test]
    fn groups_stay_together_in_every_pass() {
        let mut epochs = Epochs::grouped(vec![vec![0, 1, 2], vec![3], vec![4, 5]], Stream::new(2, "test"));
        let mut orders = std::collections::HashSet::new();
        for _ in 0..50 {
            let pass = epochs.next(6);
            let place = |index: usize| pass.iter().position(|&found| found == index).unwrap();
            let spread = |group: &[usize]| {
                let places: Vec<usize> = group.iter().map(|&index| place(index)).collect();
                places.iter().max().unwrap() - places.iter().min().unwrap()
            };
            assert_eq!((spread(&[0, 1, 2]), spread(&[4, 5])), (2, 1), "{pass:?}");
            orders.insert(pass);
        }
        assert!(orders.len() > 20, "only {} orders in 50 passes", orders.len());
    }
}
