//! The forward pass, the SFT loss and its gradients against `transformers` (scripts/reference/gpt2.py,
//! llama.py and gptj.py).

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use lm::files::Precision;
use lm::sequences::{ResponseMask, to_vec};
use lm::sft::{Corpus, SftConfig, SftTrainer};
use lm::{Batch, Packing, Policy, ScalarModel, Scorer, Sequence, Tokenizer, Tokens, Trainer, files};
use serde::Deserialize;

use crate::support::{ACTIVATIONS, adamw, assert_close, device, fixture, gradients};

#[derive(Deserialize)]
pub(crate) struct Expected {
    texts: Vec<Text>,
    pub(crate) cases: Vec<Sequence>,
    /// Logits after the last token of every case, over the tokenizer's ids.
    #[serde(default)]
    logits: Vec<Vec<f32>>,
    /// What greedy decoding with a cache appends to the prompt of every case.
    #[serde(default)]
    greedy: Vec<Vec<u32>>,
    /// Logits after the last token of every case if the MLPs have exact GELUs.
    #[serde(default)]
    exact_gelu_logits: Vec<Vec<f32>>,
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
pub(crate) struct Gradient {
    norm: f64,
    /// The gradient times cos(0), cos(1), ..., which a permutation would change.
    probe: f64,
}

impl Gradient {
    /// Compares a gradient with this one.
    #[track_caller]
    pub(crate) fn check(&self, name: &str, values: &[f32]) {
        let norm = values.iter().map(|&g| f64::from(g).powi(2)).sum::<f64>().sqrt();
        let probe: f64 = values.iter().enumerate().map(|(i, &g)| f64::from(g) * (i as f64).cos()).sum();
        // Sums of thousands of f32 terms: relative to the gradient's size where it is large.
        let tolerance = 1e-5 * self.norm.max(1.0);
        assert!((norm - self.norm).abs() < tolerance, "{name}: norm {norm} is not {}", self.norm);
        assert!((probe - self.probe).abs() < tolerance, "{name}: {probe} is not {}", self.probe);
    }
}

#[derive(Deserialize)]
pub(crate) struct ScalarHead {
    pub(crate) weight: Vec<f32>,
    scores: Vec<f32>,
    values: Vec<Vec<f32>>,
}

/// Folders that transformers wrote, one for each form of a family.
const FOLDERS: [&str; 6] = [
    "gpt2",
    "llama/full-tied",
    "llama/grouped-untied",
    "llama/wide-heads",
    "gptj/partial",
    "gptj/whole-padded",
];

/// What transformers computes with the GPT-2.
pub(crate) fn expected() -> Expected {
    expected_of("gpt2")
}

pub(crate) fn expected_of(folder: &str) -> Expected {
    serde_json::from_slice(&std::fs::read(fixture(folder).join("expected.json")).unwrap()).unwrap()
}

fn load(folder: &str, temperature: f64) -> (Policy, Tokenizer) {
    files::load_policy(&fixture(folder), temperature, &device()).unwrap()
}

/// Largest difference relative to the largest value.
pub(crate) fn relative(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(0.0, |largest: f32, value| largest.max(value.abs()));
    got.iter().zip(want).map(|(got, want)| (got - want).abs()).fold(0.0, f32::max) / largest
}

/// The last row of logits after `ids`, and the hidden state.
pub(crate) fn last_logits(policy: &Policy, ids: &[u32]) -> Vec<f32> {
    let tokens = Tokens::new(ids, Packing::equal(1, ids.len()), &device());
    let logits = to_vec(policy.model().logits(policy.model().hidden(&tokens, None)));
    logits[logits.len() - policy.model().shape().vocabulary..].to_vec()
}

#[test]
fn logits_are_those_of_transformers() {
    for folder in &FOLDERS[1..] {
        let (policy, _) = load(folder, 1.0);
        let expected = expected_of(folder);
        assert_eq!(expected.logits.len(), expected.cases.len());
        for (case, want) in expected.cases.iter().zip(&expected.logits) {
            let got = last_logits(&policy, &[&case.prompt[..], &case.response[..]].concat());
            assert!(relative(&got, want) < 1e-4, "{folder}: differ by {}", relative(&got, want));
        }
    }
}

#[test]
fn exact_gelus_are_those_of_transformers() {
    let folder = crate::damaged::copy_of_fixture();
    crate::damaged::edit_json(folder.path(), "config.json", |config| {
        config["activation_function"] = "gelu".into();
    });
    let (policy, _) = files::load_policy(folder.path(), 1.0, &device()).unwrap();
    let (tanh, expected) = (load("gpt2", 1.0).0, expected());
    assert_eq!(expected.exact_gelu_logits.len(), expected.cases.len());
    for (case, want) in expected.cases.iter().zip(&expected.exact_gelu_logits) {
        let ids = [&case.prompt[..], &case.response[..]].concat();
        let distance = relative(&last_logits(&policy, &ids), want);
        assert!(distance < 1e-5, "differ by {distance}");
        // The two forms are near each other: the tolerance has to tell them apart.
        assert!(relative(&last_logits(&tanh, &ids), want) > 3e-5);
    }
}

#[test]
fn greedy_decoding_with_the_cache_is_that_of_transformers() {
    let largest = |logits: &[f32]| {
        let top = logits.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        top.0 as u32
    };
    for folder in &FOLDERS[1..] {
        let (policy, _) = load(folder, 1.0);
        let (model, expected) = (policy.model(), expected_of(folder));
        for (case, want) in expected.cases.iter().zip(&expected.greedy) {
            let mut ids = case.prompt.clone();
            let (mut hidden, mut cache) = model.prefill(&[&ids], ids.len() + want.len());
            for &token in want {
                let cached = to_vec(model.logits(hidden));
                assert!(relative(&cached, &last_logits(&policy, &ids)) < 1e-5, "{folder}");
                assert_eq!(largest(&cached), token, "{folder} after {ids:?}");
                ids.push(token);
                hidden = model.decode(integers(&[token]), &mut cache);
            }
        }
    }
}

fn integers(ids: &[u32]) -> Tensor<1, Int> {
    let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
    Tensor::from_data(TensorData::new(ids.clone(), [ids.len()]), &device())
}

#[test]
fn logprobs_are_those_of_transformers() {
    for folder in FOLDERS {
        let expected = expected_of(folder);
        for sft in &expected.sft {
            let (policy, _) = load(folder, sft.temperature);
            let rows = policy.score(&expected.cases).unwrap();
            assert_eq!(rows.len(), sft.logprobs.len());
            for (got, want) in rows.iter().zip(&sft.logprobs) {
                assert_close(got, want, 1e-4);
            }
        }
    }
}

#[test]
fn gradients_of_the_sft_loss_are_those_of_pytorch() {
    for folder in FOLDERS {
        let expected = expected_of(folder);
        for sft in &expected.sft {
            for activations in ACTIVATIONS {
                let policy = load(folder, sft.temperature).0.train();
                let batch = Batch::new(&expected.cases.iter().collect::<Vec<_>>(), &policy.device());
                let (logprobs, segments) = policy.training_logprobs(&batch, activations);
                let loss = logprobs.values().sum().neg() / batch.mask().count() as f64;
                assert!((f64::from(to_vec(loss.clone())[0]) - sft.loss).abs() < 1e-5);

                let found = gradients(&policy, &loss, segments);
                let names: Vec<_> = found.keys().map(|name| name.strip_prefix("model.").unwrap()).collect();
                assert_eq!(names, sft.gradients.keys().collect::<Vec<_>>());
                for (values, (name, want)) in found.values().zip(&sft.gradients) {
                    want.check(name, values);
                }
            }
        }
    }
}

#[test]
fn the_sft_trainer_reports_pytorchs_loss_and_gradient_norm() {
    for folder in FOLDERS {
        let expected = expected_of(folder);
        for sft in &expected.sft {
            let (policy, _) = load(folder, sft.temperature);
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
}

#[test]
fn a_tokenizer_json_made_in_python_gives_the_same_ids() {
    for folder in FOLDERS {
        let (_, tokenizer) = load(folder, 1.0);
        let special = (tokenizer.begin(), tokenizer.end(), tokenizer.pad());
        assert_eq!(tokenizer.vocab_size(), 300);
        assert_eq!(special, if folder == "gpt2" { (0, 0, 1) } else { (1, 2, 0) }, "{folder}");
        for Text { text, ids } in expected_of(folder).texts {
            assert_eq!(tokenizer.encode(&text).unwrap(), ids, "{text:?}");
            assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        }
    }
}

/// The folder's body with a head, read from a folder that has one and no output embedding.
fn with_head(folder: &str, weight: &[f32]) -> ScalarModel {
    let (policy, tokenizer) = load(folder, 1.0);
    let dir = tempfile::tempdir().unwrap();
    let blank = ScalarModel::with_zero_head(policy.model().clone());
    files::save_scalar_model(dir.path(), &blank, &tokenizer, Precision::F32).unwrap();
    crate::damaged::edit_tensors(dir.path(), |tensors| {
        assert!(!tensors.contains_key("lm_head.weight"));
        let bytes = weight.iter().flat_map(|value| value.to_le_bytes()).collect();
        tensors.insert("score.weight".to_owned(), (safetensors::Dtype::F32, vec![1, weight.len()], bytes));
    });
    files::load_scalar_model(dir.path(), &device()).unwrap()
}

#[test]
fn scores_and_values_of_a_scalar_head_are_those_of_pytorch() {
    for folder in FOLDERS {
        let expected = expected_of(folder);
        let model = with_head(folder, &expected.scalar_head.weight);
        assert_close(&model.score(&expected.cases).unwrap(), &expected.scalar_head.scores, 1e-4);
        for (got, want) in model.values_of(&expected.cases).unwrap().iter().zip(&expected.scalar_head.values)
        {
            assert_close(got, want, 1e-4);
        }

        // The batched form lays the same values out, with exact zeros at padding.
        let batch = Batch::new(&expected.cases.iter().collect::<Vec<_>>(), &device());
        let mask =
            ResponseMask::from_lengths(expected.cases.iter().map(|case| case.response.len()).collect());
        assert_close(
            &to_vec(model.values(&batch)),
            &to_vec(mask.pad(&expected.scalar_head.values, &device())),
            1e-4,
        );
    }
}
