//! Tokens per second of a GPT-2-like forward and backward pass, on the kernels and on burn's own
//! operations: 4 layers of width 192 with 6 heads, a vocabulary of 4096, 32 sequences of 64.
//!
//! `RAYON_NUM_THREADS=1 cargo run -p fused --example training_step`

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "it reports to the terminal")]

use std::time::Instant;

use burn::tensor::{Device, Int, Tensor, TensorData};

const LAYERS: usize = 4;
const WIDTH: usize = 192;
const HEADS: usize = 6;
const VOCAB: usize = 4096;
const BATCH: usize = 32;
const TIME: usize = 64;
const STEPS: usize = 5;

/// Small values that differ from element to element.
fn parameter<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    let len: usize = shape.iter().product();
    let data: Vec<f32> = (0..len).map(|i| 0.05 * (1.3 * i as f32).sin()).collect();
    Tensor::from_data(TensorData::new(data, shape), device).require_grad()
}

struct Layer {
    norms: [(Tensor<1>, Tensor<1>); 2],
    /// Attention in and out, feed-forward in and out.
    linears: [(Tensor<2>, Tensor<1>); 4],
}

impl Layer {
    fn new(device: &Device) -> Self {
        let sizes = [(WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH)];
        Self {
            norms: [(); 2].map(|()| (parameter([WIDTH], device), parameter([WIDTH], device))),
            linears: sizes.map(|(i, o)| (parameter([i, o], device), parameter([o], device))),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let norm = |i: usize, x| {
            let (gamma, beta) = self.norms[i].clone();
            fused::layer_norm(x, gamma, beta, 1e-5)
        };
        let linear = |i: usize, x| {
            let (weight, bias) = self.linears[i].clone();
            fused::linear(x, weight, bias)
        };
        let qkv = linear(0, norm(0, x.clone())).reshape([BATCH, TIME, 3 * WIDTH]);
        let mixed = fused::causal_attention(qkv, HEADS).reshape([BATCH * TIME, WIDTH]);
        let x = x + linear(1, mixed);
        let hidden = fused::gelu(linear(2, norm(1, x.clone())));
        x + linear(3, hidden)
    }
}

fn main() {
    let device = Device::flex().autodiff();
    let embedding = parameter([VOCAB, WIDTH], &device);
    let layers: Vec<Layer> = (0..LAYERS).map(|_| Layer::new(&device)).collect();
    let ids: Vec<i64> = (0..BATCH * TIME).map(|i| (i * 7919 % VOCAB) as i64).collect();
    let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [BATCH * TIME]), &device);
    for enabled in [true, false] {
        fused::set_enabled(enabled);
        let mut best = f64::INFINITY;
        let mut loss_value = 0.0;
        for _ in 0..STEPS {
            let start = Instant::now();
            let x = fused::embedding(embedding.clone(), ids.clone());
            let x = layers.iter().fold(x, |x, layer| layer.forward(x));
            let loss = fused::target_logprobs(x, embedding.clone(), ids.clone()).mean().neg();
            let gradients = loss.backward();
            loss_value = loss.into_scalar::<f32>();
            drop(gradients);
            best = best.min(start.elapsed().as_secs_f64());
        }
        let tokens = (BATCH * TIME) as f64 / best;
        println!("fused {enabled}: {tokens:.0} tokens/s, best of {STEPS} steps, loss {loss_value}");
    }
}
