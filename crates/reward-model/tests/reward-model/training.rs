//! Training, the best checkpoint, normalisation and files.

use lm::files::Precision;
use lm::optimizer::{Algorithm, Decay, Schedule};
use lm::{
    Decoder, DecoderConfig, OptimizerConfig, Policy, PreferencePair, ScalarModel, Scorer, Sequence, Shape,
    State, Stream, Tokenizer, Trainer,
};
use rand::RngExt;
use reward_model::{NormalizedRewardModel, RewardModel, RewardModelConfig, RewardModelTrainer};

use crate::trainers::{device, repeats};

/// As many as the smallest tokenizer has; the tests write with the first few.
const VOCAB: u32 = 258;
const WRITTEN: u32 = 12;
/// Responses with more of these are preferred.
const GOOD: u32 = 7;

fn body() -> Decoder {
    let shape = Shape { vocabulary: VOCAB as usize, context: 16, width: 16, layers: 1, heads: 2 };
    Decoder::random(&DecoderConfig::gpt2(shape), Stream::new(5, "test"), &device()).unwrap()
}

pub(crate) fn policy() -> Policy {
    Policy::new(body(), 1.0, 0).unwrap()
}

pub(crate) fn config(steps: usize) -> RewardModelConfig {
    RewardModelConfig {
        batch_prompts: 16,
        steps,
        evaluate_every: 10,
        optimizer: OptimizerConfig {
            algorithm: Algorithm::Adamw { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.0 },
            learning_rate: 0.01,
            schedule: Schedule { warmup_steps: 5, decay: Decay::Constant, floor: 1.0 },
            max_grad_norm: 1.0,
        },
    }
}

fn sequences(count: usize, purpose: &str) -> Vec<Sequence> {
    let mut rng = Stream::new(2, purpose).rng();
    let mut ids = |most: usize| -> Vec<u32> {
        let length = rng.random_range(1..=most);
        (0..length).map(|_| rng.random_range(1..WRITTEN)).collect()
    };
    (0..count).map(|_| Sequence { prompt: [vec![0], ids(3)].concat(), response: ids(8) }).collect()
}

/// Two random responses to a prompt, the second with one good token more than the first; a
/// share of the labels is wrong.
pub(crate) fn pairs(count: usize, wrong: f64, purpose: &str) -> Vec<PreferencePair> {
    let mut rng = Stream::new(3, purpose).rng();
    sequences(count, purpose)
        .into_iter()
        .map(|Sequence { prompt, response }| {
            let plain: Vec<u32> = response.iter().map(|&id| if id == GOOD { 1 } else { id }).collect();
            let mut good = plain.clone();
            good[rng.random_range(0..plain.len())] = GOOD;
            let (chosen, rejected) = if rng.random::<f64>() < wrong { (plain, good) } else { (good, plain) };
            PreferencePair { prompt, chosen, rejected, probability: 1.0 }
        })
        .collect()
}

fn train(train: Vec<PreferencePair>, validation: &[PreferencePair], steps: usize) -> (RewardModel, Vec<f64>) {
    let mut trainer = RewardModelTrainer::new(&policy(), train, validation, config(steps), 1).unwrap();
    let mut losses = Vec::new();
    for step in 1..=steps {
        let metrics = trainer.step().unwrap();
        let loss = metrics.iter().find(|(name, _)| *name == "eval_loss").unwrap().1;
        assert_eq!(loss.is_nan(), step % 10 != 0 && step != steps, "step {step}");
        losses.extend(Some(loss).filter(|loss| loss.is_finite()));
    }
    (trainer.finish(), losses)
}

