//! The forward pass, the SFT loss and its gradients against `transformers` (scripts/reference/gpt2.py).

use std::collections::BTreeMap;

use burn::module::Module;
use lm::sequences::{ResponseMask, to_vec};
use lm::sft::{Corpus, SftConfig, SftTrainer};
use lm::{Batch, Policy, Scorer, Sequence, Tokenizer, Trainer, files};
use serde::Deserialize;

use crate::support::{adamw, assert_close, device, fixture, gradients};

#[derive(Deserialize)]
pub(crate) struct Expected {
    texts: Vec<Text>,
    pub(crate) cases: Vec<Sequence>,
    sft: Vec<Sft>,
    pub(crate) scalar_head: ScalarHead,
}

#[derive(Deserialize)]
struct Text {
    text: String,
    ids: Vec<u32>,
}

#[derive(Deserialize)]
struct Sft {
    temperature: f64,
    logprobs: Vec<Vec<f32>>,
    loss: f64,
    grad_norm: f64,
    gradients: BTreeMap<String, Gradient>,
}

#[derive(Deserialize)]
struct Gradient {
    norm: f64,
    /// The gradient times cos(0), cos(1), ..., which a permutation would change.
    probe: f64,
}

#[derive(Deserialize)]
pub(crate) struct ScalarHead {
    pub(crate) weight: Vec<f32>,
    scores: Vec<f32>,
    values: Vec<Vec<f32>>,
}

pub(crate) fn expected() -> Expected {
    serde_json::from_slice(&std::fs::read(fixture("gpt2/expected.json")).unwrap()).unwrap()
}

fn load(temperature: f64) -> (Policy, Tokenizer) {
    files::load_policy(&fixture("gpt2"), temperature, &device()).unwrap()
}

#[test]
fn logprobs_are_those_of_transformers() {
    let expected = expected();
    for sft in &expected.sft {
        let (policy, _) = load(sft.temperature);
        let rows = policy.score(&expected.cases).unwrap();
        assert_eq!(rows.len(), sft.logprobs.len());
        for (got, want) in rows.iter().zip(&sft.logprobs) {
            assert_close(got, want, 1e-4);
        }
    }
}

#[test]
fn gradients_of_the_sft_loss_are_those_of_pytorch() {
    let expected = expected();
    for sft in &expected.sft {
        let policy = load(sft.temperature).0.train();
        let batch = Batch::new(&expected.cases.iter().collect::<Vec<_>>(), &policy.device());
        let loss = policy.logprobs(&batch).values().sum().neg() / batch.mask().count() as f64;
        assert!((f64::from(to_vec(loss.clone())[0]) - sft.loss).abs() < 1e-5);

        let found = gradients(&policy, &loss);
        let names: Vec<_> = found.keys().map(|name| name.trim_start_matches("model.")).collect();
        assert_eq!(names, sft.gradients.keys().collect::<Vec<_>>());
        for (values, (name, want)) in found.values().zip(&sft.gradients) {
            let norm = values.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
            let probe: f64 = values.iter().enumerate().map(|(i, &g)| f64::from(g) * (i as f64).cos()).sum();
            assert!((norm - want.norm).abs() < 1e-5, "{name}: norm {norm} is not {}", want.norm);
            assert!((probe - want.probe).abs() < 1e-5, "{name}: {probe} is not {}", want.probe);
        }
    }
}

#[test]
fn the_sft_trainer_reports_pytorchs_loss_and_gradient_norm() {
    let expected = expected();
    for sft in &expected.sft {
        let (policy, _) = load(sft.temperature);
        let config = SftConfig { steps: 1, batch_size: expected.cases.len(), optimizer: adamw(1e-3) };
        let mut trainer =
            SftTrainer::new(&policy, Corpus::Responses(expected.cases.clone()), &config, 0).unwrap();
        let metrics: BTreeMap<_, _> = trainer.step().unwrap().into_iter().collect();
        assert!((metrics["loss"] - sft.loss).abs() < 1e-5);
        assert!((metrics["grad_norm"] - sft.grad_norm).abs() < 1e-5);
        let tokens: usize = expected.cases.iter().map(Sequence::len).sum();
        assert_eq!(metrics["num_tokens"], tokens as f64);
    }
}

#[test]
fn a_tokenizer_json_made_in_python_gives_the_same_ids() {
    let (_, tokenizer) = load(1.0);
    assert_eq!((tokenizer.vocab_size(), tokenizer.end(), tokenizer.pad()), (300, 0, 1));
    for Text { text, ids } in expected().texts {
        assert_eq!(tokenizer.encode(&text).unwrap(), ids, "{text:?}");
        assert_eq!(tokenizer.decode(&ids).unwrap(), text);
    }
}

#[test]
fn scores_and_values_of_a_scalar_head_are_those_of_pytorch() {
    let expected = expected();
    let folder = crate::damaged::copy_of_fixture();
    crate::damaged::edit_tensors(folder.path(), |tensors| {
        let weight = &expected.scalar_head.weight;
        let bytes = weight.iter().flat_map(|value| value.to_le_bytes()).collect();
        tensors.insert("score.weight".to_owned(), (safetensors::Dtype::F32, vec![1, weight.len()], bytes));
    });
    let model = files::load_scalar_model(folder.path(), &device()).unwrap();
    assert_close(&model.score(&expected.cases).unwrap(), &expected.scalar_head.scores, 1e-4);
    for (got, want) in model.values_of(&expected.cases).unwrap().iter().zip(&expected.scalar_head.values) {
        assert_close(got, want, 1e-4);
    }

    // The batched form lays the same values out, with exact zeros at padding.
    let batch = Batch::new(&expected.cases.iter().collect::<Vec<_>>(), &device());
    let mask = ResponseMask::from_lengths(expected.cases.iter().map(|case| case.response.len()).collect());
    assert_close(
        &to_vec(model.values(&batch)),
        &to_vec(mask.pad(&expected.scalar_head.values, &device())),
        1e-4,
    );
}
