//! The trainer on a real, tiny model.

use std::sync::{Arc, Mutex};

use lm::{
    Config, LmError, Metrics, Normalization, PolicyTrainer, ScalarModel, Scorer, Sequence, Standardized,
    State, Trainer,
};
use ppo::{KlControl, PpoConfig, PpoTrainer};

use crate::{tiny, trainers};

pub(crate) const VOCAB: usize = 8;

/// How often token 3 occurs.
pub(crate) struct Threes;

impl Scorer for Threes {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        let threes = |s: &Sequence| s.response.iter().filter(|&&token| token == 3).count() as f32;
        Ok(sequences.iter().map(threes).collect())
    }
}

/// Returns what it was told to and remembers what it was shown.
struct Scripted(fn(usize) -> Vec<f32>, Mutex<Vec<Sequence>>);

impl Scorer for Scripted {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        self.1.lock().unwrap().extend_from_slice(sequences);
        Ok(self.0(sequences.len()))
    }
}

pub(crate) fn prompts() -> Vec<Vec<u32>> {
    (0..40).map(|i| vec![0, 1 + i % 7, 1 + i / 7]).collect()
}

fn trainer_with(config: PpoConfig, scorer: Arc<dyn Scorer>) -> PpoTrainer {
    let reference = tiny::reference(VOCAB, 12, 1);
    let value_model = ScalarModel::with_zero_head(reference.start().model().clone());
    PpoTrainer::new(&reference, &value_model, prompts(), scorer, config, 11).unwrap()
}

pub(crate) fn trainer(config: PpoConfig) -> PpoTrainer {
    trainer_with(config, Arc::new(Standardized::new(Threes, Normalization::new(0.75, 0.8).unwrap())))
}

pub(crate) fn metric(metrics: &Metrics, name: &str) -> f64 {
    metrics.iter().find(|(key, _)| *key == name).unwrap().1
}

/// What a policy says of some fixed responses: a fingerprint of its weights.
pub(crate) fn fingerprint(trainer: &PpoTrainer) -> Vec<Vec<f32>> {
    let sequences: Vec<Sequence> =
        prompts().into_iter().map(|prompt| Sequence { prompt, response: vec![5, 3, 2, 0] }).collect();
    let mut rows = trainer.policy().score(&sequences).unwrap();
    rows.extend(trainer.value_model().values_of(&sequences).unwrap());
    rows
}

#[test]
fn first_minibatch_has_ratio_one() {
    let config = PpoConfig { ppo_epochs: 1, minibatch_size: 64, ..tiny::config() };
    let mut trainer = trainer(config);
    for _ in 0..3 {
        let metrics = trainer.step().unwrap();
        assert!((metric(&metrics, "val/ratio") - 1.0).abs() < 1e-5);
        // The mean of log(ratio)^2 / 2: every single ratio is within about 1e-5 of 1.
        assert!(metric(&metrics, "policy/approxkl_avg") < 1e-10);
        assert!(metric(&metrics, "policy/clipfrac_avg") == 0.0);
        // Whitened advantages at ratio 1: the surrogate is their mean, 0.
        assert!(metric(&metrics, "loss/policy_avg").abs() < 1e-4);
    }
}

#[test]
fn skipped_minibatches_leave_the_weights_alone() {
    // So large a step and so narrow a guard that the second epoch is out of range.
    let config = PpoConfig {
        minibatch_size: 64,
        ratio_guard: 1.001,
        policy_optimizer: tiny::adam(0.05, lm::optimizer::Decay::Constant, 1.0),
        ..tiny::config()
    };
    let mut once = trainer(PpoConfig { ppo_epochs: 1, ..config.clone() });
    let mut thrice = trainer(PpoConfig { ppo_epochs: 3, ..config });
    assert!(metric(&once.step().unwrap(), "policy/skipped_minibatches") == 0.0);
    assert!(metric(&thrice.step().unwrap(), "policy/skipped_minibatches") == 2.0);
    // A GPU adds gradients of a table's row up in any order; a step of this size moves far more than that.
    let tolerance = if trainers::repeats() { 0.0 } else { 1e-3 };
    let [once, thrice] = [&once, &thrice].map(|trainer| fingerprint(trainer).concat());
    assert!(once.iter().zip(&thrice).all(|(a, b)| (a - b).abs() <= tolerance), "{once:?} {thrice:?}");
}

#[test]
fn reward_rises_while_kl_stays_finite() {
    let mut trainer = trainer(tiny::config());
    let steps: Vec<Metrics> = (0..10).map(|_| trainer.step().unwrap()).collect();
    let scores: Vec<f64> = steps.iter().map(|metrics| metric(metrics, "objective/scores")).collect();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    assert!(mean(&scores[7..]) > mean(&scores[..3]) + 0.5, "scores {scores:?}");
    for metrics in &steps {
        assert!(metrics.iter().all(|(_, value)| value.is_finite()), "{metrics:?}");
        assert!(metric(metrics, "objective/kl") < 20.0);
    }
}

