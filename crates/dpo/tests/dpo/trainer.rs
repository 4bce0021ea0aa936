//! The trainer: what it draws, what it reports, what it refuses.

use dpo::{DpoConfig, DpoError, DpoTrainer, Evaluation, Loss, ReferenceLogProbs, evaluate};
use lm::optimizer::{Algorithm, Decay, Schedule};
use lm::{Metrics, OptimizerConfig, PolicyTrainer, PreferencePair, ReferencePolicy, State, Trainer};

use crate::{enumeration, trainers};

pub(crate) fn config(steps: usize) -> DpoConfig {
    DpoConfig {
        loss: Loss::Sigmoid { label_smoothing: 0.0 },
        beta: 0.5,
        batch_prompts: 4,
        steps,
        optimizer: OptimizerConfig {
            algorithm: Algorithm::Rmsprop { alpha: 0.99, epsilon: 1e-8 },
            learning_rate: 3e-4,
            schedule: Schedule { warmup_steps: 2, decay: Decay::Constant, floor: 1.0 },
            max_grad_norm: 1.0,
        },
    }
}

fn pair(chosen: &[u32], rejected: &[u32]) -> PreferencePair {
    pair_of(3, chosen, rejected)
}

fn pair_of(prompt: u32, chosen: &[u32], rejected: &[u32]) -> PreferencePair {
    PreferencePair {
        prompt: vec![0, prompt],
        chosen: chosen.to_vec(),
        rejected: rejected.to_vec(),
        probability: 1.0,
    }
}

/// Responses with a 5 are preferred to the same ones with a 2: two pairs to each of five prompts.
pub(crate) fn pairs() -> Vec<PreferencePair> {
    let mut pairs = Vec::new();
    for other in 1..6 {
        pairs.push(pair_of(other, &[5, other, 0], &[2, other, 0]));
        pairs.push(pair_of(other, &[other, 5, other], &[other, 2, other]));
    }
    pairs
}

fn get(metrics: &Metrics, key: &str) -> f64 {
    metrics.iter().find(|(name, _)| *name == key).unwrap().1
}

pub(crate) fn reference() -> ReferencePolicy {
    ReferencePolicy::new(&enumeration::policy())
}

/// One prompt has a pair more than the others: the mean of two batches' means is not the mean over their
/// pairs.
#[test]
fn batches_one_after_another_are_one_batch_of_all() {
    let mut data = pairs();
    data.push(pair_of(5, &[5, 5, 5], &[2, 2, 2]));
    // Updates in proportion to the gradient: RMSprop's own would make rounding as large as it.
    let algorithm = Algorithm::Rmsprop { alpha: 0.99, epsilon: 1.0 };
    let optimizer = OptimizerConfig { algorithm, learning_rate: 0.1, ..config(5).optimizer };
    let trainer = |batch_prompts: usize, batches: usize| {
        let config = DpoConfig { batch_prompts, optimizer: optimizer.clone(), ..config(5) };
        let trainer = DpoTrainer::new(&reference(), data.clone(), config, 1).unwrap();
        trainer.accumulating(batches.try_into().unwrap())
    };
    let (mut whole, mut parts) = (trainer(4, 1), trainer(1, 4));
    for step in 0..5 {
        let [whole, parts] = [whole.step().unwrap(), parts.step().unwrap()];
        for ((name, whole), (_, parts)) in whole.iter().zip(&parts) {
            // At the start every margin is zero, and its sign is rounding. A prompt that is drawn at the end
            // of a pass and at the beginning of the next passes the model once in one batch.
            let same = (whole - parts).abs() < 1e-5 * whole.abs().max(1.0)
                || step == 0 && *name == "rewards/accuracies"
                || *name == "num_tokens" && whole <= parts;
            assert!(same, "{name}: {whole} is not {parts}");
        }
    }
    let sequences: Vec<_> = data.iter().map(PreferencePair::chosen_sequence).collect();
    let [whole, parts] = [whole, parts].map(|trainer| trainer.policy().score_sequences(&sequences).unwrap());
    for (whole, parts) in whole.iter().zip(&parts) {
        assert!((whole - parts).abs() < 1e-4, "{whole} is not {parts}");
    }
    assert_ne!(whole, reference().score_sequences(&sequences).unwrap());
}

