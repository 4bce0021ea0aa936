//! The shipped reference on the CPU and on the device, and data that both are fed.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::Tensor;
use lm::sequences::to_vec;
use lm::{ParameterPath, Policy, PreferencePair, Sampling, Sequence, Stream};

use super::checks::Checks;
use crate::repository;

/// The same policy twice, and responses that the one on the CPU wrote.
pub struct Models {
    pub host: Policy,
    pub device: Policy,
    pub prompts: Vec<Vec<u32>>,
    /// [`RESPONSES`] to each prompt, one after another.
    pub sequences: Vec<Sequence>,
}

/// Responses to each prompt.
pub const RESPONSES: usize = 4;
/// Tokens of a response at most.
pub const LENGTH: usize = 20;

const OPENINGS: [&str; 6] = [
    "This movie was",
    "I have seen",
    "The acting in this film",
    "What a",
    "One of the best films of",
    "I hated",
];

impl Models {
    pub fn load(checks: &Checks<'_>) -> Result<Self> {
        let folder = repository::path("data/reference-lm")?;
        let (host, tokenizer) = lm::files::load_policy(&folder, 1.0, &checks.host)?;
        let (device, _) = lm::files::load_policy(&folder, 1.0, &checks.device)?;
        let prompts = OPENINGS
            .iter()
            .map(|text| Ok([vec![tokenizer.begin()], tokenizer.encode(text)?].concat()))
            .collect::<Result<Vec<Vec<u32>>>>()?;
        let repeated: Vec<Vec<u32>> =
            prompts.iter().flat_map(|prompt| std::iter::repeat_n(prompt.clone(), RESPONSES)).collect();
        let sampling = Sampling { max_new_tokens: LENGTH, batch_size: 64 };
        let drawn = host.generate(&repeated, &sampling, Stream::new(0, "device check"))?;
        let sequences = repeated
            .into_iter()
            .zip(drawn)
            .map(|(prompt, generation)| Sequence { prompt, response: generation.response })
            .collect();
        Ok(Self { host, device, prompts, sequences })
    }

    /// Pairs of responses to the same prompt, some of which share a response.
    pub fn pairs(&self) -> Vec<PreferencePair> {
        let pair = |group: &[Sequence], chosen: usize, rejected: usize| PreferencePair {
            prompt: group[0].prompt.clone(),
            chosen: group[chosen].response.clone(),
            rejected: group[rejected].response.clone(),
            probability: 1.0,
        };
        self.sequences
            .chunks(RESPONSES)
            .flat_map(|group| {
                [(0, 1), (2, 3), (0, 3)].map(|(chosen, rejected)| pair(group, chosen, rejected))
            })
            .collect()
    }
}

/// The gradient of `loss` with respect to every parameter, by its path in the module.
pub fn gradients<M: Module>(module: &M, loss: &Tensor<1>) -> Result<BTreeMap<String, Vec<f32>>> {
    let gradients = GradientsParams::from_grads(loss.backward(), module);
    let mut collect =
        Collect { path: ParameterPath::default(), gradients, values: BTreeMap::new(), missing: None };
    module.visit(&mut collect);
    match collect.missing {
        None => Ok(collect.values),
        Some(path) => Err(anyhow::anyhow!("no gradient of {path}")),
    }
}

struct Collect {
    path: ParameterPath,
    gradients: GradientsParams,
    values: BTreeMap<String, Vec<f32>>,
    missing: Option<String>,
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.to_string();
        match self.gradients.get::<D>(param.id) {
            Some(gradient) => {
                self.values.insert(path, to_vec(gradient));
            }
            None => self.missing = Some(path),
        }
    }
}

/// Largest error of any parameter's gradient, relative to the largest magnitude of that gradient or to
/// a hundredth of the largest of all, whichever is more: some gradients, as that of a bias of keys,
/// are zero but for rounding.
pub fn gradient_error(
    found: &BTreeMap<String, Vec<f32>>,
    expected: &BTreeMap<String, Vec<f32>>,
) -> Result<f64> {
    let magnitude = |values: &[f32]| values.iter().map(|value| f64::from(value.abs())).fold(0.0, f64::max);
    let floor = expected.values().map(|values| magnitude(values)).fold(0.0, f64::max) / 100.0;
    let mut most = 0.0_f64;
    for (path, expected) in expected {
        let found = found.get(path).with_context(|| format!("no gradient of {path}"))?;
        let difference: Vec<f32> = found.iter().zip(expected).map(|(a, b)| a - b).collect();
        let finite = found.len() == expected.len() && difference.iter().all(|value| value.is_finite());
        let error =
            if finite { magnitude(&difference) / magnitude(expected).max(floor) } else { f64::INFINITY };
        most = most.max(error);
    }
    Ok(most)
}
