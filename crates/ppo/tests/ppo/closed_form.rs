//! PPO reaches the optimum of the KL-regularised reward that is known in closed form.
//!
//! The space is small enough to list: one prompt, a vocabulary of 4, at most 3 tokens, 40 responses, each
//! with a reward of its own. With `J(pi) = E_pi[r] - beta KL(pi || pi_ref)` the optimum is
//! `pi* = pi_ref exp(r / beta) / Z`, and every policy falls short of it by exactly
//! `J(pi*) - J(pi) = beta KL(pi || pi*)`. The oracle is that list, in f64; it shares nothing with the trainer
//! but the log-probabilities of the policy.
//!
//! A test that cannot fail shows nothing, so mistakes were made on purpose. From pi* end, in nats: the
//! score with the wrong sign 2.1, the penalty 1.2, the loss 3.8; no penalty 2.3, no reference in it 0.5,
//! twice the coefficient 0.11.

//! The second test repeats the last one.

use std::collections::HashMap;
use std::sync::Arc;

use crate::tiny::{self, END};
use lm::optimizer::Decay;
use lm::{
    LmError, Policy, PolicyTrainer, ReferencePolicy, Sampling, ScalarModel, Scorer, Sequence, Stream, Trainer,
};
use ppo::{KlControl, PpoConfig, PpoTrainer, RlooConfig, RlooTrainer};
use rand::RngExt;

const VOCAB: u32 = 4;
const MAX_TOKENS: usize = 3;
const BETA: f64 = 0.5;
/// How near in nats a trained policy comes to pi*. Untrained it is more than 20 times as far. What
/// is left is the model's: Adam on the exact gradient of KL(pi || pi*) rests on a plateau at 0.012
/// nats for 200 steps, too.
const BOUND: f64 = 0.02;

/// All responses: those that end with the end token, and those that run out of tokens.
fn responses() -> Vec<Vec<u32>> {
    let (mut open, mut closed) = (vec![Vec::new()], Vec::new());
    for _ in 0..MAX_TOKENS {
        let grown: Vec<Vec<u32>> = open
            .iter()
            .flat_map(|prefix| (0..VOCAB).map(move |token| [prefix.as_slice(), &[token]].concat()))
            .collect();
        let (ended, going): (Vec<_>, Vec<_>) = grown.into_iter().partition(|y| y.last() == Some(&END));
        closed.extend(ended);
        open = going;
    }
    [closed, open].concat()
}

/// A reward for each response, uniform in [-1, 1].
struct Table(HashMap<Vec<u32>, f64>);

impl Table {
    fn new() -> Self {
        let mut rng = Stream::new(7, "rewards").rng();
        Self(responses().into_iter().map(|response| (response, rng.random_range(-1.0..1.0))).collect())
    }
}

impl Scorer for Table {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        Ok(sequences.iter().map(|sequence| self.0[&sequence.response] as f32).collect())
    }
}

/// The list of everything that can be said, with rewards and reference log-probabilities.
struct Space {
    sequences: Vec<Sequence>,
    rewards: Vec<f64>,
    reference: Vec<f64>,
}

/// `log pi(y | x)` of listed responses; sums to 1 in probability, which shows that the list is complete.
fn logprobs(score: &[Vec<f32>]) -> Vec<f64> {
    let sums: Vec<f64> = score.iter().map(|row| row.iter().map(|&x| f64::from(x)).sum()).collect();
    let total: f64 = sums.iter().map(|x: &f64| x.exp()).sum();
    assert!((total - 1.0).abs() < 1e-5, "probabilities sum to {total}");
    sums
}

fn kl(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum()
}

impl Space {
    fn new(reference: &ReferencePolicy) -> Self {
        let table = Table::new();
        let sequences: Vec<Sequence> =
            responses().into_iter().map(|response| Sequence { prompt: prompt(), response }).collect();
        let rewards = sequences.iter().map(|sequence| table.0[&sequence.response]).collect();
        let reference = logprobs(&reference.score(&sequences).unwrap());
        Self { sequences, rewards, reference }
    }

    fn policy(&self, policy: &Policy) -> Vec<f64> {
        logprobs(&policy.score(&self.sequences).unwrap())
    }

    /// `log pi*` and `J(pi*) = beta log Z`.
    fn optimum(&self, beta: f64) -> (Vec<f64>, f64) {
        let tilted: Vec<f64> = self.reference.iter().zip(&self.rewards).map(|(q, r)| q + r / beta).collect();
        let log_z = tilted.iter().map(|x| x.exp()).sum::<f64>().ln();
        (tilted.iter().map(|x| x - log_z).collect(), beta * log_z)
    }

    /// `J(pi) = E_pi[r] - beta KL(pi || pi_ref)`.
    fn objective(&self, policy: &[f64], beta: f64) -> f64 {
        let reward: f64 = policy.iter().zip(&self.rewards).map(|(p, r)| p.exp() * r).sum();
        reward - beta * kl(policy, &self.reference)
    }
}

