//! Supervised fine-tuning: the loss falls, its gradient is its slope, runs repeat.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use lm::sequences::to_vec;
use lm::sft::{Corpus, SftConfig, SftTrainer, openings, perplexity};
use lm::{
    Batch, Config, Decoder, OptimizerConfig, ParameterPath, Policy, PolicyTrainer, Segments, Sequence,
    Stream, Trainer,
};

use crate::support::{
    END, adamw, assert_close, device, gradients, parameters, random_policy, sequence, shape,
};

/// Four texts of ten tokens that each begin with another token and then count on.
fn documents() -> Vec<Vec<u32>> {
    (0..4_u32).map(|i| (0..10).map(|t| 1 + (i * 5 + t * (i + 1)) % 20).collect()).collect()
}

fn corpus() -> Corpus {
    Corpus::Documents { documents: documents(), context: 12, opening_share: 0.5, ends: END.into() }
}

fn fresh(seed: u64) -> Policy {
    let model = Decoder::random(&shape(21, 12, 16, 2), Stream::new(seed, "init"), &device()).unwrap();
    Policy::new(model, 1.0, END).unwrap()
}

fn train(
    policy: &Policy,
    corpus: Corpus,
    steps: usize,
    seed: u64,
) -> (Policy, Vec<BTreeMap<&'static str, f64>>) {
    let config = SftConfig { steps, batch_size: 4, optimizer: adamw(1e-2) };
    let mut trainer = SftTrainer::new(policy, corpus, &config, seed).unwrap();
    let metrics = (0..steps).map(|_| trainer.step().unwrap().into_iter().collect()).collect();
    (trainer.policy(), metrics)
}

#[test]
fn the_loss_falls_from_chance_to_what_cannot_be_known() {
    let policy = fresh(0);
    let (trained, metrics) = train(&policy, corpus(), 120, 1);
    // A fresh model is nearly uniform over 21 tokens.
    assert!((metrics[0]["loss"] - 21.0_f64.ln()).abs() < 0.1, "{}", metrics[0]["loss"]);
    // Which text it is cannot be known (ln 4 in all); the other ten tokens can: ln 4 / 11 = 0.126 a token.
    let last = metrics.last().unwrap()["loss"];
    assert!((0.12..0.2).contains(&last), "{last}");
    let held = openings(&documents(), 12, END);
    let after = perplexity(&trained, &held).unwrap();
    assert!(after >= 4.0_f64.powf(1.0 / 11.0) && after < 1.25, "{after}");
    assert!(perplexity(&policy, &held).unwrap() > 18.0);
    // Ten tokens, a beginning and an end, four texts a step.
    assert_eq!(metrics.last().unwrap()["num_tokens"], 120.0 * 4.0 * 12.0);
}

#[test]
fn perplexity_is_the_exponential_of_the_mean_over_tokens() {
    let policy = fresh(0);
    let sequences = [sequence(&[0, 1], &[2]), sequence(&[0], &[3, 4, 5])];
    let rows = policy.score(&sequences).unwrap();
    let total: f64 = rows.concat().iter().map(|&x| f64::from(x)).sum();
    assert!((perplexity(&policy, &sequences).unwrap() - (-total / 4.0).exp()).abs() < 1e-9);
}

#[test]
fn prompts_carry_no_loss() {
    let policy = random_policy(&shape(21, 12, 8, 1), 0.4, 3, 1.0);
    let example = sequence(&[0, 1, 2, 3, 4], &[5, 6]);
    let want = -policy.score(std::slice::from_ref(&example)).unwrap()[0].iter().sum::<f32>() / 2.0;
    let config = SftConfig { steps: 1, batch_size: 1, optimizer: adamw(1e-3) };
    let mut trainer = SftTrainer::new(&policy, Corpus::Responses(vec![example]), &config, 0).unwrap();
    let metrics: BTreeMap<_, _> = trainer.step().unwrap().into_iter().collect();
    assert!((metrics["loss"] - f64::from(want)).abs() < 1e-5);
    assert_eq!((trainer.tokens(), metrics["num_tokens"]), (7, 7.0));
}

#[test]
fn the_starting_policy_is_left_as_it_is() {
    let policy = fresh(0);
    let before = parameters(&policy);
    let (trained, _) = train(&policy, corpus(), 2, 0);
    assert_eq!(parameters(&policy), before);
    for (name, values) in parameters(&trained) {
        assert_ne!(values, before[&name], "{name} has not moved");
    }
}

#[test]
fn runs_repeat_to_the_bit_and_seeds_differ() {
    // A GPU adds gradients of a table's row up in any order.
    if !lm::device::on_host(&device()) {
        return;
    }
    let policy = fresh(0);
    let long =
        || Corpus::Documents { documents: documents(), context: 6, opening_share: 0.5, ends: END.into() };
    let (a, metrics_a) = train(&policy, long(), 8, 1);
    let (b, metrics_b) = train(&policy, long(), 8, 1);
    assert_eq!(metrics_a, metrics_b);
    assert_eq!(parameters(&a), parameters(&b));
    let (c, _) = train(&policy, long(), 8, 2);
    assert_ne!(parameters(&a), parameters(&c));
}

