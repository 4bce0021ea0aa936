//! Activations that are computed again: every gradient is that of a pass which kept them, to the bit on the
//! CPU. That those are right is for the fixtures of `PyTorch` and PEFT, which both kinds of pass are held
//! to, and for differences.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::Tensor;
use lm::sequences::to_vec;
use lm::sft::{Corpus, SftConfig, SftTrainer};
use lm::{
    Activations, Batch, Decoder, DecoderConfig, LoraConfig, Policy, ScalarModel, Segments, Sequence, State,
    Stream, Trainer, WholeBatch,
};

use crate::support::{
    ACTIVATIONS, adamw, assert_close, device, families, gradients, prompts, random_policy, sequence,
};

const VOCAB: u32 = 13;
const LAYERS: usize = 3;

/// One of every family, with a head that is tied to the embedding and one that is not, of three blocks.
fn policies() -> [Policy; 4] {
    families(VOCAB as usize, 19, 16, LAYERS).map(|config| random_policy(&config, 0.4, 3, 0.8))
}

/// Adapters in the layers that are named.
fn adapted(policy: &Policy, targets: &[&str]) -> Policy {
    let targets: Vec<String> = targets.iter().map(|&name| name.to_owned()).collect();
    let targets = policy.model().config().lora_targets(&targets);
    let lora = LoraConfig { rank: 2, alpha: 4.0, rslora: false, targets };
    policy.with_adapter(&lora, Stream::new(1, "adapter")).unwrap()
}

/// Responses of several lengths, some to one prompt: the last block is finished for some rows only.
fn responses() -> Vec<Sequence> {
    let mut sequences: Vec<Sequence> = prompts(5, 2, 6, VOCAB, 2)
        .into_iter()
        .map(|prompt| Sequence { response: prompt.iter().rev().copied().collect(), prompt })
        .collect();
    sequences.push(Sequence { response: vec![4, 4, 9], ..sequences[2].clone() });
    sequences
}

/// All rows predict something.
fn texts() -> Vec<Sequence> {
    vec![sequence(&[0], &[5, 6, 7, 0]), sequence(&[3], &[1, 2])]
}

/// The gradients of both kinds of pass are the same, by the CPU's kernels to the bit.
fn assert_same<M: Module>(
    name: &str,
    module: &M,
    loss: impl Fn(Activations) -> (Tensor<1>, Segments),
) -> BTreeMap<String, Vec<f32>> {
    let [kept, recomputed] = ACTIVATIONS.map(|activations| {
        let (loss, segments) = loss(activations);
        (to_vec(loss.clone()), gradients(module, &loss, segments))
    });
    let bits = std::env::var("DEVICE").map_or(true, |name| name == "cpu");
    let tolerance = if bits { 0.0 } else { 1e-5 };
    assert_close(&recomputed.0, &kept.0, tolerance * (1.0 + kept.0[0].abs()));
    assert_eq!(recomputed.1.keys().collect::<Vec<_>>(), kept.1.keys().collect::<Vec<_>>(), "{name}");
    for (path, kept) in &kept.1 {
        assert!(kept.iter().any(|&value| value != 0.0), "{name}, {path}: no gradient to compare");
        let recomputed = &recomputed.1[path];
        let furthest = kept.iter().zip(recomputed).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let largest = kept.iter().map(|value| value.abs()).fold(0.0, f32::max);
        let bound = tolerance * (1.0 + largest);
        assert!(furthest <= bound && kept.len() == recomputed.len(), "{name}, {path}: {furthest}");
    }
    kept.1
}

fn of_policy(name: &str, policy: &Policy, sequences: &[Sequence]) -> BTreeMap<String, Vec<f32>> {
    let training = policy.clone().train();
    let batch = Batch::new(&sequences.iter().collect::<Vec<_>>(), &training.device());
    assert_same(name, &training, |activations| {
        let (logprobs, segments) = training.training_logprobs(&batch, activations);
        // Not the same weight for every token.
        let loss = logprobs.sum().0.powi_scalar(2).mean();
        (loss, segments)
    })
}

fn name(policy: &Policy) -> String {
    match policy.model().config() {
        DecoderConfig::Gpt2(_) => "gpt2".to_owned(),
        DecoderConfig::Llama(config) => format!("llama, tied {}", config.tie_word_embeddings),
        DecoderConfig::GptJ(_) => "gptj".to_owned(),
    }
}

