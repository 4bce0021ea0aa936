//! Test cases: one operation at one size, in burn and as an independent f64 implementation.

#![allow(dead_code, reason = "each test file uses what it needs")]

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{Device, Int, Tensor, TensorData};
use fused::{Heads, OutputHead, Packing, Rotation};

/// An operation on flat tensors.
pub(crate) type Operation = Box<dyn Fn(&[Tensor<1>]) -> Tensor<1> + Send + Sync>;
/// The same operation on f64.
pub(crate) type Exact = Box<dyn Fn(&[Vec<f64>]) -> Vec<f64> + Send + Sync>;

/// One operation at one size. All inputs and the output are flat.
pub(crate) struct Case {
    pub(crate) name: String,
    /// Number of elements of each float input.
    pub(crate) lens: Vec<usize>,
    /// Runs the operation under test.
    pub(crate) burn: Operation,
    /// Computes the same in f64 with nested loops.
    pub(crate) exact: Exact,
}

/// Output and gradients of a case.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) output: Vec<f32>,
    pub(crate) gradients: Vec<Vec<f32>>,
}

/// The device that the environment variable `DEVICE` names: cpu, which is the default, or
/// another one that was built in.
#[expect(clippy::disallowed_methods, reason = "lm, which opens devices, is above this crate")]
pub(crate) fn device() -> Device {
    match std::env::var("DEVICE").as_deref() {
        Err(_) | Ok("cpu") => Device::flex(),
        #[cfg(feature = "tch")]
        Ok("tch") => Device::libtorch(),
        #[cfg(feature = "wgpu")]
        Ok("wgpu") => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
        #[cfg(feature = "cuda")]
        Ok("cuda") => Device::cuda(0),
        Ok(other) => {
            panic!("DEVICE is {other}, which is not built in: cargo test -p fused --features {other}")
        }
    }
}

/// The CPU, for what only its kernels can promise.
#[expect(clippy::disallowed_methods, reason = "lm, which opens devices, is above this crate")]
pub(crate) fn cpu() -> Device {
    Device::flex()
}

/// Whether tests run on the CPU's own kernels.
pub(crate) fn is_cpu() -> bool {
    std::env::var("DEVICE").map_or(true, |name| name == "cpu")
}

/// How far from the truth a device may be where the CPU may be `cpu`. Another device has
/// exponentials and sums of its own, which WGSL leaves several units in the last place; the bound is
/// that of `experiments devices`.
pub(crate) fn tolerance(cpu: f64) -> f64 {
    if is_cpu() { cpu } else { cpu.max(1e-4) }
}

static SWITCH: Mutex<()> = Mutex::new(());

/// Holds the process-wide switch for one test.
pub(crate) fn switched(enabled: bool) -> MutexGuard<'static, ()> {
    let guard = SWITCH.lock().unwrap_or_else(PoisonError::into_inner);
    fused::set_enabled(enabled);
    guard
}

/// Values in `[-amplitude, amplitude]`, the same formula as in `scripts/reference/fused.py`.
pub(crate) fn wave(len: usize, amplitude: f64, phase: f64) -> Vec<f32> {
    (0..len).map(|i| (amplitude * (0.7 * i as f64 * i as f64 + phase).sin()) as f32).collect()
}

/// Inputs of a case: every one with its own phase.
pub(crate) fn inputs(case: &Case, amplitude: f64) -> Vec<Vec<f32>> {
    case.lens.iter().enumerate().map(|(i, &len)| wave(len, amplitude, i as f64)).collect()
}

/// Weights of the output in the loss `sum(weight * output)`.
pub(crate) fn upstream(len: usize) -> Vec<f32> {
    wave(len, 1.0, 0.5)
}

/// Runs a case forward and backward on autodiff over flex, on the path that the switch says.
pub(crate) fn evaluate(case: &Case, inputs: &[Vec<f32>]) -> Outcome {
    let device = device().autodiff();
    let leaves: Vec<Tensor<1>> =
        inputs.iter().map(|x| Tensor::from_floats(x.as_slice(), &device).require_grad()).collect();
    let output = (case.burn)(&leaves);
    let weights = upstream(output.dims()[0]);
    let loss = (output.clone() * Tensor::from_floats(weights.as_slice(), &device)).sum();
    let gradients = loss.backward();
    let vector = |t: Tensor<1>| t.into_data().try_to_vec::<f32>().unwrap();
    Outcome {
        output: vector(output),
        gradients: leaves.iter().map(|leaf| vector(leaf.grad(&gradients).unwrap())).collect(),
    }
}