#[test]
fn batches_one_after_another_are_one_batch_of_all() {
    // Steps that a pass suffices for: no step then has a prompt twice.
    let data = pairs(70, 0.2, "train");
    // Updates in proportion to the gradient: Adam's own would make rounding as large as it.
    let algorithm = Algorithm::Adamw { beta1: 0.9, beta2: 0.99, epsilon: 1.0, weight_decay: 0.0 };
    let optimizer = OptimizerConfig { algorithm, learning_rate: 0.1, ..config(5).optimizer };
    let trainer = |batch_prompts: usize, batches: usize| {
        let config = RewardModelConfig { batch_prompts, optimizer: optimizer.clone(), ..config(5) };
        let trainer = RewardModelTrainer::new(&policy(), data.clone(), &data, config, 1).unwrap();
        trainer.accumulating(batches.try_into().unwrap())
    };
    let (mut whole, mut parts) = (trainer(12, 1), trainer(4, 3));
    for _ in 0..5 {
        let [whole, parts] = [whole.step().unwrap(), parts.step().unwrap()];
        for ((name, whole), (_, parts)) in whole.iter().zip(&parts) {
            let same =
                (whole - parts).abs() < 1e-4 * whole.abs().max(1.0) || whole.is_nan() && parts.is_nan();
            assert!(same, "{name}: {whole} is not {parts}");
        }
    }
    let sequences = sequences(10, "scored");
    let [whole, parts] = [whole, parts].map(|trainer| trainer.finish().model.score(&sequences).unwrap());
    for (whole, parts) in whole.iter().zip(&parts) {
        assert!((whole - parts).abs() < 1e-4, "{whole} is not {parts}");
    }
    let start = trainer(12, 1).finish().model.score(&sequences).unwrap();
    assert!(
        start.iter().zip(&whole).any(|(start, whole)| (start - whole).abs() > 1e-2),
        "{start:?} {whole:?}"
    );
}

#[test]
fn a_prompt_is_drawn_with_all_its_pairs_and_each_response_passes_once() {
    let pair = |prompt: &[u32], chosen: &[u32], rejected: &[u32]| PreferencePair {
        prompt: prompt.to_vec(),
        chosen: chosen.to_vec(),
        rejected: rejected.to_vec(),
        probability: 1.0,
    };
    // Three responses in three pairs, with their prompt 3, 4 and 5 tokens; and another prompt, 3 and 3
    // tokens.
    let [a, b, c]: [&[u32]; 3] = [&[7], &[2, 7], &[3, 4, 5]];
    let [first, second]: [&[u32]; 2] = [&[0, 1], &[0, 2]];
    let data = vec![pair(first, a, b), pair(first, b, c), pair(first, a, c), pair(second, &[7], &[9])];
    let model = ScalarModel::with_random_head(body(), Stream::new(3, "head"));
    let loss = |pairs: &[PreferencePair]| {
        let score = |sequence| f64::from(model.score(&[sequence]).unwrap()[0]);
        let nll = |pair: &PreferencePair| {
            (score(pair.rejected_sequence()) - score(pair.chosen_sequence())).exp().ln_1p()
        };
        pairs.iter().map(nll).sum::<f64>() / pairs.len() as f64
    };
    let expected = [(loss(&data[..3]), 12), (loss(&data[3..]), 6)];
    let config = RewardModelConfig { batch_prompts: 1, evaluate_every: 10, ..config(2) };
    let mut trainer = RewardModelTrainer::from_model(&model, data.clone(), &data[3..], config, 1).unwrap();
    let before = trainer.tokens();
    let metrics = trainer.step().unwrap();
    let find = |key: &str| metrics.iter().find(|(name, _)| *name == key).unwrap().1;
    let found = (find("loss"), trainer.tokens() - before);
    let near = |(loss, tokens): &(f64, u64)| (found.0 - loss).abs() < 1e-5 && found.1 == *tokens;
    assert!(expected.iter().any(near), "{found:?} is neither of {expected:?}");
    assert_eq!(before, 6);
}

#[test]
fn learns_what_is_preferred() {
    let (trained, _) = train(pairs(200, 0.0, "train"), &pairs(200, 0.0, "validation"), 60);
    let found = trained.validation;
    assert!(found.accuracy > 0.95 && found.loss < 0.3 && found.margin > 1.0, "{found:?}");
    assert!(found.step > 0);
}

