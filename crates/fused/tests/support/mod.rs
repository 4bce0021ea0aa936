//! Test cases: one operation at one size, in burn and as an independent f64 implementation.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::{Device, Int, Tensor, TensorData};

/// An operation on flat tensors.
pub type Operation = Box<dyn Fn(&[Tensor<1>]) -> Tensor<1> + Send + Sync>;
/// The same operation on f64.
pub type Exact = Box<dyn Fn(&[Vec<f64>]) -> Vec<f64> + Send + Sync>;

/// One operation at one size. All inputs and the output are flat.
pub struct Case {
    pub name: String,
    /// Number of elements of each float input.
    pub lens: Vec<usize>,
    /// Runs the operation under test.
    pub burn: Operation,
    /// Computes the same in f64 with nested loops.
    pub exact: Exact,
}

/// Output and gradients of a case.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    pub output: Vec<f32>,
    pub gradients: Vec<Vec<f32>>,
}

static SWITCH: Mutex<()> = Mutex::new(());

/// Holds the process-wide switch for one test.
pub fn switched(enabled: bool) -> MutexGuard<'static, ()> {
    let guard = SWITCH.lock().unwrap_or_else(PoisonError::into_inner);
    fused::set_enabled(enabled);
    guard
}

/// Values in `[-amplitude, amplitude]`, the same formula as in `scripts/reference/fused.py`.
pub fn wave(len: usize, amplitude: f64, phase: f64) -> Vec<f32> {
    (0..len).map(|i| (amplitude * (0.7 * i as f64 * i as f64 + phase).sin()) as f32).collect()
}

/// Inputs of a case: every one with its own phase.
pub fn inputs(case: &Case, amplitude: f64) -> Vec<Vec<f32>> {
    case.lens.iter().enumerate().map(|(i, &len)| wave(len, amplitude, i as f64)).collect()
}

/// Weights of the output in the loss `sum(weight * output)`.
pub fn upstream(len: usize) -> Vec<f32> {
    wave(len, 1.0, 0.5)
}

/// Runs a case forward and backward on autodiff over flex, on the path that the switch says.
pub fn evaluate(case: &Case, inputs: &[Vec<f32>]) -> Outcome {
    let device = Device::flex().autodiff();
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
pub fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs() / (1.0 + b.abs()))
        .fold(0.0, |m, d| if d.is_nan() { f32::INFINITY } else { m.max(d) })
}

pub fn ids(values: &[usize], like: &Tensor<1>) -> Tensor<1, Int> {
    let values: Vec<i64> = values.iter().map(|&v| v as i64).collect();
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), &like.device())
}

pub fn linear([n, i, o]: [usize; 3]) -> Case {
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

pub const EPS: f64 = 1e-5;

pub fn layer_norm([n, d]: [usize; 2]) -> Case {
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

pub fn gelu([n, d]: [usize; 2]) -> Case {
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

pub fn attention([b, t, h, hd]: [usize; 4]) -> Case {
    let d = h * hd;
    Case {
        name: format!("causal_attention {b} x {t}, {h} heads of {hd}"),
        lens: vec![b * t * 3 * d],
        burn: Box::new(move |x| {
            fused::causal_attention(x[0].clone().reshape([b, t, 3 * d]), h).reshape([b * t * d])
        }),
        exact: Box::new(move |x| {
            let at = |s: usize, t_: usize, part: usize, c: usize| x[0][(s * t + t_) * 3 * d + part * d + c];
            let mut out = Vec::new();
            for (s, i, c) in (0..b * t * d).map(|f| (f / (t * d), f / d % t, f % d)) {
                let head = c / hd * hd;
                let score = |j| {
                    let dot: f64 = (head..head + hd).map(|c| at(s, i, 0, c) * at(s, j, 1, c)).sum();
                    dot / (hd as f64).sqrt()
                };
                let weights: Vec<f64> = (0..=i).map(|j| score(j).exp()).collect();
                let total: f64 = weights.iter().sum();
                out.push(weights.iter().enumerate().map(|(j, w)| w / total * at(s, j, 2, c)).sum());
            }
            out
        }),
    }
}

pub fn logprobs([n, d, v]: [usize; 3]) -> Case {
    let targets: Vec<usize> = (0..n).map(|i| (i * 7919 + v - 1) % v).collect();
    let exact_targets = targets.clone();
    Case {
        name: format!("target_logprobs {n} x {d} over {v}"),
        lens: vec![n * d, v * d],
        burn: Box::new(move |x| {
            let (hidden, head) = (x[0].clone().reshape([n, d]), x[1].clone().reshape([v, d]));
            fused::target_logprobs(hidden, head, ids(&targets, &x[0]))
        }),
        exact: Box::new(move |x| {
            let logit = |r: usize, token: usize| -> f64 {
                (0..d).map(|k| x[0][r * d + k] * x[1][token * d + k]).sum()
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

pub fn embedding([v, d, n]: [usize; 3]) -> Case {
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

/// Every operation at sizes that are odd, tiny, or of several pieces of work.
pub fn odd_cases() -> Vec<Case> {
    vec![
        linear([1, 1, 1]),
        linear([1, 48, 17]),
        linear([17, 19, 33]),
        linear([300, 20, 213]),
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
        logprobs([1, 1, 1]),
        logprobs([1, 17, 5]),
        logprobs([300, 9, 37]),
        logprobs([3, 5, 16_385]),
        embedding([1, 1, 1]),
        embedding([7, 19, 23]),
    ]
}