#[test]
fn starts_at_the_reference_and_learns() {
    let steps = 60;
    let mut trainer = DpoTrainer::new(&reference(), pairs(), config(steps), 1).unwrap();
    let log: Vec<Metrics> = (0..steps).map(|_| trainer.step().unwrap()).collect();
    let names: Vec<&str> = log[0].iter().map(|(name, _)| *name).collect();
    let trl = [
        "loss",
        "rewards/chosen",
        "rewards/rejected",
        "rewards/accuracies",
        "rewards/margins",
        "logps/chosen",
        "logps/rejected",
        "grad_norm",
        "learning_rate",
        "num_tokens",
    ];
    assert_eq!(names, trl);
    // Policy and reference are the same: every margin is 0 and the loss ln 2.
    assert!((get(&log[0], "loss") - std::f64::consts::LN_2).abs() < 1e-5);
    assert!(get(&log[0], "rewards/margins").abs() < 1e-5);
    assert!(get(&log[steps - 1], "loss") < 0.4, "{:?}", log[steps - 1]);

    let reference_logprobs = ReferenceLogProbs::compute(&reference(), &pairs()).unwrap();
    let held_out = |policy| {
        evaluate(&policy, &pairs(), &reference_logprobs, 0.5, &Loss::Sigmoid { label_smoothing: 0.0 })
            .unwrap()
    };
    let Evaluation { loss, accuracy, margin } = held_out(trainer.policy());
    assert!(
        accuracy == 1.0 && margin > 0.5 && loss < 0.4,
        "loss {loss}, accuracy {accuracy}, margin {margin}"
    );
    let before = held_out(enumeration::policy());
    assert!((before.loss - std::f64::consts::LN_2).abs() < 1e-5 && before.margin.abs() < 1e-5, "{before:?}");
}

#[test]
fn one_pass_is_the_evaluation_of_all_pairs() {
    // A batch of all pairs against `evaluate`, which scores each distinct response once and in other batches.
    let mut trainer =
        DpoTrainer::new(&reference(), pairs(), DpoConfig { batch_prompts: 5, ..config(3) }, 5).unwrap();
    trainer.step().unwrap();
    let logprobs = ReferenceLogProbs::compute(&reference(), &pairs()).unwrap();
    let expected = evaluate(&trainer.policy(), &pairs(), &logprobs, 0.5, &config(3).loss).unwrap();
    let metrics = trainer.step().unwrap();
    assert!((get(&metrics, "loss") - expected.loss).abs() < 1e-5);
    assert!((get(&metrics, "rewards/margins") - expected.margin).abs() < 1e-5);
    assert_eq!(get(&metrics, "rewards/accuracies"), expected.accuracy);
}

#[test]
fn repeats_to_the_bit_and_shares_reference_logprobs() {
    // A GPU adds gradients of a table's row up in any order.
    if !trainers::repeats() {
        return;
    }
    let run = |seed, shared: bool| {
        let mut trainer = if shared {
            let logprobs = ReferenceLogProbs::compute(&reference(), &pairs()).unwrap();
            DpoTrainer::with_reference_logprobs(&reference(), logprobs, pairs(), config(4), seed).unwrap()
        } else {
            DpoTrainer::new(&reference(), pairs(), config(4), seed).unwrap()
        };
        let losses: Vec<f64> = (0..4).map(|_| get(&trainer.step().unwrap(), "loss")).collect();
        (losses, trainer.tokens())
    };
    let (own, tokens) = run(3, false);
    assert_eq!(run(3, false), (own.clone(), tokens));
    assert_ne!(run(4, false).0, own, "another seed draws the pairs in the same order");
    let (shared, fewer) = run(3, true);
    assert_eq!(shared, own);
    // What was scored: [5 1 0] [2 1 0] [1 5 1] [1 2 1] and so on, 20 responses of which [5 5 5], [2 2 2] are
    // met once and none twice, each with a prompt of 2 tokens and 3 of its own.
    assert_eq!(tokens - fewer, 20 * 5);
}