#[test]
fn keeps_the_best_checkpoint() {
    // Few pairs with many wrong labels: the model learns the rule first and then the mistakes by heart.
    let validation = pairs(200, 0.0, "validation");
    let (trained, losses) = train(pairs(24, 0.25, "train"), &validation, 205);
    assert_eq!(losses.len(), 21);
    let (best, lowest) = losses.iter().copied().enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    assert!(
        best < losses.len() - 1 && losses[losses.len() - 1] > lowest + 0.1,
        "it did not overfit: {losses:?}"
    );
    assert_eq!((trained.validation.step, trained.validation.loss), (10 * (best + 1), lowest));
    // The model is the one that had that loss, not a later one.
    let score = |side: fn(&PreferencePair) -> Sequence| {
        trained.model.score(&validation.iter().map(side).collect::<Vec<_>>()).unwrap()
    };
    let chosen = score(PreferencePair::chosen_sequence);
    let rejected = score(PreferencePair::rejected_sequence);
    let nll = chosen.iter().zip(&rejected).map(|(w, l)| f64::from(l - w).exp().ln_1p()).sum::<f64>() / 200.0;
    assert!((nll - lowest).abs() < 1e-5, "{nll} is not {lowest}");
}

#[test]
fn repeats_to_the_bit() {
    // A GPU adds gradients of a table's row up in any order.
    if !repeats() {
        return;
    }
    let run = || train(pairs(40, 0.0, "train"), &pairs(40, 0.0, "validation"), 12).1;
    assert_eq!(run(), run());
}

#[test]
fn a_restored_training_goes_on_to_the_bit() {
    if !repeats() {
        return;
    }
    let make = || {
        let config = RewardModelConfig { evaluate_every: 2, ..config(12) };
        let validation = pairs(20, 0.0, "validation");
        RewardModelTrainer::new(&policy(), pairs(40, 0.25, "train"), &validation, config, 1).unwrap()
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.safetensors");
    let save = |trainer: &RewardModelTrainer| {
        let mut state = State::new();
        trainer.save(&mut state);
        state.write(&path).unwrap();
        std::fs::read(&path).unwrap()
    };
    for before in [0, 3, 6] {
        let mut whole = make();
        // Its numbers at steps without a validation are NaN, so steps are compared as text.
        let log: Vec<String> = (0..2 * before).map(|_| format!("{:?}", whole.step().unwrap())).collect();
        let mut begun = make();
        (0..before).for_each(|_| drop(begun.step().unwrap()));
        save(&begun);
        let mut restored = make();
        restored.restore(&State::read(&path).unwrap()).unwrap();
        let rest: Vec<String> = (0..before).map(|_| format!("{:?}", restored.step().unwrap())).collect();
        assert_eq!(rest, log[before..]);
        assert_eq!(save(&restored), save(&whole), "{before} steps before and after");
        assert_eq!(restored.finish().validation, whole.finish().validation);
    }
}

#[test]
fn the_random_head_is_normal_and_the_body_untouched() {
    let heads: Vec<f32> = (0..200)
        .flat_map(|seed| {
            lm::sequences::to_vec(ScalarModel::with_random_head(body(), Stream::new(seed, "head")).head())
        })
        .collect();
    // 3200 draws of N(0, 1 / 17): the mean's standard error is 0.0043, that of the variance 0.0015.
    let mean = heads.iter().sum::<f32>() / 3200.0;
    let variance = heads.iter().map(|w| w * w).sum::<f32>() / 3200.0;
    assert!(mean.abs() < 0.02 && (variance - 1.0 / 17.0).abs() < 0.006, "mean {mean}, variance {variance}");
    let samples = sequences(5, "samples");
    let of_body = |model: Decoder| Policy::new(model, 1.0, 0).unwrap().score(&samples).unwrap();
    let model = ScalarModel::with_random_head(body(), Stream::new(0, "head"));
    assert_eq!(of_body(model.body().clone()), of_body(body()));
}

fn random_model() -> RewardModel {
    let model = ScalarModel::with_random_head(body(), Stream::new(8, "head"));
    let validation = reward_model::Validation { step: 0, loss: 0.7, accuracy: 0.5, margin: 0.0 };
    RewardModel { model, validation }
}

#[test]
fn scores_have_mean_zero_and_unit_deviation_on_the_reference() {
    let samples = sequences(300, "samples");
    let raw = random_model().model.score(&samples).unwrap();
    let normalized = random_model().normalize(&samples).unwrap();
    let scores: Vec<f64> = normalized.score(&samples).unwrap().into_iter().map(f64::from).collect();
    let mean = scores.iter().sum::<f64>() / 300.0;
    let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / 300.0;
    assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-5, "mean {mean}, variance {variance}");
    let unit = normalized.normalization();
    for (raw, score) in raw.iter().zip(&scores) {
        assert!((score * unit.sd() + unit.mean() - f64::from(*raw)).abs() < 1e-5);
    }
}

