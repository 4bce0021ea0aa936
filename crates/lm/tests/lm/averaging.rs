//! The average of a training's policies, against averages of the policies of the same training without it.

use std::collections::BTreeMap;

use lm::sft::{Corpus, SftConfig, SftTrainer};
use lm::{Config, Iterate, LmError, LoraConfig, Policy, PolicyTrainer, State, Stream};

use crate::support::{adamw, assert_close, parameters, random_policy, sequence, shape};

const STEPS: usize = 5;

/// A training that moves its weights by a good deal in each step.
fn trainer(from: &Policy) -> Box<dyn PolicyTrainer> {
    let corpus = (1..6).map(|token| sequence(&[0, token], &[token + 1, token + 2])).collect();
    let config = SftConfig { steps: STEPS, batch_size: 2, optimizer: adamw(0.1) };
    Box::new(SftTrainer::new(from, Corpus::Responses(corpus), &config, 3).unwrap())
}

fn start() -> Policy {
    random_policy(&shape(11, 8, 8, 1), 0.4, 3, 0.9)
}

fn weights(trainer: &dyn PolicyTrainer) -> BTreeMap<String, Vec<f32>> {
    parameters(trainer.policy().model())
}

/// The weights after each step.
fn path(trainer: &mut dyn PolicyTrainer) -> Vec<BTreeMap<String, Vec<f32>>> {
    (0..STEPS)
        .map(|_| {
            trainer.step().unwrap();
            weights(trainer)
        })
        .collect()
}

/// The mean of the first policies of a path, each with its weight.
fn mean(path: &[BTreeMap<String, Vec<f32>>], weight: impl Fn(usize) -> f64) -> BTreeMap<String, Vec<f32>> {
    let total: f64 = (1..=path.len()).map(&weight).sum();
    let of_parameter = |name: &String, length: usize| {
        let value = |i: usize| {
            let terms = path.iter().enumerate().map(|(t, at)| weight(t + 1) * f64::from(at[name][i]));
            (terms.sum::<f64>() / total) as f32
        };
        (0..length).map(value).collect()
    };
    path[0].iter().map(|(name, values)| (name.clone(), of_parameter(name, values.len()))).collect()
}

/// The recursion unrolled: step t counts as t (t + 1) ... (t + power - 1).
#[test]
fn later_policies_count_more_the_larger_the_power() {
    let last = path(trainer(&start()).as_mut());
    for power in [0, 1, 3] {
        let weight = |t: usize| (t..t + power).map(|factor| factor as f64).product();
        let mut averaged = Iterate::Average { power: power as f64 }.of(trainer(&start()));
        for (step, got) in path(averaged.as_mut()).iter().enumerate() {
            for (name, want) in mean(&last[..=step], weight) {
                assert_close(&got[&name], &want, 1e-5);
            }
        }
    }
}

#[test]
fn before_the_first_step_and_without_averaging_it_is_the_trainers_own_policy() {
    let averaged = Iterate::Average { power: 3.0 }.of(trainer(&start()));
    assert_eq!(weights(averaged.as_ref()), parameters(start().model()));
    let (mut plain, mut last) = (trainer(&start()), Iterate::Last.of(trainer(&start())));
    assert_eq!(path(plain.as_mut()), path(last.as_mut()));
}

#[test]
fn adapters_are_averaged_and_the_base_stays() {
    let base = start();
    let targets = vec!["c_attn".to_owned(), "mlp.c_proj".to_owned()];
    let lora = LoraConfig { rank: 2, alpha: 4.0, rslora: false, targets };
    let adapted = base.with_adapter(&lora, Stream::new(1, "adapter")).unwrap();
    let last = path(trainer(&adapted).as_mut());
    let want = mean(&last, |_| 1.0);
    let mut averaged = Iterate::Average { power: 0.0 }.of(trainer(&adapted));
    let got = path(averaged.as_mut()).pop().unwrap();
    let of_base = parameters(base.model());
    for (name, values) in &got {
        match of_base.get(name) {
            Some(own) => assert_eq!(values, own, "{name}"),
            None => assert_close(values, &want[name], 1e-6),
        }
    }
    assert!(got.len() > of_base.len());
}

#[test]
fn a_restored_average_goes_on_to_the_bit() {
    let make = || Iterate::Average { power: 3.0 }.of(trainer(&start()));
    let whole = path(make().as_mut());
    let (mut begun, mut state) = (make(), State::new());
    begun.step().unwrap();
    begun.step().unwrap();
    begun.save(&mut state);
    let mut restored = make();
    restored.restore(&state).unwrap();
    assert_eq!(weights(restored.as_ref()), whole[1]);
    if lm::device::on_host(&crate::support::device()) {
        restored.step().unwrap();
        assert_eq!(weights(restored.as_ref()), whole[2]);
    }
}

#[test]
fn a_state_without_an_average_is_refused() {
    let mut plain = State::new();
    trainer(&start()).save(&mut plain);
    let mut averaged = Iterate::Average { power: 3.0 }.of(trainer(&start()));
    let error = averaged.restore(&plain).unwrap_err();
    assert!(matches!(error, LmError::State { .. }), "{error}");
    assert!(error.to_string().contains("average/"), "{error}");
    assert_eq!(weights(averaged.as_ref()), parameters(start().model()));
}

#[test]
fn a_power_below_0_is_a_problem() {
    for power in [-0.5, f64::NAN, f64::INFINITY] {
        let problems = Iterate::Average { power }.problems();
        assert_eq!(
            problems.iter().map(|problem| problem.key.as_str()).collect::<Vec<_>>(),
            ["average.power"]
        );
    }
    assert_eq!(Iterate::Average { power: 0.0 }.problems(), []);
}