#[test]
fn gradients_of_every_family_are_the_same() {
    for policy in policies() {
        for sequences in [responses(), texts()] {
            let found = of_policy(&name(&policy), &policy, &sequences);
            assert!(found.len() > 9 * LAYERS, "{} parameters", found.len());
        }
    }
}

#[test]
fn adapters_have_the_same_gradients_and_nothing_else_has_any() {
    for policy in policies() {
        let layer = match policy.model().config() {
            DecoderConfig::Gpt2(_) => "mlp.c_fc",
            DecoderConfig::Llama(_) => "mlp.up_proj",
            DecoderConfig::GptJ(_) => "mlp.fc_in",
        };
        let path = |block: usize| match policy.model().config() {
            DecoderConfig::Gpt2(_) | DecoderConfig::GptJ(_) => format!("h.{block}.{layer}"),
            DecoderConfig::Llama(_) => format!("layers.{block}.{layer}"),
        };
        // In all blocks; in the first and the last; in the middle one; in the last.
        let everywhere = adapted(&policy, &["all-linear"]);
        for (adapted, count) in [
            (everywhere, None),
            (adapted(&policy, &[&path(0), &path(2)]), Some(4)),
            (adapted(&policy, &[&path(1)]), Some(2)),
            (adapted(&policy, &[&path(2)]), Some(2)),
        ] {
            // B is zero at first, and with it the gradient of A.
            let config = SftConfig { steps: 9, batch_size: 5, optimizer: adamw(3e-2) };
            let corpus = Corpus::Responses(responses());
            let mut trainer = SftTrainer::new(&adapted, corpus, &config, 7)
                .unwrap()
                .with_activations(Activations::Recomputed);
            trainer.step().unwrap();
            let found = of_policy(&name(&policy), &lm::PolicyTrainer::policy(&trainer), &responses());
            assert!(found.keys().all(|path| path.contains(".adapter.")));
            assert!(count.is_none_or(|count| found.len() == count), "{:?}", found.keys());
        }
    }
}

#[test]
fn scalar_models_have_the_same_gradients() {
    for policy in policies() {
        for body in [policy.model().clone(), adapted(&policy, &[]).model().clone()] {
            of_scalar_model(&name(&policy), body);
        }
    }
}

fn of_scalar_model(name: &str, body: Decoder) {
    let model = ScalarModel::with_random_head(body, Stream::new(2, "head"));
    let model = trained_once(model.train());
    let sequences = responses();
    let sequences: Vec<&Sequence> = sequences.iter().collect();
    let (whole, batch) =
        (WholeBatch::new(&sequences, &model.device()), Batch::new(&sequences, &model.device()));
    assert_same(name, &model, |activations| {
        let (scores, segments) = model.training_scores(&whole, activations);
        (scores.powi_scalar(2).mean(), segments)
    });
    assert_same(name, &model, |activations| {
        let (values, segments) = model.training_values(&batch, activations);
        (values.powi_scalar(2).mean(), segments)
    });
}

/// A step, after which no adapter is zero.
fn trained_once(mut model: ScalarModel) -> ScalarModel {
    let sequences = responses();
    let batch = WholeBatch::new(&sequences.iter().collect::<Vec<_>>(), &model.device());
    let loss = model.scores(&batch).powi_scalar(2).mean();
    lm::Optimizer::new(&adamw(3e-2), 1).unwrap().step(&mut model, &loss).unwrap();
    model
}

/// Weights, moments and all, after ten steps of two batches each.
#[test]
fn steps_of_fine_tuning_are_the_same() {
    for policy in policies() {
        let [kept, recomputed] = ACTIVATIONS.map(|activations| {
            let config = SftConfig { steps: 10, batch_size: 2, optimizer: adamw(1e-2) };
            let mut trainer = SftTrainer::new(&policy, Corpus::Responses(responses()), &config, 4)
                .unwrap()
                .accumulating(2.try_into().unwrap())
                .with_activations(activations);
            let metrics: Vec<_> = (0..10).map(|_| trainer.step().unwrap()).collect();
            let mut state = State::new();
            trainer.save(&mut state);
            (metrics, state)
        });
        for (kept, recomputed) in kept.0.iter().flatten().zip(recomputed.0.iter().flatten()) {
            assert!((kept.1 - recomputed.1).abs() < 1e-6 * kept.1.abs().max(1.0), "{kept:?} {recomputed:?}");
        }
        if lm::device::on_host(&device()) {
            assert!(kept == recomputed, "{}", name(&policy));
        }
    }
}
