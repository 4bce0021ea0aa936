//! Adapters: what they compute, what trains, and what stays as it is.

use std::collections::BTreeMap;

use burn::module::Module;
use lm::sequences::to_vec;
use lm::sft::{Corpus, SftConfig, SftTrainer};
use lm::{
    Batch, Config, DecoderConfig, LoraConfig, Policy, PolicyTrainer, ReferencePolicy, Sampling, ScalarModel,
    Scorer, Segments, Sequence, State, Stream, Trainer, WholeBatch, files,
};
use serde::Deserialize;

use crate::support::{
    ACTIVATIONS, adamw, assert_close, device, families, fixture, gradients, parameters, prompts,
    random_policy, sequence,
};
use crate::transformers::{Gradient, expected_of, last_logits, relative};

const VOCAB: u32 = 12;

fn lora(rank: usize, targets: &[&str]) -> LoraConfig {
    let targets = targets.iter().map(|&name| name.to_owned()).collect();
    LoraConfig { rank, alpha: 4.0, rslora: false, targets }
}

/// All layers of a family.
fn everywhere(policy: &Policy, rank: usize) -> LoraConfig {
    let targets = policy.model().config().lora_targets(&["all-linear".to_owned()]);
    LoraConfig { targets, ..lora(rank, &[]) }
}

/// One of every family without adapters, and with adapters none of which is zero.
fn pairs() -> [(Policy, Policy); 4] {
    families(VOCAB as usize, 19, 16, 2).map(|config| {
        let base = random_policy(&config, 0.5, 3, 1.0);
        let adapted = base.with_adapter(&everywhere(&base, 3), Stream::new(1, "adapter")).unwrap();
        (base, trained(&adapted, 4, 3e-2).policy())
    })
}

fn corpus() -> Vec<Sequence> {
    prompts(10, 2, 6, VOCAB, 2)
        .into_iter()
        .map(|prompt| Sequence { response: prompt.iter().rev().copied().collect(), prompt })
        .collect()
}

fn trainer(policy: &Policy, learning_rate: f64) -> SftTrainer {
    let config = SftConfig { steps: 50, batch_size: 5, optimizer: adamw(learning_rate) };
    SftTrainer::new(policy, Corpus::Responses(corpus()), &config, 7).unwrap()
}

fn trained(policy: &Policy, steps: usize, learning_rate: f64) -> SftTrainer {
    let mut trainer = trainer(policy, learning_rate);
    for _ in 0..steps {
        trainer.step().unwrap();
    }
    trainer
}

/// Parameters of adapters, and all others, by their paths.
fn split<M: Module>(module: &M) -> [BTreeMap<String, Vec<f32>>; 2] {
    let (adapters, others) = parameters(module).into_iter().partition(|(path, _)| path.contains(".adapter."));
    [adapters, others]
}

#[derive(Deserialize)]
struct OfPeft {
    logits: Vec<Vec<f32>>,
    logprobs: Vec<Vec<f32>>,
    loss: f64,
    gradients: BTreeMap<String, Gradient>,
}