#[test]
fn what_cannot_be_normalized_is_refused() {
    let one = random_model().normalize(&sequences(1, "samples")).unwrap_err().to_string();
    assert_eq!(one, "scores of the reference: found 1 samples, expected at least 2");
    let zero = RewardModel { model: ScalarModel::with_zero_head(body()), ..random_model() };
    let constant = zero.normalize(&sequences(4, "samples")).unwrap_err().to_string();
    assert!(constant.contains("standard deviation 0"), "{constant}");
}

#[test]
fn scores_survive_saving_to_the_bit() {
    let dir = tempfile::tempdir().unwrap();
    let samples = sequences(50, "samples");
    let model = random_model().normalize(&samples).unwrap();
    let tokenizer = Tokenizer::train(&["a film, a film"], VOCAB as usize).unwrap();
    model.save(dir.path(), &tokenizer, Precision::F32).unwrap();
    let again = NormalizedRewardModel::load(dir.path(), &device()).unwrap();
    assert_eq!(model.score(&samples).unwrap(), again.score(&samples).unwrap());

    let path = dir.path().join("normalization.json");
    for (text, part) in
        [(r#"{"mean": 0.0, "sd": 0.0}"#, "standard deviation 0,"), (r#"{"mean": 0.0}"#, "missing field `sd`")]
    {
        std::fs::write(&path, text).unwrap();
        let message = NormalizedRewardModel::load(dir.path(), &device()).unwrap_err().to_string();
        assert!(message.contains("normalization.json") && message.contains(part), "{message}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(
        NormalizedRewardModel::load(dir.path(), &device())
            .unwrap_err()
            .to_string()
            .contains("normalization.json")
    );
}

#[test]
fn scores_do_not_depend_on_the_batch() {
    let samples = sequences(40, "samples");
    let model = random_model().normalize(&samples).unwrap();
    let together = model.score(&samples).unwrap();
    for (sample, together) in samples.iter().zip(together) {
        let alone = model.score(std::slice::from_ref(sample)).unwrap()[0];
        assert!((alone - together).abs() < 1e-5, "{alone} alone, {together} in the batch");
    }
}

#[test]
fn bad_input_is_named() {
    let good = || pairs(4, 0.0, "train");
    let new = |train, validation: Vec<PreferencePair>, config| {
        RewardModelTrainer::new(&policy(), train, &validation, config, 0).err().unwrap().to_string()
    };
    assert_eq!(
        new(vec![], good(), config(1)),
        "training preference pairs: found none, expected at least one"
    );
    assert_eq!(
        new(good(), vec![], config(1)),
        "validation preference pairs: found none, expected at least one"
    );
    let never = RewardModelConfig { evaluate_every: 0, ..config(1) };
    assert_eq!(new(good(), good(), never), "evaluate_every: found 0, expected at least 1");
    let mut bad = good();
    bad[2].rejected = vec![VOCAB];
    let message = new(good(), bad, config(1));
    assert!(message.starts_with("validation pair 2, rejected response"), "{message}");
    assert!(message.contains("token id 258"), "{message}");
}
