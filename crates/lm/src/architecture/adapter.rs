//! Low-rank adapters (`LoRA`, Hu et al. 2021, arXiv 2106.09685): a frozen layer `y = f(x)` becomes
//!
//! `y = f(x) + s (x A^T) B^T`
//!
//! with `A: [rank, in]`, `B: [out, rank]`, the only parameters that train, and a scale s. B starts at zero,
//! so that the model starts as it is without adapters. The product is never made: decoding too passes
//! through the two thin matrices, so that generated and scored log-probs are those of one function, and the
//! weights stay as they were.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::problem::{Config, Problem};
use crate::random::Stream;

/// Which layers have adapters, and of what size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Rows of A and columns of B.
    pub rank: usize,
    /// The numerator of the scale.
    pub alpha: f64,
    /// Whether the scale is `alpha / sqrt(rank)` (Kalajdzievski 2023, arXiv 2312.03732) in
    /// place of `alpha / rank`.
    pub rslora: bool,
    /// Names of layers, `c_attn` or longer ends of their paths, `attn.c_proj`: PEFT's `target_modules`.
    pub targets: Vec<String>,
}

impl LoraConfig {
    /// The factor of the adapters' output.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rslora { rank.sqrt() } else { rank }
    }

    /// The layers that are to have an adapter, of those at `paths`.
    ///
    /// # Errors
    /// A problem of `targets` for the first target that none of them has.
    pub(super) fn targeted(&self, paths: &[String]) -> Result<Vec<bool>, Problem> {
        for target in &self.targets {
            if !paths.iter().any(|path| is_target(path, target)) {
                let mut names: Vec<&str> = paths.iter().filter_map(|path| path.rsplit('.').next()).collect();
                names.sort_unstable();
                names.dedup();
                return Err(Problem::new(
                    "targets",
                    target,
                    format!("names of layers: {}", names.join(", ")),
                ));
            }
        }
        Ok(paths.iter().map(|path| self.targets.iter().any(|target| is_target(path, target))).collect())
    }
}

impl Config for LoraConfig {
    fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = Problem::unless_counted("rank", self.rank).into_iter().collect();
        problems.extend(Problem::unless_positive("alpha", self.alpha));
        let expected = "at least one name of a layer";
        problems.extend(Problem::unless(!self.targets.is_empty(), "targets", "none", expected));
        problems
    }
}

/// Whether a target means the layer at a path: it is the path, its end, or the path in a model with a head.
fn is_target(path: &str, target: &str) -> bool {
    let ends = |whole: &str, end: &str| whole.strip_suffix(end).is_some_and(|rest| rest.ends_with('.'));
    path == target || ends(path, target) || ends(target, path)
}

/// The two matrices beside a layer.
#[derive(Module, Debug)]
pub(super) struct Adapter {
    lora_a: Param<Tensor<2>>,
    lora_b: Param<Tensor<2>>,
    #[module(skip)]
    config: LoraConfig,
}

impl Adapter {
    /// The adapter of a layer of so many inputs and outputs, with the values of A `[rank, in]` and B
    /// `[out, rank]`.
    pub(super) fn new(
        [inputs, outputs]: [usize; 2],
        config: &LoraConfig,
        [a, b]: [Vec<f32>; 2],
        device: &Device,
    ) -> Self {
        let matrix = |values: Vec<f32>, shape: [usize; 2]| {
            Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), device))
        };
        Self {
            lora_a: matrix(a, [config.rank, inputs]),
            lora_b: matrix(b, [outputs, config.rank]),
            config: config.clone(),
        }
    }

    /// What it was made with.
    pub(super) fn config(&self) -> &LoraConfig {
        &self.config
    }

    /// `y + s (x A^T) B^T` of `x: [N, in]`, `y: [N, out]`.
    pub(super) fn add_to(&self, y: Tensor<2>, x: Tensor<2>) -> Tensor<2> {
        let inner = fused::product(x, self.lora_a.val()) * self.config.scale();
        fused::product_add(y, inner, self.lora_b.val())
    }

    /// `s B A`, `[out, in]`: what a merged weight has more.
    pub(super) fn update(&self) -> Tensor<2> {
        fused::product(self.lora_b.val(), self.lora_a.val().transpose()) * self.config.scale()
    }
}

/// Values of a new adapter: A uniform in `±1 / sqrt(in)`, which is Kaiming's initialisation with
/// `a = sqrt(5)` as PEFT has it, B zero.
pub(super) fn fresh([inputs, outputs]: [usize; 2], rank: usize, stream: Stream) -> [Vec<f32>; 2] {
    let (mut rng, bound) = (stream.rng(), (inputs as f64).sqrt().recip());
    let a = (0..rank * inputs).map(|_| (bound * (2.0 * rng.random::<f64>() - 1.0)) as f32);
    [a.collect(), vec![0.0; outputs * rank]]
}

/// A layer that may have an adapter.
pub(super) trait Adaptable {
    /// Inputs and outputs. Weights that are only declared are not made for it.
    fn sizes(&self) -> [usize; 2];
    /// Its adapter.
    fn adapter(&mut self) -> &mut Option<Adapter>;
    /// Adds the adapter's update to the weight and takes the adapter away.
    fn merge(&mut self);
}

/// A layer with its path in the model.
pub(super) type Layer<'a> = (String, &'a mut dyn Adaptable);