/// Examples of one token and of five: the mean of two batches' means is not the mean over their tokens.
#[test]
fn batches_one_after_another_are_one_batch_of_all() {
    let responses: Vec<Vec<u32>> =
        vec![vec![1], vec![2, 3, 4, 5, 6], vec![7], vec![8, 9, 10, 11, 12], vec![13, 14]];
    let sequences: Vec<_> = responses.iter().map(|response| sequence(&[0, 3], response)).collect();
    let documents =
        || Corpus::Documents { documents: documents(), context: 6, opening_share: 0.5, ends: END.into() };
    for corpus in [Corpus::Responses(sequences), documents()] {
        let trainer = |batch_size: usize, batches: usize| {
            let config = SftConfig { steps: 5, batch_size, optimizer: adamw(1e-2) };
            let trainer = SftTrainer::new(&fresh(0), corpus.clone(), &config, 4).unwrap();
            trainer.accumulating(batches.try_into().unwrap())
        };
        let (mut whole, mut parts) = (trainer(6, 1), trainer(2, 3));
        for _ in 0..5 {
            let [whole, parts] = [whole.step().unwrap(), parts.step().unwrap()];
            for ((name, whole), (_, parts)) in whole.iter().zip(&parts) {
                assert!(
                    (whole - parts).abs() < 1e-5 * whole.abs().max(1.0),
                    "{name}: {whole} is not {parts}"
                );
            }
        }
        let (whole, parts) = (parameters(&whole.policy()), parameters(&parts.policy()));
        for (name, values) in &whole {
            assert_close(&parts[name], values, 1e-4);
        }
        assert_ne!(whole, parameters(&fresh(0)));
    }
}

#[test]
fn an_empty_corpus_or_batch_is_refused() {
    let policy = fresh(0);
    let refuse = |corpus: Corpus, batch_size: usize| {
        let config = SftConfig { steps: 1, batch_size, optimizer: adamw(1e-3) };
        SftTrainer::new(&policy, corpus, &config, 0).err().expect("a refusal").to_string()
    };
    assert_eq!(refuse(Corpus::Responses(vec![]), 4), "corpus: found no example, expected at least one");
    assert_eq!(refuse(corpus(), 0), "batch_size: found 0, expected at least 1");
    let optimizer = OptimizerConfig { max_grad_norm: 0.0, ..adamw(-1.0) };
    let keys: Vec<String> = SftConfig { steps: 0, batch_size: 0, optimizer }
        .problems_within("sft")
        .into_iter()
        .map(|problem| problem.key)
        .collect();
    let optimizer = ["sft.optimizer.learning_rate", "sft.optimizer.max_grad_norm"];
    assert_eq!(keys, [["sft.steps", "sft.batch_size"], optimizer].concat());
}

/// Adds `delta` to one value of one parameter.
struct Nudge<'a> {
    path: ParameterPath,
    name: &'a str,
    index: usize,
    delta: f32,
}

impl ModuleMapper for Nudge<'_> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path.enter(name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        self.path.exit(container_type);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.path.to_string() != self.name {
            return param;
        }
        param.map(|old| {
            let (dims, device) = (old.dims(), old.device());
            let mut values = to_vec(old);
            values[self.index] += self.delta;
            Tensor::from_data(TensorData::new(values, dims), &device)
        })
    }
}

/// Mean negative log-likelihood in f64 from the log-probs of scoring.
fn loss(policy: &Policy, sequences: &[Sequence]) -> f64 {
    let rows = policy.score(sequences).unwrap().concat();
    -rows.iter().map(|&x| f64::from(x)).sum::<f64>() / rows.len() as f64
}

#[test]
fn gradients_are_central_differences() {
    let policy = random_policy(&shape(11, 12, 8, 2), 0.5, 5, 0.8);
    let sequences =
        [sequence(&[0, 3, 4], &[5, 6, 0]), sequence(&[0], &[1, 2, 3, 10]), sequence(&[0, 9], &[7])];
    let training = policy.clone().train();
    let batch = Batch::new(&sequences.iter().collect::<Vec<_>>(), &training.device());
    let mean = training.logprobs(&batch).values().sum().neg() / batch.mask().count() as f64;
    let found = gradients(&training, &mean, Segments::default());

    let step = 4e-3;
    let mut largest = 0.0_f64;
    for (name, values) in &found {
        for index in [0, values.len() / 2 + 1, values.len() - 3] {
            let at = |delta: f32| {
                let mut nudge = Nudge { path: ParameterPath::default(), name, index, delta };
                loss(&policy.clone().map(&mut nudge), &sequences)
            };
            let slope = (at(step) - at(-step)) / (2.0 * f64::from(step));
            let got = f64::from(values[index]);
            largest = largest.max(slope.abs());
            assert!((got - slope).abs() < 3e-4 + 0.01 * slope.abs(), "{name}[{index}]: {got} is not {slope}");
        }
    }
    assert_eq!(found.len(), 2 + 2 * 12 + 2);
    assert!(largest > 0.05, "no gradient is large enough to be told from the tolerance: {largest}");
}
