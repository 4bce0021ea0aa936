//! The value model's own training: its warm-up and its extra epochs.

use lm::optimizer::Decay;
use lm::{Config, Metrics, PolicyTrainer, Sequence, State, Trainer};
use ppo::{KlControl, PpoConfig, PpoTrainer};

use crate::tiny;
use crate::trainer::{fingerprint, metric, prompts, trainer};
use crate::trainers;

/// Two iterations of warm-up of six, four minibatches each, and a linear decay to 0.
fn config() -> PpoConfig {
    PpoConfig {
        steps: 6,
        value_warmup: 2,
        value_epochs: 1,
        kl: KlControl::Adaptive { target_kl: 0.5, kl_coef: 0.1, horizon: 640.0 },
        policy_optimizer: tiny::adam(3e-3, Decay::Linear, 0.0),
        value_optimizer: tiny::adam(3e-3, Decay::Linear, 0.0),
        ..tiny::config()
    }
}

fn policy_of(trainer: &PpoTrainer) -> Vec<f32> {
    let sequences: Vec<Sequence> =
        prompts().into_iter().map(|prompt| Sequence { prompt, response: vec![5, 3, 2, 0] }).collect();
    trainer.policy().score(&sequences).unwrap().concat()
}

#[test]
fn the_policy_stays_the_reference_while_the_value_model_learns() {
    let mut trainer = trainer(config());
    let start = (policy_of(&trainer), fingerprint(&trainer));
    for _ in 0..2 {
        let before = fingerprint(&trainer);
        let metrics = trainer.step().unwrap();
        assert_eq!(policy_of(&trainer), start.0);
        assert_ne!(fingerprint(&trainer), before, "the value model rests, too");
        for name in ["loss/policy_avg", "val/ratio", "policy/grad_norm", "learning_rate"] {
            assert!(metric(&metrics, name).is_nan(), "{name} is {}", metric(&metrics, name));
        }
        assert!(metric(&metrics, "loss/value_avg").is_finite());
        // The KL is 0 and says nothing: the controller rests.
        assert_eq!(metric(&metrics, "objective/kl_coef"), 0.1 / 0.5_f64.sqrt());
    }
    let metrics = trainer.step().unwrap();
    assert!(metric(&metrics, "val/explained_variance") > 0.05, "{metrics:?}");
    assert_ne!(policy_of(&trainer), start.0);
}

#[test]
fn the_schedule_of_the_policy_spans_the_steps_that_it_takes() {
    assert_eq!((config().policy_steps(), config().value_steps()), (4 * 2 * 2, 6 * 3 * 2));
    let rates = |config: PpoConfig| -> Vec<f64> {
        let mut trainer = trainer(config.clone());
        let steps = (0..config.steps).map(|_| metric(&trainer.step().unwrap(), "learning_rate"));
        steps.filter(|rate| !rate.is_nan()).collect()
    };
    // The last of each iteration's four steps, of 16: 1 - 3/16, 1 - 7/16, ...
    let expected = [13.0, 9.0, 5.0, 1.0].map(|left| 3e-3 * left / 16.0);
    for (config, name) in
        [(config(), "with"), (PpoConfig { value_warmup: 0, steps: 4, ..config() }, "without")]
    {
        let found = rates(config);
        assert_eq!(found.len(), 4, "{name} a warm-up: {found:?}");
        assert!(
            found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12),
            "{name} a warm-up: {found:?}"
        );
    }
}

#[test]
fn value_epochs_train_the_value_model_alone() {
    if !trainers::repeats() {
        return;
    }
    let train = |value_epochs: usize| {
        let mut trainer = trainer(PpoConfig { value_epochs, ..tiny::config() });
        trainer.step().unwrap();
        (policy_of(&trainer), fingerprint(&trainer), trainer.tokens())
    };
    let ((plain, plain_value, tokens), (longer, longer_value, more)) = (train(0), train(2));
    assert_eq!(plain, longer);
    assert_ne!(plain_value, longer_value);
    // 5 + 2 * 2 passes, and two more.
    assert_eq!(more * 9, tokens * 11);
}

#[test]
fn tokens_count_what_trains() {
    let mut trainer = trainer(config());
    let passes: Vec<usize> = (0..3).map(|step| config().passes_per_token(step)).collect();
    // Generated and scored by four; then the value model's three epochs, and from the third
    // iteration on the policy's two.
    assert_eq!(passes, [5 + 3, 5 + 3, 5 + 3 + 2]);
    let mut before = 0;
    for passes in passes {
        trainer.step().unwrap();
        let tokens = trainer.tokens() - before;
        assert!(tokens > 0 && tokens.is_multiple_of(passes as u64), "{tokens} tokens in {passes} passes");
        before = trainer.tokens();
    }
}

#[test]
fn a_restored_warm_up_goes_on_to_the_bit() {
    if !trainers::repeats() {
        return;
    }
    let saved = |trainer: &PpoTrainer| {
        let mut state = State::new();
        trainer.save(&mut state);
        state
    };
    for before in [1, 2, 3] {
        let mut whole = trainer(config());
        let log: Vec<Metrics> = (0..2 * before).map(|_| whole.step().unwrap()).collect();
        let mut begun = trainer(config());
        (0..before).for_each(|_| drop(begun.step().unwrap()));
        let mut restored = trainer(config());
        restored.restore(&saved(&begun)).unwrap();
        let rest: Vec<Metrics> = (0..before).map(|_| restored.step().unwrap()).collect();
        // NaN is not equal to itself, its text is.
        assert_eq!(format!("{rest:?}"), format!("{:?}", &log[before..]));
        assert_eq!(saved(&restored), saved(&whole), "{before} steps before and after");
    }
}

#[test]
fn a_warm_up_without_end_is_refused() {
    let problems = |value_warmup: usize| PpoConfig { value_warmup, ..config() }.problems();
    assert!(problems(5).is_empty());
    let expected = "value_warmup: found 6, expected below steps = 6: the policy has to train";
    assert_eq!(problems(6).iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
}