#[test]
fn a_restored_training_goes_on_to_the_bit() {
    if !trainers::repeats() {
        return;
    }
    let adamw = Algorithm::Adamw { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.1 };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.safetensors");
    let save = |trainer: &DpoTrainer| {
        let mut state = State::new();
        trainer.save(&mut state);
        state.write(&path).unwrap();
        std::fs::read(&path).unwrap()
    };
    // Batches of 4 from 5 prompts: each step but the first ends another pass or begins within one.
    for (before, algorithm) in [(0, None), (1, None), (4, None), (3, Some(adamw))] {
        let make = || {
            let mut config = config(8);
            config.optimizer.algorithm = algorithm.clone().unwrap_or(config.optimizer.algorithm);
            DpoTrainer::new(&reference(), pairs(), config, 3).unwrap()
        };
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
fn responses_in_several_pairs_are_scored_once() {
    // Four responses, six pairs.
    let responses: [&[u32]; 4] = [&[1, 0], &[2, 2, 0], &[3, 0], &[4, 4, 4]];
    let all: Vec<PreferencePair> = (0..4)
        .flat_map(|w| (w + 1..4).map(move |l| (w, l)))
        .map(|(w, l)| pair(responses[w], responses[l]))
        .collect();
    let mut trainer =
        DpoTrainer::new(&reference(), all.clone(), DpoConfig { batch_prompts: 1, ..config(1) }, 0).unwrap();
    // Prompts of 2 tokens and 2 + 3 + 2 + 3 of the responses.
    assert_eq!(trainer.tokens(), 4 * 2 + 10);
    trainer.step().unwrap();
    // The one prompt comes with all its pairs, and each response passes once.
    assert_eq!(trainer.tokens(), 2 * (4 * 2 + 10));
    let logprobs = ReferenceLogProbs::compute(&reference(), &all).unwrap();
    let scored = |side: fn(&PreferencePair) -> lm::Sequence| {
        reference().score_sequences(&all.iter().map(side).collect::<Vec<_>>()).unwrap()
    };
    let expected = [scored(PreferencePair::chosen_sequence), scored(PreferencePair::rejected_sequence)];
    for (got, want) in [&logprobs.chosen, &logprobs.rejected].into_iter().zip(&expected) {
        assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-5), "{got:?} is not {want:?}");
    }
}

#[test]
fn a_step_sees_whole_prompts() {
    // Two, three and four responses: one, three and six pairs, and 2 * 4, 3 * 4, 4 * 4 tokens.
    let mut all = Vec::new();
    for prompt in 1..4 {
        let responses: Vec<[u32; 2]> = (1..prompt + 2).map(|token| [token, 0]).collect();
        for (w, chosen) in responses.iter().enumerate() {
            all.extend(responses[w + 1..].iter().map(|rejected| pair_of(prompt, chosen, rejected)));
        }
    }
    assert_eq!(all.len(), 1 + 3 + 6);
    let config = DpoConfig { batch_prompts: 1, ..config(6) };
    let mut trainer = DpoTrainer::new(&reference(), all, config, 2).unwrap();
    for _ in 0..2 {
        let mut seen: Vec<u64> = (0..3)
            .map(|_| {
                let before = trainer.tokens();
                trainer.step().unwrap();
                trainer.tokens() - before
            })
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, [8, 12, 16]);
    }
}

