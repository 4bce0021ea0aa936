//! Kernels, each through its public function: forward and, from a gradient of ones, backward; forward alone
//! for `gemm` and for what has no gradient.
//!
//! `cargo bench --profile dev --workspace --bench kernels -- attention batch=32 time=64 heads=6 head_dim=32`
#![expect(clippy::disallowed_methods, reason = "a benchmark opens its own device")]

use burn::tensor::{Device, Int, Tensor, TensorData};
use fused::{AdamW, Packing, RmsProp, Weight};
use measure::{Case, CaseError};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What runs without a case on the command line.
const LIST: [&str; 13] = [
    "gemm m=1024 n=1024 k=1024",
    "gemm m=2048 n=768 k=192",
    "linear rows=2048 inputs=192 outputs=768",
    "product rows=16 inputs=576 outputs=1536",
    "attention batch=32 time=64 heads=6 head_dim=32",
    "layer_norm rows=2048 d=192",
    "gelu rows=2048 d=768",
    "target_logprobs rows=2048 d=192 vocab=4096",
    "token_kl rows=1024 d=192 vocab=4096",
    "sample rows=64 d=192 vocab=4096",
    "decode batch=64 position=31 heads=6 head_dim=32",
    "adamw params=2580000",
    "rmsprop params=2580000",
];

type Kernel = fn(&Case) -> Result<(), CaseError>;

const KERNELS: [(&str, Kernel); 12] = [
    ("gemm", gemm),
    ("linear", linear),
    ("product", product),
    ("attention", attention),
    ("layer_norm", layer_norm),
    ("gelu", gelu),
    ("target_logprobs", target_logprobs),
    ("token_kl", token_kl),
    ("sample", sample),
    ("decode", decode),
    ("adamw", adamw),
    ("rmsprop", rmsprop),
];

fn main() {
    // cargo adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let result = fused::host(|| match &words[..] {
        [] => LIST.iter().try_for_each(|line| measure(line.split_whitespace())),
        words => measure(words.iter().map(String::as_str)),
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

fn measure<'a>(words: impl Iterator<Item = &'a str>) -> Result<(), CaseError> {
    let case = Case::parse(words)?;
    match KERNELS.iter().find(|(name, _)| *name == case.name()) {
        Some((_, kernel)) => kernel(&case),
        None => Err(case.unknown(KERNELS.map(|(name, _)| name))),
    }
}

/// Small values that differ from element to element.
fn values<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let len: usize = shape.iter().product();
    let data: Vec<f32> = (0..len).map(|i| 0.05 * (1.3 * i as f32).sin()).collect();
    Tensor::from_data(TensorData::new(data, shape), device)
}

fn parameter<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    values(shape, &Device::flex().autodiff()).require_grad()
}

/// The matrix product of a linear layer, `m x k` by `k x n`.
fn gemm(case: &Case) -> Result<(), CaseError> {
    let (m, n, k): (usize, usize, usize) = (case.get("m")?, case.get("n")?, case.get("k")?);
    let device = Device::flex();
    let (x, w, b) = (values([m, k], &device), values([k, n], &device), values([n], &device));
    case.measure(m, || {
        drop(fused::linear(x.clone(), w.clone(), b.clone()));
        Ok(())
    })
}

fn linear(case: &Case) -> Result<(), CaseError> {
    let (rows, inputs, outputs) = (case.get("rows")?, case.get("inputs")?, case.get("outputs")?);
    let (x, w, b) = (parameter([rows, inputs]), parameter([inputs, outputs]), parameter([outputs]));
    case.measure(rows, || {
        drop(fused::linear(x.clone(), w.clone(), b.clone()).backward());
        Ok(())
    })
}

/// A product with a weight as `nn.Linear` stores it, forward only: what decoding spends its time in.
fn product(case: &Case) -> Result<(), CaseError> {
    let (rows, inputs, outputs) = (case.get("rows")?, case.get("inputs")?, case.get("outputs")?);
    let device = Device::flex();
    let (x, w) = (values([rows, inputs], &device), values([outputs, inputs], &device));
    case.measure(rows, || {
        drop(fused::product(x.clone(), w.clone()));
        Ok(())
    })
}

fn attention(case: &Case) -> Result<(), CaseError> {
    let (batch, time): (usize, usize) = (case.get("batch")?, case.get("time")?);
    let (heads, head_dim): (usize, usize) = (case.get("heads")?, case.get("head_dim")?);
    let qkv = parameter([batch * time, 3 * heads * head_dim]);
    let packing = Packing::equal(batch, time);
    case.measure(batch * time, || {
        drop(fused::causal_attention(qkv.clone(), &packing, heads).backward());
        Ok(())
    })
}

fn layer_norm(case: &Case) -> Result<(), CaseError> {
    let (rows, d) = (case.get("rows")?, case.get("d")?);
    let (x, gamma, beta) = (parameter([rows, d]), parameter([d]), parameter([d]));
    case.measure(rows, || {
        drop(fused::layer_norm(x.clone(), gamma.clone(), beta.clone(), 1e-5).backward());
        Ok(())
    })
}

