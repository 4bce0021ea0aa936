//! RLOO: an iteration by hand, and what the trainer draws, reports and refuses.

use std::sync::{Arc, Mutex};

use lm::optimizer::Decay;
use lm::{
    Config, LmError, Metrics, Policy, PolicyTrainer, Sampling, Scorer, Sequence, SequenceLogProbs, State,
    Trainer,
};
use ppo::rloo::loss::{leave_one_out_advantages, policy_gradient_loss};
use ppo::{KlControl, PpoError, RlooConfig, RlooTrainer};
use serde::Deserialize;

use crate::trainer::{Threes, VOCAB, metric, prompts};
use crate::{tiny, trainers};

/// Says how often token 3 occurs and remembers what it was shown.
struct Shown(Mutex<Vec<Sequence>>);

impl Shown {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Vec::new())))
    }

    fn take(&self) -> Vec<Sequence> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Scorer for Shown {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        self.0.lock().unwrap().extend_from_slice(sequences);
        Threes.score(sequences)
    }
}

pub(crate) fn config() -> RlooConfig {
    RlooConfig {
        steps: 10,
        rollouts: 32,
        samples_per_prompt: 4,
        sampling: Sampling { max_new_tokens: 6, batch_size: 32 },
        kl: KlControl::Fixed { kl_coef: 0.3 },
        missing_end_penalty: 0.5,
        optimizer: tiny::adam(3e-3, Decay::Constant, 1.0),
    }
}

pub(crate) fn trainer(scorer: Arc<dyn Scorer>, config: RlooConfig) -> RlooTrainer {
    RlooTrainer::new(&tiny::reference(VOCAB, 12, 1), prompts(), scorer, config, 11).unwrap()
}

