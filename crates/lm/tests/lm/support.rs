//! What several test modules need: small random models, their parameters by name, and thread pools.

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use lm::architecture::{GptJConfig, LlamaConfig};
use lm::optimizer::{Algorithm, Decay, Schedule};
use lm::sequences::to_vec;
use lm::{
    Activations, Decoder, DecoderConfig, DeviceSpec, Gradients, OptimizerConfig, ParameterPath, Policy,
    Segments, Sequence, Shape, Stream,
};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// What a training step can do with its activations.
pub(crate) const ACTIVATIONS: [Activations; 2] = [Activations::Kept, Activations::Recomputed];

/// The end token of every random model here.
pub(crate) const END: u32 = 0;

/// The device that the environment variable `DEVICE` names, by default the CPU, without gradients.
pub(crate) fn device() -> Device {
    std::env::var("DEVICE").map_or(DeviceSpec::CPU, |name| name.parse().unwrap()).open().unwrap()
}

pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A model with two heads.
pub(crate) fn shape(vocabulary: usize, context: usize, width: usize, layers: usize) -> DecoderConfig {
    DecoderConfig::gpt2(Shape { vocabulary, context, width, layers, heads: 2 })
}

/// A Llama with 4 heads of queries that share 2 of keys, wider together than the residual stream.
pub(crate) fn llama(vocabulary: usize, context: usize, width: usize, layers: usize) -> LlamaConfig {
    LlamaConfig {
        vocab_size: vocabulary,
        max_position_embeddings: context,
        hidden_size: width,
        intermediate_size: 3 * width,
        num_hidden_layers: layers,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: (width / 3).next_multiple_of(2),
        rms_norm_eps: 1e-5,
        rope_theta: 10_000.0,
        initializer_range: 0.02,
        tie_word_embeddings: true,
    }
}

/// A GPT-J with two heads, of which half is rotated.
pub(crate) fn gptj(vocabulary: usize, context: usize, width: usize, layers: usize) -> GptJConfig {
    GptJConfig {
        vocab_size: vocabulary,
        n_positions: context,
        n_embd: width,
        n_layer: layers,
        n_head: 2,
        n_inner: 3 * width,
        rotary_dim: width / 4,
        layer_norm_epsilon: 1e-5,
        initializer_range: 0.02,
    }
}

/// A model of every family at one size, and what a family has in two forms.
pub(crate) fn families(vocabulary: usize, context: usize, width: usize, layers: usize) -> [DecoderConfig; 4] {
    let llama = llama(vocabulary, context, width, layers);
    let untied = LlamaConfig { tie_word_embeddings: false, ..llama.clone() };
    [
        shape(vocabulary, context, width, layers),
        DecoderConfig::Llama(llama),
        DecoderConfig::Llama(untied),
        DecoderConfig::GptJ(gptj(vocabulary, context, width, layers)),
    ]
}

/// A policy all of whose parameters, biases and norms included, are uniform in (-spread, spread).
pub(crate) fn random_policy(config: &DecoderConfig, spread: f32, seed: u64, temperature: f64) -> Policy {
    let stream = Stream::new(seed, "test weights");
    let blank = Decoder::random(config, stream, &device()).unwrap();
    let model = blank.map(&mut Randomise { rng: stream.child(1).rng(), spread });
    Policy::new(model, temperature, END).unwrap()
}

struct Randomise {
    rng: ChaCha8Rng,
    spread: f32,
}

impl ModuleMapper for Randomise {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|old| {
            let dims = old.dims();
            let count = dims.iter().product();
            let mut draw = || self.spread * (2.0 * self.rng.random::<f32>() - 1.0);
            let values: Vec<f32> = (0..count).map(|_| draw()).collect();
            Tensor::from_data(TensorData::new(values, dims), &old.device())
        })
    }
}

/// Every parameter's values by its path in the module.
pub(crate) fn parameters<M: Module>(module: &M) -> BTreeMap<String, Vec<f32>> {
    let mut collect = Collect { path: ParameterPath::default(), gradients: None, values: BTreeMap::new() };
    module.visit(&mut collect);
    collect.values
}

/// The gradient of `loss`, of which `segments` are what its graph lacks, with respect to every parameter that
/// trains, by its path in the module.
pub(crate) fn gradients<M: Module>(
    module: &M,
    loss: &Tensor<1>,
    segments: Segments,
) -> BTreeMap<String, Vec<f32>> {
    let gradients = Some(Gradients::of(module, loss, segments).into_params());
    let mut collect = Collect { path: ParameterPath::default(), gradients, values: BTreeMap::new() };
    module.visit(&mut collect);
    collect.values
}

struct Collect {
    path: ParameterPath,
    gradients: Option<GradientsParams>,
    values: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for Collect {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = match &self.gradients {
            None => Some(param.val()),
            Some(gradients) => gradients.get::<D>(param.id),
        };
        let Some(value) = value else {
            assert!(!param.is_require_grad(), "{} trains without a gradient", self.path);
            return;
        };
        self.values.insert(self.path.to_string(), to_vec(value));
    }
}

/// Runs `work` where rayon has the given number of threads.
pub(crate) fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

/// Prompts that begin with the end token, of lengths `shortest..=longest` in turn.
pub(crate) fn prompts(count: usize, shortest: usize, longest: usize, vocab: u32, seed: u64) -> Vec<Vec<u32>> {
    let mut rng = Stream::new(seed, "test prompts").rng();
    (0..count)
        .map(|i| {
            let length = shortest + i % (longest - shortest + 1);
            let mut prompt = vec![END];
            prompt.extend((1..length).map(|_| rng.random_range(1..vocab)));
            prompt
        })
        .collect()
}

pub(crate) fn sequence(prompt: &[u32], response: &[u32]) -> Sequence {
    Sequence { prompt: prompt.to_vec(), response: response.to_vec() }
}

/// `AdamW` at a constant learning rate.
pub(crate) fn adamw(learning_rate: f64) -> OptimizerConfig {
    OptimizerConfig {
        algorithm: Algorithm::Adamw { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.0 },
        learning_rate,
        schedule: Schedule { warmup_steps: 0, decay: Decay::Constant, floor: 1.0 },
        max_grad_norm: 1.0,
    }
}

/// `|got - want| <= tolerance` for every pair, and equally many of them.
#[track_caller]
pub(crate) fn assert_close(got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{} values instead of {}", got.len(), want.len());
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance, "value {i}: {got} is not {want}");
    }
}

pub(crate) fn mean(values: impl Iterator<Item = f64> + Clone) -> f64 {
    values.clone().sum::<f64>() / values.count() as f64
}

/// Standard error of the mean.
pub(crate) fn standard_error(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let (centre, count) = (mean(values.clone()), values.clone().count() as f64);
    (values.map(|value| (value - centre).powi(2)).sum::<f64>() / (count - 1.0) / count).sqrt()
}
