//! Parity with `PyTorch`: `scripts/reference/reward_model.py` computed the expected numbers in f64.

use std::path::Path;

use burn::tensor::Tensor;
use lm::files::load_scalar_model;
use lm::sequences::to_vec;
use lm::{PreferencePair, Scorer, Trainer, by_prompt};
use reward_model::{RewardModelConfig, RewardModelTrainer, reward_loss};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::trainers::device;

fn fixtures() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures"))
}

fn fixture() -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixtures().join("training.json")).unwrap()).unwrap()
}

fn get<T: DeserializeOwned>(value: &Value, key: &str) -> T {
    serde_json::from_value(value[key].clone()).unwrap_or_else(|error| panic!("{key}: {error}"))
}

fn close(got: f64, want: f64, tolerance: f64, what: &str) {
    assert!((got - want).abs() <= tolerance * want.abs().max(1.0), "{what}: {got} is not {want}");
}

fn all_close(got: &[f32], want: &[f64], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (&got, &want) in got.iter().zip(want) {
        close(f64::from(got), want, 1e-5, what);
    }
}

#[test]
fn loss_and_gradients() {
    let case = &fixture()["loss"];
    let device = device().autodiff();
    let [chosen, rejected] = ["chosen", "rejected"].map(|key| {
        let values: Vec<f32> = get(case, key);
        Tensor::<1>::from_floats(values.as_slice(), &device).require_grad()
    });
    let loss = reward_loss(chosen.clone(), rejected.clone(), Tensor::ones(chosen.dims(), &device)).loss;
    let gradients = loss.clone().mean().backward();
    all_close(&to_vec(loss), &get::<Vec<f64>>(case, "per_pair"), "loss");
    let gradient = |side: Tensor<1>| to_vec(side.grad(&gradients).unwrap());
    all_close(&gradient(chosen), &get::<Vec<f64>>(case, "gradient_chosen"), "gradient of chosen");
    all_close(&gradient(rejected), &get::<Vec<f64>>(case, "gradient_rejected"), "gradient of rejected");
}

/// Scores, loss and gradient norm of a `GPT2ForSequenceClassification` that transformers wrote, at the start
/// and after one, two and three `AdamW` steps.
#[test]
fn training_steps() {
    let fixture = fixture();
    let device = device();
    let model = load_scalar_model(&fixtures().join("tiny-gpt2-reward"), &device).unwrap();
    let pairs: Vec<PreferencePair> = get(&fixture, "pairs");
    let start = &fixture["scores_at_start"];
    let sequences: Vec<_> = pairs.iter().map(PreferencePair::chosen_sequence).collect();
    all_close(&model.score(&sequences).unwrap(), &get::<Vec<f64>>(start, "chosen"), "score of chosen");
    let sequences: Vec<_> = pairs.iter().map(PreferencePair::rejected_sequence).collect();
    all_close(&model.score(&sequences).unwrap(), &get::<Vec<f64>>(start, "rejected"), "score of rejected");

    let steps = fixture["steps"].as_array().unwrap();
    let config = RewardModelConfig {
        // Every step sees all pairs, so their order does not matter.
        batch_prompts: by_prompt(&pairs).len(),
        steps: steps.len(),
        evaluate_every: 1,
        optimizer: get(&fixture, "optimizer"),
    };
    let mut trainer = RewardModelTrainer::from_model(&model, pairs.clone(), &pairs, config, 0).unwrap();
    let mut validated: Option<f64> = None;
    for (step, expected) in steps.iter().enumerate() {
        let metrics = trainer.step().unwrap();
        let find = |key: &str| metrics.iter().find(|(name, _)| *name == key).unwrap().1;
        for (key, want) in expected.as_object().unwrap() {
            close(find(key), want.as_f64().unwrap(), 1e-4, &format!("step {step}, {key}"));
        }
        // The pairs are their own validation: what a step trains on is what the step before has validated.
        if let Some(before) = validated {
            close(before, find("loss"), 1e-5, "validation loss");
        }
        validated = Some(find("eval_loss"));
    }
}
