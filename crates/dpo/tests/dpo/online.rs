//! Online DPO against offline DPO on the same pairs, hand arithmetic, and the closed form.

use std::sync::{Arc, Mutex};

use dpo::{DpoConfig, DpoError, DpoTrainer, Loss, OnlineDpoConfig, OnlineDpoTrainer};
use lm::optimizer::{Algorithm, Decay, Schedule};
use lm::{
    Config, Labels, LmError, Metrics, OptimizerConfig, PolicyTrainer, PreferencePair, ReferencePolicy,
    Sampling, Scorer, Sequence, State, Trainer,
};

use crate::enumeration::{self, LONGEST, kl, logprobs, optimum, responses, rewards};
use crate::trainers;

const BETA: f64 = 0.8;

/// The reward of the listed responses, and everything that it was shown.
pub(crate) struct Table {
    listed: Vec<Sequence>,
    rewards: Vec<f64>,
    shown: Mutex<Vec<Sequence>>,
}

impl Table {
    pub(crate) fn new() -> Arc<Self> {
        let listed = responses();
        Arc::new(Self { rewards: rewards(&listed), listed, shown: Mutex::new(Vec::new()) })
    }

    fn reward(&self, response: &[u32]) -> f64 {
        self.rewards[self.listed.iter().position(|listed| listed.response == response).unwrap()]
    }
}

impl Scorer for Table {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        self.shown.lock().unwrap().extend_from_slice(sequences);
        Ok(sequences.iter().map(|sequence| self.reward(&sequence.response) as f32).collect())
    }
}

/// The same for every response.
struct Indifferent;

impl Scorer for Indifferent {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        Ok(vec![1.0; sequences.len()])
    }
}

/// With an epsilon this large, steps are in proportion to gradients.
fn optimizer() -> OptimizerConfig {
    OptimizerConfig {
        algorithm: Algorithm::Adamw { beta1: 0.9, beta2: 0.99, epsilon: 1.0, weight_decay: 0.0 },
        learning_rate: 0.02,
        schedule: Schedule { warmup_steps: 0, decay: Decay::Constant, floor: 1.0 },
        max_grad_norm: 1.0,
    }
}

pub(crate) fn config() -> OnlineDpoConfig {
    OnlineDpoConfig {
        loss: Loss::Sigmoid { label_smoothing: 0.0 },
        beta: BETA,
        batch_prompts: 2,
        responses_per_prompt: 3,
        labels: Labels::Hard,
        steps: 6,
        sampling: Sampling { max_new_tokens: LONGEST, batch_size: 64 },
        optimizer: optimizer(),
    }
}

fn prompts() -> Vec<Vec<u32>> {
    (1..6).map(|token| vec![0, token]).collect()
}

fn reference() -> ReferencePolicy {
    ReferencePolicy::new(&enumeration::policy())
}

pub(crate) fn trainer(scorer: Arc<dyn Scorer>, config: OnlineDpoConfig) -> OnlineDpoTrainer {
    OnlineDpoTrainer::new(&reference(), prompts(), scorer, config, 5).unwrap()
}

fn get(metrics: &Metrics, key: &str) -> f64 {
    metrics.iter().find(|(name, _)| *name == key).unwrap().1
}

/// All pairs of the responses that a scorer was shown, `n` to a prompt, by hand: the higher reward wins.
fn hard_pairs(table: &Table, shown: &[Sequence], n: usize) -> Vec<PreferencePair> {
    let mut pairs = Vec::new();
    for group in shown.chunks(n) {
        for (i, a) in group.iter().enumerate() {
            for b in &group[i + 1..] {
                let lead = table.reward(&a.response) - table.reward(&b.response);
                // A tie: different responses of the table have the same reward, too.
                if lead == 0.0 {
                    continue;
                }
                let a_wins = lead > 0.0;
                let (w, l) = if a_wins { (a, b) } else { (b, a) };
                pairs.push(PreferencePair {
                    prompt: w.prompt.clone(),
                    chosen: w.response.clone(),
                    rejected: l.response.clone(),
                    probability: 1.0,
                });
            }
        }
    }
    pairs
}

#[test]
fn a_step_is_offline_dpo_on_the_responses_that_were_drawn() {
    if !trainers::repeats() {
        return;
    }
    let table = Table::new();
    let mut online = trainer(table.clone(), config());
    online.step().unwrap();
    let pairs = hard_pairs(&table, &table.shown.lock().unwrap(), 3);
    assert!(pairs.len() > 3, "only {} pairs", pairs.len());
    // One step on all of them, in another order of prompts.
    let config = DpoConfig {
        loss: config().loss,
        beta: BETA,
        batch_prompts: 2,
        steps: 6,
        optimizer: config().optimizer,
    };
    let mut offline = DpoTrainer::new(&reference(), pairs, config, 0).unwrap();
    offline.step().unwrap();
    let [online, offline] = [online.policy(), offline.policy()].map(|policy| logprobs(&policy, &responses()));
    let apart = online.iter().zip(&offline).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let moved = online.iter().zip(logprobs(&enumeration::policy(), &responses()));
    let moved = moved.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(moved > 0.1 && apart < 1e-3 * moved, "{apart} apart, moved by {moved}");
}