fn logprobs(policy: &Policy, sequences: &[Sequence]) -> Vec<f64> {
    let sum = |row: &Vec<f32>| row.iter().map(|&x| f64::from(x)).sum();
    policy.score(sequences).unwrap().iter().map(sum).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[test]
fn an_iteration_by_hand() {
    let shown = Shown::new();
    let mut trainer = trainer(shown.clone(), config());
    for _ in 0..3 {
        trainer.step().unwrap();
    }
    shown.take();
    let before = trainer.policy();
    let metrics = trainer.step().unwrap();
    let sequences = shown.take();
    assert_eq!(sequences.len(), 32);
    assert!(sequences.chunks(4).all(|group| group.iter().all(|s| s.prompt == group[0].prompt)));

    let (p, q) = (logprobs(&before, &sequences), logprobs(&tiny::policy(VOCAB, 12, 1), &sequences));
    let threes = |s: &Sequence| s.response.iter().filter(|&&token| token == 3).count() as f64;
    let ended = |s: &Sequence| s.response.last() == Some(&tiny::END);
    let scores: Vec<f64> = sequences.iter().map(threes).collect();
    let rewards: Vec<f64> = (0..32)
        .map(|i| scores[i] - if ended(&sequences[i]) { 0.0 } else { 0.5 } - 0.3 * (p[i] - q[i]))
        .collect();
    let mut loss = 0.0;
    for i in 0..32 {
        let others: Vec<f64> = (0..32).filter(|&j| j != i && j / 4 == i / 4).map(|j| rewards[j]).collect();
        loss -= (rewards[i] - mean(&others)) * p[i] / 32.0;
    }
    let log_ratios: Vec<f64> = p.iter().zip(&q).map(|(p, q)| p - q).collect();
    assert!(mean(&log_ratios).abs() > 1e-3, "the policy has not moved: nothing to see");
    let expected = [
        ("loss/policy_avg", loss),
        ("objective/kl", mean(&log_ratios)),
        ("objective/entropy", -mean(&p)),
        ("objective/scores", mean(&scores)),
        ("objective/rlhf_reward", mean(&rewards)),
        ("val/num_eos_tokens", sequences.iter().filter(|s| ended(s)).count() as f64),
    ];
    for (name, want) in expected {
        let got = metric(&metrics, name);
        assert!((got - want).abs() < 1e-4 * (1.0 + want.abs()), "{name}: {got} is not {want}");
    }
}

#[derive(Deserialize)]
struct Fixture {
    rloo: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    logprobs: Vec<Vec<f32>>,
    rewards: Vec<f64>,
    samples_per_prompt: usize,
    advantages: Vec<f64>,
    loss: f64,
    gradient: Vec<Vec<f32>>,
}

#[test]
fn loss_and_gradient_match_pytorch() {
    let device = trainers::device().autodiff();
    let fixture: Fixture = serde_json::from_str(include_str!("../fixtures/ppo.json")).unwrap();
    let close =
        |got: f64, want: f64| assert!((got - want).abs() < 1e-5 * (1.0 + want.abs()), "{got} is not {want}");
    for case in fixture.rloo {
        let advantages = leave_one_out_advantages(&case.rewards, case.samples_per_prompt);
        for (got, want) in advantages.iter().zip(&case.advantages) {
            close(*got, *want);
        }
        let mask = lm::ResponseMask::from_lengths(case.logprobs.iter().map(Vec::len).collect());
        let logprobs = mask.pad(&case.logprobs, &device).require_grad();
        let advantages: Vec<f32> = advantages.iter().map(|&x| x as f32).collect();
        let advantages = burn::tensor::Tensor::from_floats(advantages.as_slice(), &device);
        let SequenceLogProbs(sums) = lm::TokenLogProbs::new(logprobs.clone(), mask.clone()).sum();
        let loss = policy_gradient_loss(SequenceLogProbs(sums), advantages);
        close(f64::from(lm::sequences::to_vec(loss.clone())[0]), case.loss);
        let gradient = mask.rows(logprobs.grad(&loss.backward()).unwrap());
        for (got, want) in gradient.iter().flatten().zip(case.gradient.iter().flatten()) {
            close(f64::from(*got), f64::from(*want));
        }
    }
}

#[test]
fn reward_rises() {
    let mut trainer = trainer(Shown::new(), RlooConfig { steps: 20, ..config() });
    let scores: Vec<f64> = (0..20).map(|_| metric(&trainer.step().unwrap(), "objective/scores")).collect();
    assert!(mean(&scores[15..]) > mean(&scores[..5]) + 0.3, "scores {scores:?}");
}

#[test]
fn tokens_count_every_pass() {
    let shown = Shown::new();
    let mut trainer = trainer(shown.clone(), config());
    trainer.step().unwrap();
    let tokens: usize = shown.take().iter().map(Sequence::len).sum();
    assert_eq!(trainer.tokens(), (4 * tokens) as u64);
}

#[test]
fn a_restored_training_goes_on_to_the_bit() {
    if !trainers::repeats() {
        return;
    }
    let saved = |trainer: &RlooTrainer| {
        let mut state = State::new();
        trainer.save(&mut state);
        state
    };
    let adaptive = KlControl::Adaptive { target_kl: 0.5, kl_coef: 0.1, horizon: 640.0 };
    for (before, kl) in [(0, config().kl), (1, config().kl), (3, adaptive)] {
        let make = || trainer(Arc::new(Threes), RlooConfig { kl, ..config() });
        let mut whole = make();
        let log: Vec<Metrics> = (0..2 * before).map(|_| whole.step().unwrap()).collect();
        let mut begun = make();
        (0..before).for_each(|_| drop(begun.step().unwrap()));
        let mut restored = make();
        restored.restore(&saved(&begun)).unwrap();
        let rest: Vec<Metrics> = (0..before).map(|_| restored.step().unwrap()).collect();
        assert_eq!(rest, log[before..]);
        assert_eq!(saved(&restored), saved(&whole), "{before} steps before and after");
    }
}

#[test]
fn bad_input_is_named() {
    assert!(config().problems().is_empty());
    let new = |prompts: Vec<Vec<u32>>, config: RlooConfig| {
        let made = RlooTrainer::new(&tiny::reference(VOCAB, 12, 1), prompts, Arc::new(Threes), config, 0);
        made.err().unwrap()
    };
    assert!(matches!(new(Vec::new(), config()), PpoError::NoPrompts));
    assert_eq!(new(vec![vec![0; 7]], config()).to_string(), "sequence 0: found 7 tokens, expected at most 6");
    let keys = |config: &RlooConfig| -> Vec<String> {
        config.problems().into_iter().map(|problem| problem.key).collect()
    };
    let alone = RlooConfig { samples_per_prompt: 1, ..config() };
    assert_eq!(new(prompts(), alone).to_string(), "samples_per_prompt: found 1, expected at least 2");
    let uneven = RlooConfig { samples_per_prompt: 5, ..config() };
    assert_eq!(
        new(prompts(), uneven).to_string(),
        "samples_per_prompt: found 5, expected a divisor of rollouts = 32"
    );
    let mut hostile = RlooConfig {
        steps: 0,
        rollouts: 0,
        samples_per_prompt: 0,
        kl: KlControl::Adaptive { target_kl: f64::NAN, kl_coef: 0.0, horizon: -1.0 },
        missing_end_penalty: -1.0,
        ..config()
    };
    hostile.optimizer.max_grad_norm = 0.0;
    let expected = [
        "steps",
        "rollouts",
        "samples_per_prompt",
        "missing_end_penalty",
        "kl.target_kl",
        "kl.kl_coef",
        "kl.horizon",
        "optimizer.max_grad_norm",
    ];
    assert_eq!(keys(&hostile), expected);
    let unresolved = RlooConfig { kl: KlControl::Optimum { target_kl: 1.0 }, ..config() };
    assert!(unresolved.problems().is_empty());
    assert!(new(prompts(), unresolved).to_string().starts_with("kl.name: found optimum, expected fixed, "));
    let mut json = serde_json::to_value(config()).unwrap();
    assert_eq!(serde_json::from_value::<RlooConfig>(json.clone()).unwrap(), config());
    json["clip_range"] = 0.2.into();
    let error = serde_json::from_value::<RlooConfig>(json).unwrap_err().to_string();
    assert!(error.contains("unknown field `clip_range`"), "{error}");
}