fn of_peft<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let path = fixture("lora").join(name).join("expected.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// What PEFT calls a parameter of a policy.
fn peft_name(path: &str) -> String {
    let path = path.strip_prefix("model.").unwrap();
    let path = path.replace(".adapter.lora_a", ".lora_A.weight").replace(".adapter.lora_b", ".lora_B.weight");
    let wrapped = if path.starts_with("h.") { "transformer." } else { "" };
    format!("base_model.model.{wrapped}{path}")
}

#[test]
fn outputs_loss_and_gradients_are_those_of_peft() {
    for (name, base) in [("gpt2", "gpt2"), ("llama", "llama/grouped-untied"), ("gptj", "gptj/partial")] {
        let (expected, cases): (OfPeft, _) = (of_peft(name), expected_of(base).cases);
        let folder = fixture("lora").join(name);
        let (plain, _) = files::load_policy(&fixture(base), 1.0, &device()).unwrap();
        let beside = files::load_adapter(&folder, &plain).unwrap();
        let (merged, _) = files::load_policy(&folder, 1.0, &device()).unwrap();
        assert_eq!(merged.model().lora(), None);
        for policy in [&beside, &merged] {
            for (case, want) in cases.iter().zip(&expected.logits) {
                let ids = [&case.prompt[..], &case.response[..]].concat();
                assert!(relative(&last_logits(policy, &ids), want) < 1e-4, "{name}");
                assert!(relative(&last_logits(&plain, &ids), want) > 1e-2, "{name}: it does nothing");
            }
            for (got, want) in policy.score(&cases).unwrap().iter().zip(&expected.logprobs) {
                assert_close(got, want, 1e-4);
            }
        }
        let training = beside.train();
        let batch = Batch::new(&cases.iter().collect::<Vec<_>>(), &training.device());
        for activations in ACTIVATIONS {
            let (logprobs, segments) = training.training_logprobs(&batch, activations);
            let loss = logprobs.values().sum().neg() / batch.mask().count() as f64;
            assert!((f64::from(to_vec(loss.clone())[0]) - expected.loss).abs() < 1e-5);
            // Adapters alone have gradients.
            let found = gradients(&training, &loss, segments);
            let found: BTreeMap<_, _> = found.into_iter().map(|(path, g)| (peft_name(&path), g)).collect();
            assert_eq!(found.keys().collect::<Vec<_>>(), expected.gradients.keys().collect::<Vec<_>>());
            for (values, (name, want)) in found.values().zip(&expected.gradients) {
                want.check(name, values);
            }
        }
    }
}

#[test]
fn scores_of_an_adapted_classifier_are_those_of_peft() {
    #[derive(Deserialize)]
    struct Scores {
        scores: Vec<f32>,
    }
    let model = files::load_scalar_model(&fixture("lora/gpt2-score"), &device()).unwrap();
    let got = model.score(&expected_of("gpt2").cases).unwrap();
    let want = of_peft::<Scores>("gpt2-score").scores;
    assert!(relative(&got, &want) < 1e-4, "{got:?} is not {want:?}");
}

#[test]
fn a_new_adapter_changes_nothing_and_is_drawn_as_pefts_are() {
    for config in families(VOCAB as usize, 19, 16, 2) {
        let base = random_policy(&config, 0.5, 3, 1.0);
        let config = everywhere(&base, 8);
        let adapted = base.with_adapter(&config, Stream::new(1, "adapter")).unwrap();
        assert_eq!(adapted.model().lora(), Some(config.clone()));
        assert_eq!(adapted.score(&corpus()).unwrap(), base.score(&corpus()).unwrap());
        let [adapters, others] = split(&adapted);
        assert_eq!(others, parameters(&base));
        let layers = match base.model().config() {
            DecoderConfig::Gpt2(_) => 4,
            DecoderConfig::Llama(_) => 7,
            DecoderConfig::GptJ(_) => 6,
        };
        assert_eq!(adapters.len(), 2 * 2 * layers);
        for (path, values) in &adapters {
            if path.ends_with("lora_b") {
                assert!(values.iter().all(|&value| value == 0.0));
                continue;
            }
            // Uniform in ±1 / sqrt(in): its variance is a third of the bound's square.
            let inputs = values.len() as f32 / 8.0;
            let bound = inputs.sqrt().recip();
            assert!(values.iter().all(|value| value.abs() <= bound));
            let variance = values.iter().map(|value| value * value).sum::<f32>() / values.len() as f32;
            let error = variance / (bound * bound / 3.0) - 1.0;
            // The relative standard deviation of such a mean of squares is sqrt(4 / (5 n)).
            assert!(error.abs() < 4.5 * (0.8 / values.len() as f32).sqrt(), "{path}: {error}");
        }
        let other = base.with_adapter(&config, Stream::new(2, "adapter")).unwrap();
        assert_ne!(split(&other)[0], adapters);
    }
}

#[test]
fn targets_name_layers_by_the_ends_of_their_paths() {
    let [gpt2, llama, _, gptj] = families(VOCAB as usize, 19, 16, 2).map(|c| random_policy(&c, 0.5, 3, 1.0));
    let paths = |policy: &Policy, targets: &[&str]| -> Vec<String> {
        let adapted = policy.with_adapter(&lora(2, targets), Stream::new(1, "a")).unwrap();
        let [adapters, _] = split(&adapted);
        adapters.keys().filter_map(|path| path.strip_suffix(".adapter.lora_a").map(str::to_owned)).collect()
    };
    assert_eq!(
        paths(&gpt2, &["c_proj"]),
        ["model.h.0.attn.c_proj", "model.h.0.mlp.c_proj", "model.h.1.attn.c_proj", "model.h.1.mlp.c_proj"]
    );
    assert_eq!(
        paths(&gpt2, &["transformer.h.1.mlp.c_fc", "0.attn.c_proj"]),
        ["model.h.0.attn.c_proj", "model.h.1.mlp.c_fc"]
    );
    assert_eq!(
        paths(&llama, &["k_proj"]),
        ["model.model.layers.0.self_attn.k_proj", "model.model.layers.1.self_attn.k_proj"]
    );
    assert_eq!(
        paths(&gptj, &["1.attn.out_proj", "fc_in"]),
        [
            "model.transformer.h.0.mlp.fc_in",
            "model.transformer.h.1.attn.out_proj",
            "model.transformer.h.1.mlp.fc_in"
        ]
    );
    let refuse = |policy: &Policy, config: &LoraConfig| {
        policy.with_adapter(config, Stream::new(1, "a")).unwrap_err().to_string()
    };
    let message = "targets: found q_proj, expected names of layers: c_attn, c_fc, c_proj";
    assert_eq!(refuse(&gpt2, &lora(2, &["c_attn", "q_proj"])), message);
    assert!(refuse(&gpt2, &lora(2, &["proj"])).starts_with("targets: found proj"), "half a name is none");
    assert!(refuse(&gpt2, &lora(0, &["c_attn"])).contains("rank: found 0"));
    assert!(refuse(&gpt2, &LoraConfig { alpha: -1.0, ..lora(2, &["c_attn"]) }).contains("alpha: found -1"));
    assert!(refuse(&gpt2, &lora(2, &[])).contains("targets: found none"));
    let twice = gpt2.with_adapter(&lora(2, &["c_attn"]), Stream::new(1, "a")).unwrap();
    assert_eq!(refuse(&twice, &lora(2, &["c_fc"])), "model: found adapters, expected none: merge them first");
    let roots = [(false, 0.5), (true, 4.0 / 8.0_f64.sqrt())];
    for (rslora, scale) in roots {
        assert_eq!(LoraConfig { rslora, ..lora(8, &[]) }.scale(), scale);
    }
    assert_eq!(gpt2.model().config().lora_targets(&[]), ["c_attn"]);
    assert_eq!(llama.model().config().lora_targets(&[]), ["q_proj", "v_proj"]);
    assert_eq!(gptj.model().config().lora_targets(&[]), ["q_proj", "v_proj"]);
    assert!(lora(2, &["c_attn"]).check().is_ok());
}

#[test]
fn training_moves_adapters_and_nothing_else() {
    for config in families(VOCAB as usize, 19, 16, 2) {
        let base = random_policy(&config, 0.5, 3, 1.0);
        let adapted = base.with_adapter(&everywhere(&base, 4), Stream::new(1, "adapter")).unwrap();
        let mut trainer = trainer(&adapted, 1e-2);
        let losses: Vec<f64> = (0..40).map(|_| trainer.step().unwrap()[0].1).collect();
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        assert!(mean(&losses[30..]) < mean(&losses[..10]) - 0.1, "{losses:?}");
        let [adapters, others] = split(&trainer.policy());
        assert_eq!(others, parameters(&base), "a frozen weight moved");
        for (path, before) in &split(&adapted)[0] {
            assert!(adapters[path] != *before, "{path} stayed");
        }
        // What is kept of a training is what moves, and it goes on to the bit.
        let mut state = State::new();
        trainer.save(&mut state);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.safetensors");
        state.write(&path).unwrap();
        let file = std::fs::read(&path).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
        assert_eq!(tensors.len(), 3 * adapters.len());
        assert!(tensors.names().iter().all(|name| name.contains(".adapter.lora_")), "{:?}", tensors.names());
        let mut again = self::trainer(&adapted, 1e-2);
        again.restore(&State::read(&path).unwrap()).unwrap();
        for _ in 0..3 {
            assert_eq!(again.step().unwrap(), trainer.step().unwrap());
        }
        assert_eq!(parameters(&again.policy()), parameters(&trainer.policy()));
        // Nor does it fit a training of all weights.
        let refused = self::trainer(&base, 1e-2).restore(&state).unwrap_err().to_string();
        assert!(refused.contains("policy/") && refused.contains("adapter.lora_"), "{refused}");
    }
}

#[test]
fn recorded_logprobs_are_those_of_scoring_with_adapters_too() {
    for (_, policy) in pairs() {
        let prompts = prompts(48, 2, 9, VOCAB, 1);
        let sampling = Sampling { max_new_tokens: 10, batch_size: 5 };
        let drawn = policy.generate(&prompts, &sampling, Stream::new(5, "rollouts")).unwrap();
        let pair = |(prompt, drawn): (&Vec<u32>, &lm::Generation)| sequence(prompt, &drawn.response);
        let sequences: Vec<Sequence> = prompts.iter().zip(&drawn).map(pair).collect();
        for (drawn, scored) in drawn.iter().zip(policy.score(&sequences).unwrap()) {
            assert_close(&drawn.logprobs, &scored, 1e-4);
        }
    }
}

#[test]
fn merged_weights_say_the_same_and_train_again() {
    for (base, policy) in pairs() {
        let merged = Policy::new(policy.model().clone().merged(), 1.0, policy.end()).unwrap();
        let (got, want) = (merged.score(&corpus()).unwrap(), policy.score(&corpus()).unwrap());
        for (got, want) in got.iter().zip(&want) {
            assert_close(got, want, 1e-4);
        }
        assert_eq!(
            parameters(&merged).keys().collect::<Vec<_>>(),
            parameters(&base).keys().collect::<Vec<_>>()
        );
        let after = trained(&merged, 1, 1e-2).policy();
        for (path, values) in parameters(&after) {
            assert_ne!(values, parameters(&merged)[&path], "{path}");
        }
    }
}

#[test]
fn the_reference_is_the_model_without_its_adapters() {
    for config in families(VOCAB as usize, 19, 16, 2) {
        let base = random_policy(&config, 0.5, 3, 1.0);
        let reference = ReferencePolicy::new(&base)
            .with_adapter(&everywhere(&base, 4), Stream::new(1, "adapter"))
            .unwrap();
        let start = reference.start();
        assert!(start.model().lora().is_some());
        let kl = |policy: &Policy| -> f64 {
            policy.sequence_kl(&reference, &corpus()).unwrap().iter().map(|kl| kl.exact).sum()
        };
        assert_eq!(kl(&start), 0.0);
        let before = reference.score(&corpus()).unwrap();
        let after = trained(&start, 10, 1e-2).policy();
        assert!(kl(&after) > 1e-3, "{}", kl(&after));
        assert_eq!(reference.score(&corpus()).unwrap(), before);
        assert_eq!(before, base.score(&corpus()).unwrap());
    }
}

#[test]
fn a_scalar_head_trains_beside_the_adapters_of_its_body() {
    let [config, ..] = families(VOCAB as usize, 19, 16, 2);
    let base = random_policy(&config, 0.5, 3, 1.0);
    let adapted = base.with_adapter(&lora(2, &["c_fc"]), Stream::new(1, "adapter")).unwrap();
    let model = ScalarModel::with_random_head(adapted.model().clone(), Stream::new(1, "head")).train();
    let sequences = corpus();
    let batch = WholeBatch::new(&sequences.iter().collect::<Vec<_>>(), &model.device());
    let found = gradients(&model, &model.scores(&batch).sum(), Segments::default());
    let matrices = ["a", "b"].map(|which| format!(".mlp.c_fc.adapter.lora_{which}"));
    let mut expected: Vec<String> =
        (0..2).flat_map(|layer| matrices.iter().map(move |end| format!("body.h.{layer}{end}"))).collect();
    expected.push("score.weight".to_owned());
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    let mut state = State::new();
    state.set_module("model", &model);
    let other = ScalarModel::with_zero_head(adapted.model().clone());
    let restored = state.module("model", other).unwrap();
    assert_eq!(restored.score(&sequences).unwrap(), model.score(&sequences).unwrap());
}