#[test]
fn a_later_step_by_hand() {
    let table = Table::new();
    let mut trainer = trainer(table.clone(), config());
    for _ in 0..3 {
        trainer.step().unwrap();
    }
    table.shown.lock().unwrap().clear();
    let before = trainer.policy();
    let metrics = trainer.step().unwrap();
    let shown = table.shown.lock().unwrap().clone();
    assert_eq!(shown.len(), 6);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;

    let ratios = |sequences: &[Sequence]| -> Vec<f64> {
        let [p, q] = [&before, &enumeration::policy()].map(|policy| logprobs(policy, sequences));
        p.iter().zip(q).map(|(p, q)| p - q).collect()
    };
    let pairs = hard_pairs(&table, &shown, 3);
    let sides = |of: fn(&PreferencePair) -> Sequence| ratios(&pairs.iter().map(of).collect::<Vec<_>>());
    let (chosen, rejected) =
        (sides(PreferencePair::chosen_sequence), sides(PreferencePair::rejected_sequence));
    let margins: Vec<f64> = chosen.iter().zip(&rejected).map(|(w, l)| BETA * (w - l)).collect();
    let losses: Vec<f64> = margins.iter().map(|margin| (1.0 + (-margin).exp()).ln()).collect();
    let lead = |pair: &PreferencePair| table.reward(&pair.chosen) - table.reward(&pair.rejected);
    let leads: Vec<f64> = pairs.iter().map(lead).collect();
    let scores: Vec<f64> = shown.iter().map(|sequence| table.reward(&sequence.response)).collect();
    let sequence_kl = mean(&ratios(&shown));
    let expected = [
        ("loss", mean(&losses)),
        ("rewards/chosen", BETA * mean(&chosen)),
        ("rewards/rejected", BETA * mean(&rejected)),
        ("rewards/margins", mean(&margins)),
        ("objective/kl", sequence_kl),
        ("objective/scores", mean(&scores)),
        ("objective/rlhf_reward", mean(&scores) - BETA * sequence_kl),
        ("objective/scores_margin", mean(&leads)),
        ("pairs", pairs.len() as f64),
    ];
    for (key, want) in expected {
        let got = get(&metrics, key);
        assert!((got - want).abs() < 1e-4 * (1.0 + want.abs()), "{key}: {got} is not {want}");
    }
    assert!(sequence_kl.abs() > 1e-3, "the policy has not moved: nothing to see");
}

#[test]
fn tokens_count_every_pass() {
    let table = Table::new();
    let mut trainer = trainer(table.clone(), config());
    trainer.step().unwrap();
    let shown = table.shown.lock().unwrap().clone();
    let mut distinct: Vec<(Vec<u32>, Vec<u32>)> = hard_pairs(&table, &shown, 3)
        .into_iter()
        .flat_map(|pair| [(pair.prompt.clone(), pair.chosen), (pair.prompt, pair.rejected)])
        .collect();
    distinct.sort();
    distinct.dedup();
    let trained: usize = distinct.iter().map(|(prompt, response)| prompt.len() + response.len()).sum();
    let drawn: usize = shown.iter().map(Sequence::len).sum();
    assert_eq!(trainer.tokens(), (3 * drawn + trained) as u64);
}

#[test]
fn a_step_without_a_winner_changes_nothing() {
    let mut trainer = trainer(Arc::new(Indifferent), config());
    let metrics = trainer.step().unwrap();
    assert!(get(&metrics, "loss").is_nan() && get(&metrics, "pairs") == 0.0, "{metrics:?}");
    let [now, start] =
        [trainer.policy(), enumeration::policy()].map(|policy| logprobs(&policy, &responses()));
    assert_eq!(now, start);
}

/// Trains on soft labels and says, in nats, how far from pi* of `BETA` it starts and ends, and how
/// far from its own it ends.
fn train(beta: f64) -> (f64, f64, f64) {
    let listed = responses();
    let rewards = rewards(&listed);
    let reference = logprobs(&enumeration::policy(), &listed);
    let config = OnlineDpoConfig {
        beta,
        batch_prompts: 64,
        responses_per_prompt: 4,
        labels: Labels::Soft { scale: 1.0 },
        steps: 400,
        optimizer: OptimizerConfig {
            algorithm: Algorithm::Adamw { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.0 },
            learning_rate: 3e-3,
            schedule: Schedule { warmup_steps: 10, decay: Decay::Cosine, floor: 0.0 },
            max_grad_norm: 1.0,
        },
        ..config()
    };
    let steps = config.steps;
    let prompts = vec![listed[0].prompt.clone()];
    let mut trainer = OnlineDpoTrainer::new(
        &ReferencePolicy::new(&enumeration::policy()),
        prompts,
        Table::new(),
        config,
        3,
    )
    .unwrap();
    for _ in 0..steps {
        trainer.step().unwrap();
    }
    let end = logprobs(&trainer.policy(), &listed);
    // From the policy's side: what it hardly ever writes it hardly ever learns about.
    let from = |policy: &[f64], beta: f64| kl(policy, &optimum(&reference, &rewards, beta));
    (from(&reference, BETA), from(&end, BETA), from(&end, beta))
}