/// Largest `|a - b| / (1 + |b|)`.
pub(crate) fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs() / (1.0 + b.abs()))
        .fold(0.0, |m, d| if d.is_nan() { f32::INFINITY } else { m.max(d) })
}

pub(crate) fn ids(values: &[usize], like: &Tensor<1>) -> Tensor<1, Int> {
    let values: Vec<i64> = values.iter().map(|&v| v as i64).collect();
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), &like.device())
}

pub(crate) fn linear([n, i, o]: [usize; 3]) -> Case {
    Case {
        name: format!("linear {n} x {i} -> {o}"),
        lens: vec![n * i, i * o, o],
        burn: Box::new(move |x| {
            let (a, w) = (x[0].clone().reshape([n, i]), x[1].clone().reshape([i, o]));
            fused::linear(a, w, x[2].clone()).reshape([n * o])
        }),
        exact: Box::new(move |x| {
            let y = |r: usize, c: usize| -> f64 {
                x[2][c] + (0..i).map(|k| x[0][r * i + k] * x[1][k * o + c]).sum::<f64>()
            };
            (0..n * o).map(|at| y(at / o, at % o)).collect()
        }),
    }
}

pub(crate) const EPS: f64 = 1e-5;

pub(crate) fn layer_norm([n, d]: [usize; 2]) -> Case {
    Case {
        name: format!("layer_norm {n} x {d}"),
        lens: vec![n * d, d, d],
        burn: Box::new(move |x| {
            let y = fused::layer_norm(x[0].clone().reshape([n, d]), x[1].clone(), x[2].clone(), EPS);
            y.reshape([n * d])
        }),
        exact: Box::new(move |x| {
            let mut out = Vec::new();
            for row in x[0].chunks(d) {
                let mean = row.iter().sum::<f64>() / d as f64;
                let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / d as f64;
                let normed = row.iter().map(|v| (v - mean) / (variance + EPS).sqrt());
                out.extend(normed.enumerate().map(|(i, h)| h * x[1][i] + x[2][i]));
            }
            out
        }),
    }
}

pub(crate) fn gelu([n, d]: [usize; 2]) -> Case {
    Case {
        name: format!("gelu {n} x {d}"),
        lens: vec![n * d],
        burn: Box::new(move |x| fused::gelu(x[0].clone().reshape([n, d])).reshape([n * d])),
        exact: Box::new(|x| {
            let c = (2.0 / std::f64::consts::PI).sqrt();
            x[0].iter().map(|x| 0.5 * x * (1.0 + (c * (x + 0.044_715 * x.powi(3))).tanh())).collect()
        }),
    }
}

pub(crate) fn attention([b, t, h, hd]: [usize; 4]) -> Case {
    let sequences = (0..b).map(|s| (s * t..(s + 1) * t).collect()).collect();
    attention_over(Packing::equal(b, t), sequences, h, hd)
}

/// Attention with fewer heads of keys than of queries.
pub(crate) fn grouped_attention([b, t, queries, keys, hd]: [usize; 5]) -> Case {
    let sequences = (0..b).map(|s| (s * t..(s + 1) * t).collect()).collect();
    attention_over(Packing::equal(b, t), sequences, Heads { queries, keys }, hd)
}

/// Attention over rows of which `sequences` says, independently of the packing, which of them follow each
/// other. A row that is in several sequences stands at the same place in all of them.
pub(crate) fn attention_over(
    packing: Packing,
    sequences: Vec<Vec<usize>>,
    heads: impl Into<Heads>,
    hd: usize,
) -> Case {
    let heads = heads.into();
    let (rows, d, packed) = (packing.rows(), heads.queries * hd, (heads.queries + 2 * heads.keys) * hd);
    // The first column of the key of a query head, and of its value.
    let key = move |head: usize| d + head * heads.keys / heads.queries * hd;
    let value = move |head: usize| key(head) + heads.keys * hd;
    Case {
        name: format!("causal_attention over {sequences:?}, {heads:?} of {hd}"),
        lens: vec![rows * packed],
        burn: Box::new(move |x| {
            let qkv = x[0].clone().reshape([rows, packed]);
            fused::causal_attention(qkv, &packing, heads).reshape([rows * d])
        }),
        exact: Box::new(move |x| {
            let at = |row: usize, c: usize| x[0][row * packed + c];
            let mut out = vec![0.0; rows * d];
            for sequence in &sequences {
                for (i, c) in (0..sequence.len() * d).map(|f| (f / d, f % d)) {
                    let (head, c) = (c / hd, c % hd);
                    let score = |j: usize| {
                        let pair = |c| at(sequence[i], head * hd + c) * at(sequence[j], key(head) + c);
                        (0..hd).map(pair).sum::<f64>() / (hd as f64).sqrt()
                    };
                    let weights: Vec<f64> = (0..=i).map(|j| score(j).exp()).collect();
                    let total: f64 = weights.iter().sum();
                    let term = |(j, w): (usize, &f64)| w / total * at(sequence[j], value(head) + c);
                    out[sequence[i] * d + head * hd + c] = weights.iter().enumerate().map(term).sum();
                }
            }
            out
        }),
    }
}

