//! Ten optimiser steps of supervised fine-tuning, of a reward model and of DPO by the trainers that the
//! commands use, against `PyTorch` on the same batches (`scripts/reference/ten_steps.py`): warm-up, decay,
//! weight decay and clipping included. The classifier's ten steps are in `lm`.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use dpo::{DpoConfig, DpoTrainer, Loss};
use lm::files::{self, Precision};
use lm::sequences::to_vec;
use lm::sft::{Corpus, SftConfig, SftTrainer};
use lm::trainer::Epochs;
use lm::{
    Activations, DeviceSpec, OptimizerConfig, Policy, PolicyTrainer, PreferencePair, ReferencePolicy,
    ScalarModel, Stream, Tokenizer, Trainer,
};
use reward_model::{RewardModelConfig, RewardModelTrainer};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// The families, by steps that keep their activations and by steps that compute them again.
const FAMILIES: [(&str, Activations); 4] = [
    ("gpt2", Activations::Kept),
    ("gpt2", Activations::Recomputed),
    ("llama", Activations::Kept),
    ("llama", Activations::Recomputed),
];
const STEPS: usize = 10;
const SEED: u64 = 7;
/// Pairs or prompts of a step.
const BATCH: usize = 4;

#[derive(Deserialize)]
struct Expected {
    pairs: Vec<PreferencePair>,
    optimizer: BTreeMap<String, OptimizerConfig>,
    dpo: Dpo,
    steps: BTreeMap<String, Vec<BTreeMap<String, f64>>>,
}

#[derive(Deserialize)]
struct Dpo {
    beta: f64,
    label_smoothing: f64,
}

/// What our trainers draw, which the script reads.
#[derive(Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
struct Drawn {
    sft: Vec<Vec<usize>>,
    reward_model: Vec<Vec<usize>>,
    dpo: Vec<Vec<usize>>,
    head: Vec<f32>,
}

fn fixtures() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/ten_steps"))
}

fn device() -> Device {
    std::env::var("DEVICE").map_or(DeviceSpec::CPU, |name| name.parse().unwrap()).open().unwrap()
}

fn expected() -> Expected {
    serde_json::from_slice(&fs::read(fixtures().join("expected.json")).unwrap()).unwrap()
}

fn start(family: &str) -> (Policy, Tokenizer) {
    files::load_policy(&fixtures().join(family), 1.0, &device()).unwrap()
}

#[test]
fn the_script_knows_what_the_trainers_draw() {
    let pairs = expected().pairs;
    let mut end = 0;
    let prompts: Vec<Vec<usize>> = pairs
        .chunk_by(|a, b| a.prompt == b.prompt)
        .map(|run| {
            end += run.len();
            (end - run.len()..end).collect()
        })
        .collect();
    assert!(prompts.len() < pairs.len(), "no prompt has several pairs");
    let draw = |count, stream| {
        let mut epochs = Epochs::new(count, stream);
        (0..STEPS).map(|_| epochs.next(BATCH)).collect::<Vec<_>>()
    };
    let of_prompts = |purpose| -> Vec<Vec<usize>> {
        let steps = draw(prompts.len(), Stream::new(SEED, purpose)).into_iter();
        steps.map(|step| step.into_iter().flat_map(|prompt| prompts[prompt].clone()).collect()).collect()
    };
    let body = start("gpt2").0.model().clone();
    let drawn = Drawn {
        sft: draw(pairs.len(), Stream::new(SEED, "sft").child(0)),
        reward_model: of_prompts("reward-model"),
        dpo: of_prompts("dpo"),
        head: to_vec(ScalarModel::with_random_head(body, Stream::new(SEED, "reward-model-head")).head()),
    };
    let known: Drawn = serde_json::from_slice(&fs::read(fixtures().join("drawn.json")).unwrap()).unwrap();
    let right = serde_json::to_string(&drawn).unwrap();
    assert!(drawn == known, "drawn.json should be this; run the script again:\n{right}");
}

/// Takes the steps; losses, gradient norms and learning rates are `PyTorch`'s.
fn train(trainer: &mut impl Trainer, name: &str, expected: &Expected) {
    let method = name.split_once('-').unwrap().1;
    let limit = expected.optimizer[method].max_grad_norm;
    let mut clipped = 0;
    for (step, want) in expected.steps[name].iter().enumerate() {
        let found: BTreeMap<_, _> = trainer.step().unwrap().into_iter().collect();
        assert_eq!(want.len(), 3);
        for (key, want) in want {
            let found = found[key.as_str()];
            let error = (found - want).abs() / want.abs();
            assert!(error < 1e-4, "{name}, step {step}: {key} is {found}, not {want}");
        }
        clipped += usize::from(found["grad_norm"] > limit);
    }
    assert!(0 < clipped && clipped < STEPS, "{name}: {clipped} steps are clipped");
}