/// How near in nats to pi* a policy comes. What is left are responses that it has hardly ever written.
const BOUND: f64 = 0.015;

#[test]
fn soft_labels_lead_to_the_optimum() {
    let (start, end, _) = train(BETA);
    assert!(start > 15.0 * BOUND, "starts at {start} nats, too near to show anything");
    assert!(end < BOUND, "ends at {end} nats from pi*");
}

#[test]
fn another_beta_leads_elsewhere() {
    let (_, end, own) = train(2.0 * BETA);
    assert!(own < BOUND, "ends at {own} nats from its own optimum");
    assert!(end > 4.0 * BOUND, "ends at {end} nats from the optimum of half its beta");
}

#[test]
fn a_restored_training_goes_on_to_the_bit() {
    if !trainers::repeats() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.safetensors");
    let save = |trainer: &OnlineDpoTrainer| {
        let mut state = State::new();
        trainer.save(&mut state);
        state.write(&path).unwrap();
        std::fs::read(&path).unwrap()
    };
    for (before, labels) in [(0, Labels::Hard), (1, Labels::Hard), (3, Labels::BradleyTerry { scale: 2.0 })] {
        let make = || trainer(Table::new(), OnlineDpoConfig { labels: labels.clone(), ..config() });
        let mut whole = make();
        let log: Vec<Metrics> = (0..2 * before).map(|_| whole.step().unwrap()).collect();
        let mut begun = make();
        (0..before).for_each(|_| drop(begun.step().unwrap()));
        save(&begun);
        let mut restored = make();
        restored.restore(&State::read(&path).unwrap()).unwrap();
        let rest: Vec<Metrics> = (0..before).map(|_| restored.step().unwrap()).collect();
        // NaN is not equal to itself, its text is.
        assert_eq!(format!("{rest:?}"), format!("{:?}", &log[before..]));
        assert_eq!(save(&restored), save(&whole), "{before} steps before and after");
    }
}

#[test]
fn metrics_have_trl_names_in_trl_order() {
    let metrics = trainer(Table::new(), config()).step().unwrap();
    let names: Vec<&str> = metrics.iter().map(|(name, _)| *name).collect();
    let trl = [
        "objective/kl",
        "objective/entropy",
        "objective/non_score_reward",
        "objective/rlhf_reward",
        "objective/scores",
        "objective/scores_margin",
        "rewards/chosen",
        "rewards/rejected",
        "rewards/accuracies",
        "rewards/margins",
        "logps/chosen",
        "logps/rejected",
        "val/contain_eos_token",
        "beta",
    ];
    assert_eq!(names[..trl.len()], trl);
}

#[test]
fn bad_input_is_named() {
    assert!(config().problems().is_empty());
    let new = |prompts: Vec<Vec<u32>>, config: OnlineDpoConfig| {
        OnlineDpoTrainer::new(&reference(), prompts, Table::new(), config, 0).err().unwrap()
    };
    assert!(matches!(new(Vec::new(), config()), DpoError::NoPrompts));
    assert_eq!(new(vec![vec![0; 6]], config()).to_string(), "sequence 0: found 6 tokens, expected at most 5");
    let mut hostile = OnlineDpoConfig {
        beta: f64::INFINITY,
        batch_prompts: 0,
        responses_per_prompt: 1,
        labels: Labels::Soft { scale: -1.0 },
        steps: 0,
        ..config()
    };
    hostile.sampling.max_new_tokens = 0;
    hostile.optimizer.learning_rate = f64::NAN;
    let keys: Vec<String> = hostile.problems().into_iter().map(|problem| problem.key).collect();
    let expected = [
        "beta",
        "batch_prompts",
        "responses_per_prompt",
        "labels.soft.scale",
        "steps",
        "sampling.max_new_tokens",
        "optimizer.learning_rate",
    ];
    assert_eq!(keys, expected);
    assert_eq!(new(prompts(), hostile).to_string().lines().count(), expected.len());
    let mut json = serde_json::to_value(config()).unwrap();
    assert_eq!(json["labels"], "hard");
    json["labels"] = serde_json::json!({ "soft": { "scale": 2.0 } });
    let soft: OnlineDpoConfig = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(soft.labels, Labels::Soft { scale: 2.0 });
    json["batch_size"] = 1.into();
    let error = serde_json::from_value::<OnlineDpoConfig>(json).unwrap_err().to_string();
    assert!(error.contains("unknown field `batch_size`"), "{error}");
}