/// Two prefix trees and a sequence: rows 0..3 with branches of 2, 0 and 1 rows; no prefix, and a branch; a
/// prefix alone.
pub(crate) fn packing(heads: impl Into<Heads>, hd: usize) -> Case {
    let packing = Packing::new([(3, vec![2, 0, 1]), (0, vec![4]), (2, vec![])]);
    let sequences =
        vec![vec![0, 1, 2, 3, 4], vec![0, 1, 2], vec![0, 1, 2, 5], vec![6, 7, 8, 9], vec![10, 11]];
    attention_over(packing, sequences, heads, hd)
}

/// A prefix of 5 rows and two branches, one longer than a band of the kernel.
pub(crate) fn long_branches(heads: impl Into<Heads>, hd: usize) -> Case {
    let branch = |rows: std::ops::Range<usize>| (0..5).chain(rows).collect();
    attention_over(Packing::new([(5, vec![40, 33])]), vec![branch(5..45), branch(45..78)], heads, hd)
}

pub(crate) fn linear_add([n, i, o]: [usize; 3]) -> Case {
    let plain = linear([n, i, o]);
    Case {
        name: format!("linear_add {n} x {i} -> {o}"),
        lens: [plain.lens, vec![n * o]].concat(),
        burn: Box::new(move |x| {
            let (a, w) = (x[0].clone().reshape([n, i]), x[1].clone().reshape([i, o]));
            fused::linear_add(x[3].clone().reshape([n, o]), a, w, x[2].clone()).reshape([n * o])
        }),
        exact: Box::new(move |x| (plain.exact)(&x[..3]).iter().zip(&x[3]).map(|(y, r)| y + r).collect()),
    }
}

pub(crate) fn logprobs([n, d, v]: [usize; 3]) -> Case {
    logprobs_of_head([n, d, v], false)
}

/// Log-probabilities under a head with a bias.
pub(crate) fn biased_logprobs([n, d, v]: [usize; 3]) -> Case {
    logprobs_of_head([n, d, v], true)
}

fn logprobs_of_head([n, d, v]: [usize; 3], biased: bool) -> Case {
    let targets: Vec<usize> = (0..n).map(|i| (i * 7919 + v - 1) % v).collect();
    let exact_targets = targets.clone();
    Case {
        name: format!("target_logprobs {n} x {d} over {v}, biased {biased}"),
        lens: [n * d, v * d, v][..if biased { 3 } else { 2 }].to_vec(),
        burn: Box::new(move |x| {
            let (hidden, weight) = (x[0].clone().reshape([n, d]), x[1].clone().reshape([v, d]));
            let head = OutputHead { weight, bias: x.get(2).cloned() };
            fused::target_logprobs(hidden, head, ids(&targets, &x[0]))
        }),
        exact: Box::new(move |x| {
            let logit = |r: usize, token: usize| -> f64 {
                let product: f64 = (0..d).map(|k| x[0][r * d + k] * x[1][token * d + k]).sum();
                product + x.get(2).map_or(0.0, |bias| bias[token])
            };
            let logprob = |(r, &target): (usize, &usize)| {
                let logits: Vec<f64> = (0..v).map(|token| logit(r, token)).collect();
                let top = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                logits[target] - top - logits.iter().map(|z| (z - top).exp()).sum::<f64>().ln()
            };
            exact_targets.iter().enumerate().map(logprob).collect()
        }),
    }
}

pub(crate) fn embedding([v, d, n]: [usize; 3]) -> Case {
    // Repeats on purpose: their gradients add up.
    let rows: Vec<usize> = (0..n).map(|i| i * i % v).collect();
    let exact_rows = rows.clone();
    Case {
        name: format!("embedding {v} x {d}, {n} rows"),
        lens: vec![v * d],
        burn: Box::new(move |x| {
            fused::embedding(x[0].clone().reshape([v, d]), ids(&rows, &x[0])).reshape([n * d])
        }),
        exact: Box::new(move |x| {
            exact_rows.iter().flat_map(|&r| x[0][r * d..(r + 1) * d].to_vec()).collect()
        }),
    }
}