#[test]
fn first_step_starts_from_the_reference() {
    let metrics = trainer(tiny::config()).step().unwrap();
    assert!(metric(&metrics, "objective/kl").abs() < 1e-6);
    assert!(metric(&metrics, "objective/non_score_reward").abs() < 1e-6);
    // A zero head explains nothing: every error is a return.
    assert!(metric(&metrics, "val/explained_variance").abs() < 1e-6);
    let reward = metric(&metrics, "objective/rlhf_reward");
    assert!((metric(&metrics, "objective/scores") - reward).abs() < 1e-6);
}

#[test]
fn missing_end_costs_what_it_says() {
    let plain = trainer(tiny::config()).step().unwrap();
    let penalised = trainer(PpoConfig { missing_end_penalty: 2.0, ..tiny::config() }).step().unwrap();
    let open = 1.0 - metric(&plain, "val/num_eos_tokens") / 64.0;
    assert!(open > 0.0 && open < 1.0, "a share of {open} did not end: nothing to see");
    let cost = metric(&plain, "objective/rlhf_reward") - metric(&penalised, "objective/rlhf_reward");
    assert!((cost - 2.0 * open).abs() < 1e-6, "cost {cost}, share {open}");
}

#[test]
fn adaptive_coefficient_follows_the_measured_kl() {
    let kl = KlControl::Adaptive { target_kl: 0.5, kl_coef: 0.1, horizon: 640.0 };
    let mut trainer = trainer(PpoConfig { kl, ..tiny::config() });
    let mut wanted = 0.1 / 0.5_f64.sqrt();
    for _ in 0..5 {
        let metrics = trainer.step().unwrap();
        assert!((metric(&metrics, "objective/kl_coef") - wanted).abs() < 1e-9);
        wanted *= 1.0 + (metric(&metrics, "objective/kl") / 0.5 - 1.0).clamp(-0.2, 0.2) * 0.1;
    }
}

fn run(steps: usize) -> (Vec<Metrics>, Vec<Vec<f32>>) {
    let mut trainer = trainer(tiny::config());
    let metrics = (0..steps).map(|_| trainer.step().unwrap()).collect();
    let fingerprint = fingerprint(&trainer);
    (metrics, fingerprint)
}

#[test]
fn runs_repeat_to_the_bit_on_any_number_of_threads() {
    // A GPU adds gradients of a table's row up in any order.
    if !trainers::repeats() {
        return;
    }
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(3))
    };
    let one = on(1);
    assert_eq!(one, on(1));
    assert_eq!(one, on(2));
}

#[test]
fn a_restored_training_goes_on_to_the_bit() {
    if !trainers::repeats() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.safetensors");
    let save = |trainer: &PpoTrainer| {
        let mut state = State::new();
        trainer.save(&mut state);
        state.write(&path).unwrap();
        std::fs::read(&path).unwrap()
    };
    let fixed = KlControl::Fixed { kl_coef: 0.1 };
    let adaptive = KlControl::Adaptive { target_kl: 0.5, kl_coef: 0.1, horizon: 640.0 };
    for (before, kl) in [(0, fixed), (1, fixed), (3, adaptive)] {
        let make = || trainer(PpoConfig { kl, ..tiny::config() });
        let mut whole = make();
        let log: Vec<Metrics> = (0..2 * before).map(|_| whole.step().unwrap()).collect();
        let mut begun = make();
        (0..before).for_each(|_| drop(begun.step().unwrap()));
        save(&begun);
        let mut restored = make();
        restored.restore(&State::read(&path).unwrap()).unwrap();
        let rest: Vec<Metrics> = (0..before).map(|_| restored.step().unwrap()).collect();
        assert_eq!(rest, log[before..]);
        assert_eq!(save(&restored), save(&whole), "{before} steps before and after");
    }
}

#[test]
fn another_coefficient_than_the_fixed_one_is_refused() {
    let with = |kl_coef: f64| trainer(PpoConfig { kl: KlControl::Fixed { kl_coef }, ..tiny::config() });
    let mut state = State::new();
    with(0.1).save(&mut state);
    let error = with(0.2).restore(&state).unwrap_err().to_string();
    assert_eq!(error, "state of a training: `kl_coef`: found 0.1, expected 0.2");
}

