//! Parity with `PyTorch`: `scripts/reference/dpo.py` computed the expected numbers in f64.

use std::path::Path;

use burn::tensor::Tensor;
use dpo::{DpoConfig, DpoTrainer, Loss, ReferenceLogProbs, preference_loss};
use lm::sequences::to_vec;
use lm::{PreferencePair, ReferencePolicy, SequenceLogProbs, Trainer};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::trainers::device;

fn fixtures() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures"))
}

fn read(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixtures().join(name)).unwrap()).unwrap()
}

fn get<T: DeserializeOwned>(value: &Value, key: &str) -> T {
    serde_json::from_value(value[key].clone()).unwrap_or_else(|error| panic!("{key}: {error}"))
}

fn close(got: f64, want: f64, tolerance: f64, what: &str) {
    assert!((got - want).abs() <= tolerance * want.abs().max(1.0), "{what}: {got} is not {want}");
}

fn all_close(got: Tensor<1>, want: &[f64], what: &str) {
    let got = to_vec(got);
    assert_eq!(got.len(), want.len(), "{what}");
    for (&got, &want) in got.iter().zip(want) {
        close(f64::from(got), want, 2e-5, what);
    }
}

#[test]
fn losses_and_gradients() {
    let device = device().autodiff();
    let fixture = read("losses.json");
    let cases = fixture["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 30);
    for case in cases {
        let loss: Loss = get(case, "loss");
        let side = |key| {
            let values: Vec<f32> = get(case, key);
            Tensor::<1>::from_floats(values.as_slice(), &device)
        };
        let chosen = side("policy_chosen").require_grad();
        let rejected = side("policy_rejected").require_grad();
        let wrap = SequenceLogProbs;
        let out = preference_loss(
            (wrap(chosen.clone()), wrap(rejected.clone())),
            (wrap(side("reference_chosen")), wrap(side("reference_rejected"))),
            side("probability"),
            get(case, "beta"),
            &loss,
        );
        let gradients = out.loss.clone().mean().backward();
        let what = format!("{loss:?}, beta {}", case["beta"]);
        let check = |got, key| all_close(got, &get::<Vec<f64>>(case, key), &format!("{what}, {key}"));
        check(out.loss, "per_pair");
        check(out.chosen_rewards, "chosen_rewards");
        check(out.rejected_rewards, "rejected_rewards");
        check(chosen.grad(&gradients).unwrap(), "gradient_chosen");
        check(rejected.grad(&gradients).unwrap(), "gradient_rejected");
    }
}

/// Loss, rewards, log-probs and gradient norm at the start and after one, two and three `AdamW` steps of a
/// GPT-2 that transformers wrote, under every loss.
#[test]
fn training_steps() {
    let fixture = read("training.json");
    let device = device();
    let temperature = get(&fixture, "temperature");
    let (policy, _) = lm::files::load_policy(&fixtures().join("tiny-gpt2"), temperature, &device).unwrap();
    let start = ReferencePolicy::new(&policy);
    let pairs: Vec<PreferencePair> = get(&fixture, "pairs");
    let reference: ReferenceLogProbs = get(&fixture, "reference");

    let own = ReferenceLogProbs::compute(&start, &pairs).unwrap();
    let expected: ReferenceLogProbs = get(&fixture, "logprobs_at_start");
    for (got, want) in
        own.chosen.iter().chain(&own.rejected).zip(expected.chosen.iter().chain(&expected.rejected))
    {
        close(*got, *want, 1e-5, "log-prob at the start");
    }

    for case in fixture["cases"].as_array().unwrap() {
        let steps = case["steps"].as_array().unwrap();
        let config = DpoConfig {
            loss: get(case, "loss"),
            beta: get(case, "beta"),
            // Every step sees all pairs, so their order does not matter.
            batch_prompts: pairs.chunk_by(|a, b| a.prompt == b.prompt).count(),
            steps: steps.len(),
            optimizer: get(&fixture, "optimizer"),
        };
        let mut trainer =
            DpoTrainer::with_reference_logprobs(&start, reference.clone(), pairs.clone(), config, 0).unwrap();
        for (step, expected) in steps.iter().enumerate() {
            let metrics = trainer.step().unwrap();
            for (key, want) in expected.as_object().unwrap() {
                let got = metrics.iter().find(|(name, _)| name == key).unwrap().1;
                close(got, want.as_f64().unwrap(), 1e-4, &format!("{}, step {step}, {key}", case["loss"]));
            }
        }
    }
}