/// The tensors of a file by name.
fn read(path: PathBuf) -> BTreeMap<String, Vec<f32>> {
    let bytes = fs::read(path).unwrap();
    let values = |data: &[u8]| {
        data.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect::<Vec<_>>()
    };
    let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
    tensors.into_iter().map(|(name, view)| (name, values(view.data()))).collect()
}

/// Every weight has moved as in `PyTorch`: to one thousandth of the largest move within its tensor,
/// which is a much narrower bound than one thousandth of the weight itself. The last bias of a reward
/// model adds the same to both scores of a pair, so it does not move: to one thousandth of what the
/// learning rates add up to.
fn assert_moved(name: &str, family: &str, trained: &TempDir) {
    let mut before = read(fixtures().join(family).join("model.safetensors"));
    let after = read(trained.path().join("model.safetensors"));
    let moves = read(fixtures().join(format!("{name}.safetensors")));
    if name.ends_with("reward-model") {
        let known: Drawn = serde_json::from_slice(&fs::read(fixtures().join("drawn.json")).unwrap()).unwrap();
        before.insert("score.weight".to_owned(), known.head);
        before.remove("lm_head.weight");
    }
    let names = |tensors: &BTreeMap<String, Vec<f32>>| tensors.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&before), names(&moves));
    assert_eq!(names(&after), names(&moves));
    for (tensor, moves) in &moves {
        let (before, after) = (&before[tensor], &after[tensor]);
        assert!(before.len() == moves.len() && after.len() == moves.len(), "{tensor}");
        let largest = moves.iter().fold(0.0_f32, |largest, moved| largest.max(moved.abs()));
        let still = name == "gpt2-reward-model" && tensor == "transformer.ln_f.bias";
        let unit = if still { 0.0174 } else { largest };
        assert!(unit > 1e-3, "{name}, {tensor} hardly moves: by {largest}");
        for (at, ((before, after), want)) in before.iter().zip(after).zip(moves).enumerate() {
            let error = (after - before - want).abs() / unit;
            assert!(error < 1e-3, "{name}, {tensor}[{at}] moved by {}, not {want}", after - before);
        }
    }
}

fn finish(name: &str, family: &str, policy: &Policy, tokenizer: &Tokenizer) {
    let folder = tempfile::tempdir().unwrap();
    files::save_policy(folder.path(), policy, tokenizer, Precision::F32).unwrap();
    assert_moved(name, family, &folder);
}

#[test]
fn supervised_fine_tuning() {
    let expected = expected();
    for (family, activations) in FAMILIES {
        let (policy, tokenizer) = start(family);
        let responses = expected.pairs.iter().map(PreferencePair::chosen_sequence).collect();
        let optimizer = expected.optimizer["sft"].clone();
        let config = SftConfig { steps: STEPS, batch_size: BATCH, optimizer };
        let mut trainer = SftTrainer::new(&policy, Corpus::Responses(responses), &config, SEED)
            .unwrap()
            .with_activations(activations);
        let name = format!("{family}-sft");
        train(&mut trainer, &name, &expected);
        finish(&name, family, &trainer.policy(), &tokenizer);
    }
}

#[test]
fn reward_model() {
    let expected = expected();
    for (family, activations) in FAMILIES {
        let (policy, tokenizer) = start(family);
        let optimizer = expected.optimizer["reward-model"].clone();
        let config =
            RewardModelConfig { batch_prompts: BATCH, steps: STEPS, evaluate_every: STEPS, optimizer };
        let pairs = expected.pairs.clone();
        let mut trainer = RewardModelTrainer::new(&policy, pairs, &expected.pairs, config, SEED)
            .unwrap()
            .with_activations(activations);
        let name = format!("{family}-reward-model");
        train(&mut trainer, &name, &expected);
        let trained = trainer.finish();
        assert_eq!(trained.validation.step, STEPS, "the last model is not the best");
        let folder = tempfile::tempdir().unwrap();
        files::save_scalar_model(folder.path(), &trained.model, &tokenizer, Precision::F32).unwrap();
        assert_moved(&name, family, &folder);
    }
}

#[test]
fn dpo() {
    let expected = expected();
    for (family, activations) in FAMILIES {
        let (policy, tokenizer) = start(family);
        let config = DpoConfig {
            loss: Loss::Sigmoid { label_smoothing: expected.dpo.label_smoothing },
            beta: expected.dpo.beta,
            batch_prompts: BATCH,
            steps: STEPS,
            optimizer: expected.optimizer["dpo"].clone(),
        };
        let reference = ReferencePolicy::new(&policy);
        let mut trainer = DpoTrainer::new(&reference, expected.pairs.clone(), config, SEED)
            .unwrap()
            .with_activations(activations);
        let name = format!("{family}-dpo");
        train(&mut trainer, &name, &expected);
        finish(&name, family, &trainer.policy(), &tokenizer);
    }
}