#[test]
fn prompts_come_in_groups_and_passes() {
    let scorer = Arc::new(Scripted(|n| vec![1.0; n], Mutex::new(Vec::new())));
    let config = PpoConfig { rollouts: 40, minibatch_size: 40, samples_per_prompt: 2, ..tiny::config() };
    let mut trainer = trainer_with(config, scorer.clone());
    trainer.step().unwrap();
    trainer.step().unwrap();
    let seen = scorer.1.lock().unwrap();
    let mut groups: Vec<Vec<u32>> = Vec::new();
    for pair in seen.chunks(2) {
        assert_eq!(pair[0].prompt, pair[1].prompt);
        groups.push(pair[0].prompt.clone());
    }
    assert!(
        seen.chunks(2).any(|pair| pair[0].response != pair[1].response),
        "samples of a prompt are copies"
    );
    // Two iterations of 20 prompts make one pass over the 40.
    groups.sort();
    let mut all = prompts();
    all.sort();
    assert_eq!(groups, all);
    // 5 passes to sample and score, and 2 models in each of 2 epochs.
    let tokens: usize = seen.iter().map(Sequence::len).sum();
    assert_eq!(trainer.tokens(), (tokens * 9) as u64);
}

#[test]
fn metrics_have_trl_names_in_trl_order() {
    let names: Vec<&str> = trainer(tiny::config()).step().unwrap().iter().map(|(name, _)| *name).collect();
    let trl = [
        "objective/kl",
        "objective/entropy",
        "objective/non_score_reward",
        "objective/rlhf_reward",
        "objective/scores",
        "policy/approxkl_avg",
        "policy/clipfrac_avg",
        "loss/policy_avg",
        "loss/value_avg",
        "val/clipfrac_avg",
        "val/ratio",
        "val/ratio_var",
        "val/num_eos_tokens",
    ];
    assert_eq!(names[..trl.len()], trl);
    for name in
        ["val/explained_variance", "objective/kl_coef", "response_length", "num_tokens", "learning_rate"]
    {
        assert!(names.contains(&name), "{name} is missing");
    }
}

#[test]
fn bad_scorers_are_named() {
    let fail = |scores: fn(usize) -> Vec<f32>| {
        let scorer = Arc::new(Scripted(scores, Mutex::new(Vec::new())));
        trainer_with(tiny::config(), scorer).step().unwrap_err().to_string()
    };
    assert_eq!(fail(|n| vec![0.0; n - 1]), "scorer: found 63 scores, expected 64, one per sequence");
    let nan = fail(|n| (0..n).map(|i| if i == 5 { f32::NAN } else { 0.0 }).collect());
    assert_eq!(nan, "scorer: found NaN for sequence 5, expected a finite number");
}

#[test]
fn impossible_settings_are_all_listed() {
    assert!(tiny::config().problems().is_empty());
    let mut config = PpoConfig {
        rollouts: 64,
        minibatch_size: 48,
        ppo_epochs: 0,
        clip_range: f64::NAN,
        ratio_guard: 1.0,
        kl: KlControl::Adaptive { target_kl: -1.0, kl_coef: 0.1, horizon: 10.0 },
        ..tiny::config()
    };
    config.value_optimizer.learning_rate = 0.0;
    let keys: Vec<String> = config.problems().into_iter().map(|problem| problem.key).collect();
    let wanted = [
        "ppo_epochs",
        "minibatch_size",
        "clip_range",
        "ratio_guard",
        "kl.target_kl",
        "kl.horizon",
        "value_optimizer.learning_rate",
    ];
    assert_eq!(keys, wanted);
    let reference = tiny::reference(VOCAB, 12, 1);
    let value_model = ScalarModel::with_zero_head(reference.start().model().clone());
    let refuse = |prompts: Vec<Vec<u32>>, config: PpoConfig| {
        let made = PpoTrainer::new(&reference, &value_model, prompts, Arc::new(Threes), config, 0);
        made.err().expect("refused").to_string()
    };
    let all = refuse(prompts(), config);
    let second = "minibatch_size: found 48, expected a divisor of rollouts = 64";
    assert_eq!((all.lines().count(), all.lines().nth(1)), (wanted.len(), Some(second)), "{all}");
    let optimum = PpoConfig { kl: KlControl::Optimum { target_kl: 1.0 }, ..tiny::config() };
    assert!(optimum.problems().is_empty(), "it is only for another to resolve");
    let unresolved = refuse(prompts(), optimum);
    assert!(unresolved.starts_with("kl.name: found optimum, expected fixed, "), "{unresolved}");
    assert_eq!(refuse(Vec::new(), tiny::config()), "`prompts`: found none, expected at least one");
    let long = refuse(vec![vec![0; 7]], tiny::config());
    assert_eq!(long, "sequence 0: found 7 tokens, expected at most 6");
}

#[test]
fn settings_are_read_and_written_whole() {
    let config = PpoConfig {
        kl: KlControl::Adaptive { target_kl: 0.5, kl_coef: 0.1, horizon: 1e4 },
        ..tiny::config()
    };
    let mut json = serde_json::to_value(&config).unwrap();
    assert_eq!(json["kl"]["name"], "adaptive");
    assert_eq!(serde_json::from_value::<PpoConfig>(json.clone()).unwrap(), config);
    json["clip_rage"] = 0.2.into();
    let error = serde_json::from_value::<PpoConfig>(json).unwrap_err().to_string();
    assert!(error.contains("clip_rage"), "{error}");
}