fn gelu(case: &Case) -> Result<(), CaseError> {
    let (rows, d) = (case.get("rows")?, case.get("d")?);
    let x = parameter([rows, d]);
    case.measure(rows, || {
        drop(fused::gelu(x.clone()).backward());
        Ok(())
    })
}

fn target_logprobs(case: &Case) -> Result<(), CaseError> {
    let (rows, d, vocab): (usize, usize, usize) = (case.get("rows")?, case.get("d")?, case.get("vocab")?);
    let (hidden, head) = (parameter([rows, d]), parameter([vocab, d]));
    let ids: Vec<i64> = (0..rows).map(|i| (i * 7919 % vocab) as i64).collect();
    let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [rows]), &hidden.device());
    case.measure(rows, || {
        drop(fused::target_logprobs(hidden.clone(), head.clone(), ids.clone()).backward());
        Ok(())
    })
}

fn token_kl(case: &Case) -> Result<(), CaseError> {
    let (rows, d, vocab): (usize, usize, usize) = (case.get("rows")?, case.get("d")?, case.get("vocab")?);
    let device = Device::flex();
    let (hidden, head) = (values([rows, d], &device), values([vocab, d], &device));
    let other = hidden.clone() * 0.9;
    let ids = Tensor::<1, Int>::zeros([rows], &device);
    case.measure(rows, || {
        drop(fused::token_kl(hidden.clone(), head.clone(), other.clone(), head.clone(), ids.clone()));
        Ok(())
    })
}

fn sample(case: &Case) -> Result<(), CaseError> {
    let (rows, d, vocab): (usize, usize, usize) = (case.get("rows")?, case.get("d")?, case.get("vocab")?);
    let device = Device::flex();
    let (hidden, head) = (values([rows, d], &device), values([vocab, d], &device));
    let uniforms: Vec<f64> = (0..rows).map(|i| (i as f64 + 0.5) / rows as f64).collect();
    case.measure(rows, || {
        drop(fused::sample(hidden.clone(), head.clone(), &uniforms));
        Ok(())
    })
}

/// Attention of one new token per sequence, with `position` tokens before it.
fn decode(case: &Case) -> Result<(), CaseError> {
    let (batch, position): (usize, usize) = (case.get("batch")?, case.get("position")?);
    let (heads, head_dim): (usize, usize) = (case.get("heads")?, case.get("head_dim")?);
    let device = Device::flex();
    let qkv = values([batch, 3 * heads * head_dim], &device);
    let cache = || Some(values([batch, heads, position + 1, head_dim], &device));
    let (mut keys, mut values) = (cache(), cache());
    case.measure(batch, || {
        // The caches are moved in and out, so that they are written in place.
        if let (Some(k), Some(v)) = (keys.take(), values.take()) {
            let (_, k, v) = fused::decode_attention(qkv.clone(), k, v, position, heads);
            (keys, values) = (Some(k), Some(v));
        }
        Ok(())
    })
}

/// The norm of a gradient, for clipping, and a step of AdamW.
fn adamw(case: &Case) -> Result<(), CaseError> {
    let params: usize = case.get("params")?;
    let device = Device::flex();
    let gradient = values([params], &device);
    let mut state = Some((values([params], &device), [(); 2].map(|()| Tensor::zeros([params], &device))));
    let mut step = 0;
    case.measure(params, || {
        let gradient_scale =
            fused::sum_of_squares(vec![gradient.clone()]).into_scalar::<f32>().sqrt().recip();
        step += 1;
        let rule = AdamW {
            learning_rate: 1e-4,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.1,
            step,
            gradient_scale,
        };
        // The moments are moved in and out, so that they are written in place.
        state = state.take().and_then(|(value, moments)| {
            let weight = Weight { value, gradient: gradient.clone(), moments };
            fused::adamw(vec![weight], rule).pop().map(|updated| (updated.value, updated.moments))
        });
        Ok(())
    })
}

/// The norm of a gradient, for clipping, and a step of RMSprop.
fn rmsprop(case: &Case) -> Result<(), CaseError> {
    let params: usize = case.get("params")?;
    let device = Device::flex();
    let gradient = values([params], &device);
    let mut state = Some((values([params], &device), [Tensor::zeros([params], &device)]));
    case.measure(params, || {
        let gradient_scale =
            fused::sum_of_squares(vec![gradient.clone()]).into_scalar::<f32>().sqrt().recip();
        let rule = RmsProp { learning_rate: 1e-6, alpha: 0.99, epsilon: 1e-8, gradient_scale };
        state = state.take().and_then(|(value, moments)| {
            let weight = Weight { value, gradient: gradient.clone(), moments };
            fused::rmsprop(vec![weight], rule).pop().map(|updated| (updated.value, updated.moments))
        });
        Ok(())
    })
}