#[test]
fn bad_input_is_named() {
    let new = |pairs, config| DpoTrainer::new(&reference(), pairs, config, 0).err().unwrap().to_string();
    assert!(matches!(DpoTrainer::new(&reference(), vec![], config(1), 0), Err(DpoError::NoPairs)));
    let with = |change: fn(&mut DpoConfig)| {
        let mut config = config(1);
        change(&mut config);
        new(pairs(), config)
    };
    assert_eq!(with(|c| c.beta = 0.0), "beta: found 0, expected a positive number");
    assert_eq!(with(|c| c.beta = f64::NAN), "beta: found NaN, expected a positive number");
    assert_eq!(with(|c| c.batch_prompts = 0), "batch_prompts: found 0, expected at least 1");
    assert_eq!(
        with(|c| c.loss = Loss::Sigmoid { label_smoothing: 0.6 }),
        "loss.label_smoothing: found 0.6, expected 0 to 0.5"
    );
    assert_eq!(
        with(|c| c.loss = Loss::Unlikelihood { alpha: -1.0 }),
        "loss.alpha: found -1, expected 0 to 1"
    );
    let several = |c: &mut DpoConfig| (c.beta, c.steps, c.optimizer.learning_rate) = (0.0, 0, -1.0);
    let lines = [
        "beta: found 0, expected a positive number",
        "steps: found 0, expected at least 1",
        "optimizer.learning_rate: found -1, expected a positive number",
    ];
    assert_eq!(with(several), lines.join("\n"));

    for probability in [0.25, 1.5, f32::NAN] {
        let pairs = vec![pair(&[1], &[2]), PreferencePair { probability, ..pair(&[3], &[4]) }];
        let expected = format!("preference pair 1, probability: found {probability}, expected 0.5 to 1");
        assert_eq!(new(pairs, config(1)), expected);
    }

    let message = new(vec![pair(&[1], &[1, 2]), pair(&[1, 6], &[2])], config(1));
    assert!(message.starts_with("preference pair 1, chosen response"), "{message}");
    assert!(message.contains("token id 6") && message.contains("below 6"), "{message}");
    let message = new(vec![pair(&[1], &[])], config(1));
    assert!(message.starts_with("preference pair 0, rejected response"), "{message}");
    let message = new(vec![pair(&[1; 7], &[1])], config(1));
    assert!(message.contains("9 tokens") && message.contains("at most 8"), "{message}");

    let wrong = |chosen, rejected| {
        let logprobs = ReferenceLogProbs { chosen, rejected };
        let two = vec![pair(&[1], &[2]), pair(&[3], &[4])];
        DpoTrainer::with_reference_logprobs(&reference(), logprobs, two, config(1), 0)
            .err()
            .unwrap()
            .to_string()
    };
    assert_eq!(
        wrong(vec![-1.0, -1.0], vec![-1.0]),
        "reference log-probs, `rejected`: found 1 numbers, expected 2, one per pair"
    );
    assert_eq!(
        wrong(vec![-1.0, f64::NEG_INFINITY], vec![-1.0, -1.0]),
        "reference log-probs, `chosen`: found -inf for pair 1, expected a finite number"
    );
}

#[test]
fn configurations_say_everything_and_nothing_else() {
    let optimizer = r#""optimizer": {"algorithm": {"name": "rmsprop", "alpha": 0.99, "epsilon": 1e-8},
        "learning_rate": 3e-4, "schedule": {"warmup_steps": 2, "decay": "constant", "floor": 1.0},
        "max_grad_norm": 1.0}"#;
    let read = |loss: &str, more: &str| {
        let json =
            format!(r#"{{"loss": {loss}, "beta": 0.5, "batch_prompts": 4, "steps": 1, {more}{optimizer}}}"#);
        serde_json::from_str::<DpoConfig>(&json).map_err(|error| error.to_string())
    };
    let sigmoid = r#"{"name": "sigmoid", "label_smoothing": 0.0}"#;
    assert_eq!(read(sigmoid, "").unwrap(), config(1));
    assert_eq!(read(r#"{"name": "ipo"}"#, "").unwrap().loss, Loss::Ipo {});
    assert!(read(sigmoid, r#""gamma": 1, "#).unwrap_err().contains("unknown field `gamma`"));
    assert!(read(r#"{"name": "sigmoid"}"#, "").unwrap_err().contains("missing field `label_smoothing`"));
    assert!(read(r#"{"name": "ipo", "tau": 1}"#, "").unwrap_err().contains("unknown field `tau`"));
    assert!(read(r#"{"name": "slic"}"#, "").unwrap_err().contains("unknown variant `slic`"));
    for loss in [Loss::Ipo {}, Loss::Hinge {}, Loss::Unlikelihood { alpha: 0.25 }] {
        let json = serde_json::to_string(&loss).unwrap();
        assert_eq!(serde_json::from_str::<Loss>(&json).unwrap(), loss, "{json}");
    }
}