fn prompt() -> Vec<u32> {
    vec![END, 3]
}

fn config(kl_coef: f64) -> PpoConfig {
    PpoConfig {
        steps: 100,
        rollouts: 256,
        samples_per_prompt: 256,
        ppo_epochs: 2,
        minibatch_size: 128,
        sampling: Sampling { max_new_tokens: MAX_TOKENS, batch_size: 256 },
        kl: KlControl::Fixed { kl_coef },
        clip_range: 0.5,
        value_clip_range: 1.0,
        // The coefficient keeps its meaning only in the units of the reward itself.
        scale_rewards: false,
        policy_optimizer: tiny::adam(6e-3, Decay::Linear, 0.0),
        value_optimizer: tiny::adam(6e-3, Decay::Linear, 0.0),
        ..tiny::config()
    }
}

/// Trains with `kl_coef` and returns, in nats, how far from pi* of `BETA` it starts and ends, and how far
/// from its own pi* it ends.
fn train(kl_coef: f64) -> (f64, f64, f64) {
    let models = (tiny::reference(VOCAB as usize, 8, 1), tiny::value_model(VOCAB as usize, 8, 2));
    train_models(kl_coef, &models)
}

fn train_models(kl_coef: f64, (reference, value_model): &(ReferencePolicy, ScalarModel)) -> (f64, f64, f64) {
    let space = Space::new(reference);
    let scorer = Arc::new(Table::new());
    let config = config(kl_coef);
    let mut trainer =
        PpoTrainer::new(reference, value_model, vec![prompt()], scorer, config.clone(), 3).unwrap();
    let (optimum, best) = space.optimum(BETA);
    let start = kl(&space.policy(&trainer.policy()), &optimum);
    for step in 0..config.steps {
        trainer.step().unwrap();
        if step % 10 == 9 {
            let policy = space.policy(&trainer.policy());
            let (short, distance) = (best - space.objective(&policy, BETA), kl(&policy, &optimum));
            assert!(
                (short - BETA * distance).abs() < 1e-4,
                "step {step}: J(pi*) - J(pi) = {short}, beta KL(pi || pi*) = {}",
                BETA * distance
            );
        }
    }
    let end = space.policy(&trainer.policy());
    (start, kl(&end, &optimum), kl(&end, &space.optimum(kl_coef).0))
}

#[test]
fn policy_reaches_the_tilted_reference() {
    let (start, end, _) = train(BETA);
    assert!(start > 20.0 * BOUND, "starts at {start} nats, too near to show anything");
    assert!(end < BOUND, "ends at {end} nats from pi*");
}

#[test]
fn a_llama_reaches_the_tilted_reference_too() {
    let (start, end, _) = train_models(BETA, &tiny::llamas(VOCAB as usize, 8, [1, 2]));
    assert!(start > 20.0 * BOUND, "starts at {start} nats, too near to show anything");
    assert!(end < BOUND, "ends at {end} nats from pi*");
}

#[test]
fn twice_the_coefficient_goes_elsewhere() {
    let (_, end, own) = train(2.0 * BETA);
    assert!(own < BOUND, "ends at {own} nats from its own optimum");
    assert!(end > 3.0 * BOUND, "ends at {end} nats from the optimum of half its coefficient");
}

/// [`train`] with RLOO, without what happens on the way.
fn train_rloo(kl_coef: f64) -> (f64, f64) {
    let reference = tiny::reference(VOCAB as usize, 8, 1);
    let space = Space::new(&reference);
    let config = RlooConfig {
        steps: 300,
        rollouts: 256,
        samples_per_prompt: 256,
        sampling: Sampling { max_new_tokens: MAX_TOKENS, batch_size: 256 },
        kl: KlControl::Fixed { kl_coef },
        missing_end_penalty: 0.0,
        optimizer: tiny::adam(6e-3, Decay::Linear, 0.0),
    };
    let steps = config.steps;
    let mut trainer =
        RlooTrainer::new(&reference, vec![prompt()], Arc::new(Table::new()), config, 3).unwrap();
    for _ in 0..steps {
        trainer.step().unwrap();
    }
    let end = space.policy(&trainer.policy());
    (kl(&end, &space.optimum(BETA).0), kl(&end, &space.optimum(kl_coef).0))
}

#[test]
fn rloo_reaches_the_tilted_reference() {
    let (end, _) = train_rloo(BETA);
    assert!(end < BOUND, "ends at {end} nats from pi*");
}

#[test]
fn rloo_with_twice_the_coefficient_goes_elsewhere() {
    let (end, own) = train_rloo(2.0 * BETA);
    assert!(own < BOUND, "ends at {own} nats from its own optimum");
    assert!(end > 3.0 * BOUND, "ends at {end} nats from the optimum of half its coefficient");
}