pub(crate) fn product([n, i, o]: [usize; 3]) -> Case {
    Case {
        name: format!("product {n} x {i} -> {o}"),
        lens: vec![n * i, o * i],
        burn: Box::new(move |x| {
            fused::product(x[0].clone().reshape([n, i]), x[1].clone().reshape([o, i])).reshape([n * o])
        }),
        exact: Box::new(move |x| {
            let y = |r: usize, c: usize| (0..i).map(|k| x[0][r * i + k] * x[1][c * i + k]).sum();
            (0..n * o).map(|at| y(at / o, at % o)).collect()
        }),
    }
}

pub(crate) fn product_add([n, i, o]: [usize; 3]) -> Case {
    let plain = product([n, i, o]);
    Case {
        name: format!("product_add {n} x {i} -> {o}"),
        lens: [plain.lens, vec![n * o]].concat(),
        burn: Box::new(move |x| {
            let (a, w) = (x[0].clone().reshape([n, i]), x[1].clone().reshape([o, i]));
            fused::product_add(x[2].clone().reshape([n, o]), a, w).reshape([n * o])
        }),
        exact: Box::new(move |x| (plain.exact)(&x[..2]).iter().zip(&x[2]).map(|(y, r)| y + r).collect()),
    }
}

pub(crate) fn affine([n, i, o]: [usize; 3]) -> Case {
    let plain = product([n, i, o]);
    Case {
        name: format!("affine {n} x {i} -> {o}"),
        lens: [plain.lens, vec![o]].concat(),
        burn: Box::new(move |x| {
            let (a, w) = (x[0].clone().reshape([n, i]), x[1].clone().reshape([o, i]));
            fused::affine(a, w, x[2].clone()).reshape([n * o])
        }),
        exact: Box::new(move |x| {
            (plain.exact)(&x[..2]).iter().enumerate().map(|(at, y)| y + x[2][at % o]).collect()
        }),
    }
}

pub(crate) fn affine_add([n, i, o]: [usize; 3]) -> Case {
    let plain = affine([n, i, o]);
    Case {
        name: format!("affine_add {n} x {i} -> {o}"),
        lens: [plain.lens, vec![n * o]].concat(),
        burn: Box::new(move |x| {
            let (a, w) = (x[0].clone().reshape([n, i]), x[1].clone().reshape([o, i]));
            fused::affine_add(x[3].clone().reshape([n, o]), a, w, x[2].clone()).reshape([n * o])
        }),
        exact: Box::new(move |x| (plain.exact)(&x[..3]).iter().zip(&x[3]).map(|(y, r)| y + r).collect()),
    }
}

pub(crate) fn rms_norm([n, d]: [usize; 2]) -> Case {
    Case {
        name: format!("rms_norm {n} x {d}"),
        lens: vec![n * d, d],
        burn: Box::new(move |x| {
            fused::rms_norm(x[0].clone().reshape([n, d]), x[1].clone(), EPS).reshape([n * d])
        }),
        exact: Box::new(move |x| {
            let mut out = Vec::new();
            for row in x[0].chunks(d) {
                let mean_square = row.iter().map(|v| v * v).sum::<f64>() / d as f64;
                out.extend(row.iter().zip(&x[1]).map(|(v, gamma)| v / (mean_square + EPS).sqrt() * gamma));
            }
            out
        }),
    }
}

/// The base of the frequencies of [`rope`].
pub(crate) const THETA: f64 = 100.0;

/// Positions of the rows of [`rope`]: neither from 0 nor in order.
pub(crate) fn positions(rows: usize) -> Vec<usize> {
    (0..rows).map(|row| 2 + row * row % 11).collect()
}

pub(crate) fn rope([n, queries, keys, hd]: [usize; 4]) -> Case {
    let packed = (queries + 2 * keys) * hd;
    Case {
        name: format!("rope {n} rows, {queries} + 2 x {keys} heads of {hd}"),
        lens: vec![n * packed],
        burn: Box::new(move |x| {
            let rotation = Rotation::new(&positions(n), hd, THETA);
            let qkv = x[0].clone().reshape([n, packed]);
            fused::rope(qkv, &rotation, Heads { queries, keys }).reshape([n * packed])
        }),
        exact: Box::new(move |x| {
            let mut out = x[0].clone();
            for (row, position) in positions(n).into_iter().enumerate() {
                for (head, i) in (0..queries + keys).flat_map(|head| (0..hd / 2).map(move |i| (head, i))) {
                    let angle = position as f64 * THETA.powf(-2.0 * i as f64 / hd as f64);
                    let (a, b) = (row * packed + head * hd + i, row * packed + head * hd + hd / 2 + i);
                    // The pair as a complex number, turned.
                    out[a] = x[0][a] * angle.cos() - x[0][b] * angle.sin();
                    out[b] = x[0][a] * angle.sin() + x[0][b] * angle.cos();
                }
            }
            out
        }),
    }
}

