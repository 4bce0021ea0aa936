//! Optimiser steps against `torch.optim` (scripts/reference/optimizers.py), schedules by hand, refusals.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};
use lm::optimizer::{Algorithm, Decay, Schedule};
use lm::sequences::to_vec;
use lm::{Config, LmError, Optimizer, OptimizerConfig};
use serde::Deserialize;

use crate::support::{adamw, assert_close, device};

/// `y = x W + b`.
#[derive(Module, Debug)]
struct Affine {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

#[derive(Deserialize)]
struct Fixture {
    x: Vec<Vec<f32>>,
    y: Vec<Vec<f32>>,
    weight: Vec<Vec<f32>>,
    bias: Vec<f32>,
    adamw: Run,
    rmsprop: Run,
}

#[derive(Deserialize)]
struct Run {
    learning_rate: f64,
    max_grad_norm: f64,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Step {
    loss: f64,
    grad_norm: f64,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

fn fixture() -> Fixture {
    let path = crate::support::fixture("optimizers.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn matrix(rows: &[Vec<f32>]) -> Tensor<2> {
    Tensor::from_data(TensorData::new(rows.concat(), [rows.len(), rows[0].len()]), &device())
}

fn affine(weight: &[Vec<f32>], bias: &[f32]) -> Affine {
    let bias = Tensor::from_data(TensorData::new(bias.to_vec(), [bias.len()]), &device());
    Affine { weight: Param::from_tensor(matrix(weight)), bias: Param::from_tensor(bias) }.train()
}

fn config(algorithm: Algorithm, run: &Run) -> OptimizerConfig {
    OptimizerConfig {
        algorithm,
        learning_rate: run.learning_rate,
        schedule: Schedule { warmup_steps: 0, decay: Decay::Constant, floor: 1.0 },
        max_grad_norm: run.max_grad_norm,
    }
}

fn follow(algorithm: Algorithm, fixture: &Fixture, run: &Run) {
    let mut module = affine(&fixture.weight, &fixture.bias);
    let mut optimizer = Optimizer::new(&config(algorithm, run), run.steps.len()).unwrap();
    let device = module.weight.val().device();
    let (x, y) = (matrix(&fixture.x).to_device(&device), matrix(&fixture.y).to_device(&device));
    for step in &run.steps {
        let error = x.clone().matmul(module.weight.val()) + module.bias.val().unsqueeze() - y.clone();
        let loss = error.square().mean();
        assert!((f64::from(to_vec(loss.clone())[0]) - step.loss).abs() < 1e-6);
        let update = optimizer.step(&mut module, &loss).unwrap();
        assert!((update.grad_norm - step.grad_norm).abs() < 1e-6);
        assert_eq!(update.learning_rate, run.learning_rate);
        assert_close(&to_vec(module.weight.val()), &step.weight, 1e-6);
        assert_close(&to_vec(module.bias.val()), &step.bias, 1e-6);
    }
}

#[test]
fn adamw_with_clipping_takes_pytorchs_steps() {
    let fixture = fixture();
    let algorithm = Algorithm::Adamw { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 };
    follow(algorithm, &fixture, &fixture.adamw);
}

#[test]
fn rmsprop_with_clipping_takes_pytorchs_steps() {
    let fixture = fixture();
    follow(Algorithm::Rmsprop { alpha: 0.99, epsilon: 1e-8 }, &fixture, &fixture.rmsprop);
}

#[test]
fn warm_up_and_decay_factors() {
    let check = |schedule: &Schedule, total: usize, factors: &[(usize, f64)]| {
        for &(step, want) in factors {
            let got = schedule.factor(step, total);
            assert!((got - want).abs() < 1e-12, "step {step}: {got} is not {want}");
        }
    };
    // Warm-up over 4 steps: fifths. Then 10 steps down from 1 to 0.1, so 0.09 a step.
    let linear = Schedule { warmup_steps: 4, decay: Decay::Linear, floor: 0.1 };
    let fifths = [(0, 0.2), (1, 0.4), (2, 0.6), (3, 0.8), (4, 1.0)];
    check(&linear, 14, &fifths);
    check(&linear, 14, &[(5, 0.91), (9, 0.55), (13, 0.19), (14, 0.1), (40, 0.1)]);
    // A third of the way cos(60 degrees) = 1/2 leaves 3/4; two thirds of the way 1/4.
    let cosine = Schedule { warmup_steps: 0, decay: Decay::Cosine, floor: 0.0 };
    check(&cosine, 3, &[(0, 1.0), (1, 0.75), (2, 0.25), (3, 0.0)]);
    let constant = Schedule { warmup_steps: 1, decay: Decay::Constant, floor: 1.0 };
    check(&constant, 3, &[(0, 0.5), (1, 1.0), (2, 1.0), (9, 1.0)]);
    // A warm-up longer than the run never ends, and divides by nothing.
    check(&Schedule { warmup_steps: 9, ..linear }, 2, &[(0, 0.1), (1, 0.2), (9, 1.0), (10, 0.1)]);
}

#[test]
fn the_learning_rate_follows_the_schedule() {
    let mut module = affine(&[vec![1.0]], &[0.0]);
    let schedule = Schedule { warmup_steps: 1, decay: Decay::Linear, floor: 0.0 };
    let mut optimizer = Optimizer::new(&OptimizerConfig { schedule, ..adamw(0.1) }, 3).unwrap();
    for want in [0.05, 0.1, 0.05] {
        let loss = module.weight.val().square().sum() + module.bias.val().sum();
        assert!((optimizer.step(&mut module, &loss).unwrap().learning_rate - want).abs() < 1e-12);
    }
}

#[test]
fn a_gradient_that_is_not_finite_leaves_the_module_as_it_was() {
    let mut module = affine(&[vec![0.0]], &[2.0]);
    let mut optimizer = Optimizer::new(&adamw(0.1), 1).unwrap();
    // The derivative of the weight is 1e60, which f32 does not have.
    let loss = (module.weight.val() * 1e30 * 1e30).sum() + module.bias.val().sum();
    let error = optimizer.step(&mut module, &loss).unwrap_err();
    assert!(matches!(error, LmError::NotFinite { what: "the gradient norm", step: 0, .. }), "{error}");
    assert_eq!((to_vec(module.weight.val()), to_vec(module.bias.val())), (vec![0.0], vec![2.0]));
}

#[test]
fn impossible_constants_are_named() {
    let refuse = |config: OptimizerConfig, want: &str| {
        assert_eq!(config.check().unwrap_err().to_string(), want);
        assert!(Optimizer::new(&config, 1).is_err());
    };
    let good = || adamw(0.1);
    assert!(good().check().is_ok());
    refuse(
        OptimizerConfig { learning_rate: 0.0, ..good() },
        "learning_rate: found 0, expected a positive number",
    );
    refuse(
        OptimizerConfig { learning_rate: f64::INFINITY, ..good() },
        "learning_rate: found inf, expected a positive number",
    );
    refuse(
        OptimizerConfig { max_grad_norm: f64::NAN, ..good() },
        "max_grad_norm: found NaN, expected a positive number",
    );
    let schedule = Schedule { warmup_steps: 0, decay: Decay::Linear, floor: 1.5 };
    refuse(OptimizerConfig { schedule, ..good() }, "schedule.floor: found 1.5, expected 0 to 1");
    let algorithm = Algorithm::Adamw { beta1: 1.0, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.0 };
    refuse(
        OptimizerConfig { algorithm, ..good() },
        "algorithm.beta1: found 1, expected 0 up to, not including, 1",
    );
    let algorithm = Algorithm::Rmsprop { alpha: 0.5, epsilon: -1.0 };
    refuse(
        OptimizerConfig { algorithm, ..good() },
        "algorithm.epsilon: found -1, expected a positive number",
    );
    let schedule = Schedule { warmup_steps: 0, decay: Decay::Linear, floor: -1.0 };
    let algorithm = Algorithm::Adamw { beta1: -0.1, beta2: f32::NAN, epsilon: 0.0, weight_decay: -0.5 };
    let all = OptimizerConfig { algorithm, learning_rate: -1.0, schedule, max_grad_norm: 0.0 };
    let keys: Vec<String> = all.problems().into_iter().map(|problem| problem.key).collect();
    let wanted = [
        "algorithm.beta1",
        "algorithm.beta2",
        "algorithm.epsilon",
        "algorithm.weight_decay",
        "learning_rate",
        "schedule.floor",
        "max_grad_norm",
    ];
    assert_eq!(keys, wanted);
}