/// A rotation of neighbours, of the first `rotated` of a head's columns.
pub(crate) fn rope_of_neighbours([n, heads, hd, rotated]: [usize; 4]) -> Case {
    let packed = 3 * heads * hd;
    Case {
        name: format!("rope {n} rows, {rotated} columns of {heads} heads of {hd}"),
        lens: vec![n * packed],
        burn: Box::new(move |x| {
            let rotation = Rotation::of_neighbours(&positions(n), hd, rotated, THETA);
            fused::rope(x[0].clone().reshape([n, packed]), &rotation, heads).reshape([n * packed])
        }),
        exact: Box::new(move |x| {
            let mut out = x[0].clone();
            for (row, position) in positions(n).into_iter().enumerate() {
                for (head, i) in (0..2 * heads).flat_map(|head| (0..rotated / 2).map(move |i| (head, i))) {
                    let angle = position as f64 * THETA.powf(-2.0 * i as f64 / rotated as f64);
                    let a = row * packed + head * hd + 2 * i;
                    out[a] = x[0][a] * angle.cos() - x[0][a + 1] * angle.sin();
                    out[a + 1] = x[0][a] * angle.sin() + x[0][a + 1] * angle.cos();
                }
            }
            out
        }),
    }
}

pub(crate) fn swiglu([n, d]: [usize; 2]) -> Case {
    Case {
        name: format!("swiglu {n} x {d}"),
        lens: vec![n * d, n * d],
        burn: Box::new(move |x| {
            let [gate, up] = [0, 1].map(|i| x[i].clone().reshape([n, d]));
            fused::swiglu(gate, up).reshape([n * d])
        }),
        exact: Box::new(|x| x[0].iter().zip(&x[1]).map(|(a, b)| a / (1.0 + (-a).exp()) * b).collect()),
    }
}

/// Every operation at sizes that are odd, tiny, or of several pieces of work.
pub(crate) fn odd_cases() -> Vec<Case> {
    vec![
        linear([1, 1, 1]),
        linear([1, 48, 17]),
        linear([17, 19, 33]),
        linear([300, 20, 213]),
        linear_add([1, 3, 2]),
        linear_add([300, 20, 33]),
        layer_norm([1, 1]),
        layer_norm([1, 17]),
        layer_norm([131, 40]),
        gelu([1, 1]),
        gelu([3, 37]),
        gelu([33, 521]),
        attention([1, 1, 1, 1]),
        attention([2, 1, 2, 5]),
        attention([3, 17, 2, 12]),
        attention([2, 33, 3, 16]),
        attention([1, 70, 2, 7]),
        packing(2, 3),
        long_branches(2, 9),
        grouped_attention([1, 1, 2, 1, 1]),
        grouped_attention([2, 33, 6, 2, 16]),
        grouped_attention([1, 70, 3, 1, 7]),
        packing(Heads { queries: 4, keys: 2 }, 3),
        long_branches(Heads { queries: 6, keys: 2 }, 5),
        product([1, 1, 1]),
        product([7, 37, 195]),
        product([32, 16, 5]),
        product([300, 20, 213]),
        product_add([1, 3, 2]),
        product_add([5, 33, 7]),
        product_add([300, 20, 33]),
        affine([1, 1, 1]),
        affine([7, 37, 195]),
        affine([300, 20, 213]),
        affine_add([1, 3, 2]),
        affine_add([5, 33, 7]),
        affine_add([300, 20, 33]),
        rms_norm([1, 1]),
        rms_norm([131, 40]),
        rope([1, 1, 1, 2]),
        rope([70, 4, 2, 6]),
        rope_of_neighbours([1, 1, 2, 2]),
        rope_of_neighbours([70, 3, 10, 4]),
        rope_of_neighbours([9, 2, 6, 6]),
        swiglu([1, 1]),
        swiglu([33, 521]),
        logprobs([1, 1, 1]),
        logprobs([1, 17, 5]),
        logprobs([300, 9, 37]),
        logprobs([3, 5, 16_385]),
        biased_logprobs([1, 1, 1]),
        biased_logprobs([1, 17, 5]),
        biased_logprobs([300, 9, 37]),
        biased_logprobs([3, 5, 16_385]),
        embedding([1, 1, 1]),
        embedding([7, 19, 23]),
    ]
}
