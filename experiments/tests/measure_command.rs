//! `experiments measure`: its line, and what it says to words that make no case.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::process::Command;

use assert_cmd::assert::OutputAssertExt;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::{Value, json};

fn measure(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
    command.arg("measure").args(words.split_whitespace());
    command
}

/// The lines that a case prints.
fn lines(output: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(output).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Every step on random tokens, as small as it gets, with the tokens that it counts.
const STEPS: [(&str, u64); 11] = [
    ("train shape=1x32/64 context=4 batch=2", 8),
    ("score shape=1x32/64 context=4 batch=2", 8),
    ("sample shape=1x32/64 batch=2 prompt=3 new=5", 10),
    ("dpo shape=1x32/64 pairs=2 prompt=3 response=5", 32),
    ("ppo shape=1x32/64 rollouts=4 minibatch=2 prompt=3 response=5", 20),
    ("dpo shape=1x32/64 pairs=2 prompt=3 response=5 gradient_checkpointing=true", 32),
    ("ppo shape=1x32/64 rollouts=4 minibatch=2 prompt=3 response=5 gradient_checkpointing=true", 20),
    ("train shape=1x192/64 family=llama context=4 batch=2", 8),
    ("sample shape=1x192/64 family=llama batch=2 prompt=3 new=5", 10),
    ("train shape=1x64/64 family=gptj context=4 batch=2", 8),
    ("sample shape=1x64/64 family=gptj batch=2 prompt=3 new=5", 10),
];

#[test]
fn each_step_prints_its_line() {
    for (case, tokens) in STEPS {
        let assert = measure(&format!("{case} device=cpu precision=f32 budget=0")).assert().success();
        let lines = lines(&assert.get_output().stdout);
        let [line] = &lines[..] else { panic!("{case}: {lines:?}") };
        assert_eq!(line["case"], case.split(' ').next().unwrap());
        assert_eq!(line["side"], "ours");
        let shape = format!("shape={}", line["shape"].as_str().unwrap());
        assert!(case.split(' ').any(|word| word == shape), "{case}: {shape}");
        assert_eq!(line["device"], "cpu", "{case}");
        assert_eq!(line["tokens"], tokens, "{case}");
        assert_eq!(line["steps"], 3, "{case}");
        assert!(line["seconds"].as_f64().unwrap() > 0.0, "{case}");
    }
}

/// The largest resident memory of a step, as Linux counts it. Libtorch's libraries alone take more.
#[cfg(all(target_os = "linux", not(feature = "tch")))]
mod memory {
    use assert_cmd::assert::OutputAssertExt;

    use super::{lines, measure};

    fn optimizer(algorithm: lm::optimizer::Algorithm) -> lm::OptimizerConfig {
        use lm::optimizer::{Decay, Schedule};
        let schedule = Schedule { warmup_steps: 0, decay: Decay::Constant, floor: 1.0 };
        lm::OptimizerConfig { algorithm, learning_rate: 1e-4, schedule, max_grad_norm: 1.0 }
    }

    fn adamw() -> lm::OptimizerConfig {
        use lm::optimizer::Algorithm;
        optimizer(Algorithm::Adamw { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 })
    }

    /// The largest resident memory of a process of its own, as the system counts it.
    #[test]
    fn the_memory_of_a_step_is_bounded_by_its_estimate_and_not_far_below() {
        use lm::optimizer::Algorithm;
        use lm::{DecoderConfig, Footprint, Memory, OptimizerConfig, Place};
        let config =
            DecoderConfig::gpt2(lm::Shape { vocabulary: 2000, context: 65, width: 96, layers: 2, heads: 2 });
        let model = Footprint::from(&config);
        let (adamw, rmsprop) = (adamw(), optimizer(Algorithm::Rmsprop { alpha: 0.99, epsilon: 1e-8 }));
        let process = || Memory::new(Place::Host { threads: 1 }).frozen(model);
        let learner = |process: Memory, optimizer: &OptimizerConfig, tokens, targets| {
            process.learning(model.parameters, optimizer).training_on(
                model,
                model.parameters,
                tokens,
                targets,
            )
        };
        let of_ppo = learner(process().frozen(model), &adamw, 64 * 29, 64 * 24);
        for (case, memory) in [
            ("train shape=2x96/2000 context=64 batch=64", learner(process(), &adamw, 64 * 65, 64 * 64)),
            (
                "dpo shape=2x96/2000 pairs=32 prompt=5 response=24",
                learner(process(), &rmsprop, 64 * 29, 64 * 24),
            ),
            (
                "ppo shape=2x96/2000 rollouts=128 minibatch=64 prompt=5 response=24",
                learner(of_ppo, &adamw, 64 * 29, 64 * 24).sampling(model, 128, 29).scoring(model, 29),
            ),
        ] {
            assert_bounded(case, peak_mib(case), memory);
        }
    }

    /// The largest resident memory of a case on one thread, in MiB.
    fn peak_mib(case: &str) -> f64 {
        let mut command = measure(&format!("{case} budget=0"));
        let assert = command.env("RAYON_NUM_THREADS", "1").assert().success();
        lines(&assert.get_output().stdout)[0]["peak_mib"].as_f64().unwrap()
    }

    fn assert_bounded(case: &str, peak: f64, memory: lm::Memory) {
        let estimate = memory.peak() as f64 / f64::from(1 << 20);
        assert!(peak < estimate && estimate < 1.5 * peak, "{case}: measured {peak}, estimated {estimate}");
    }

    /// Of 24 blocks a step keeps all activations, or the residual stream and the activations of one.
    #[test]
    fn activations_that_are_computed_again_take_the_memory_of_one_block() {
        use lm::{Activations, DecoderConfig, Footprint, Memory, Place};
        let shape = lm::Shape { vocabulary: 256, context: 129, width: 128, layers: 24, heads: 2 };
        let model = Footprint::from(&DecoderConfig::gpt2(shape));
        let case = "train shape=24x128/256 context=128 batch=32";
        let (kept, recomputed) = (peak_mib(case), peak_mib(&format!("{case} gradient_checkpointing=true")));
        let estimated = |activations| {
            Memory::new(Place::Host { threads: 1 })
                .frozen(model)
                .learning(model.parameters, &adamw())
                .with_activations(activations)
                .training_on(model, model.parameters, 32 * 129, 32 * 128)
        };
        assert_bounded(case, kept, estimated(Activations::Kept));
        assert_bounded(case, recomputed, estimated(Activations::Recomputed));
        assert!(recomputed < 0.4 * kept, "{recomputed} MiB in place of {kept}");
    }
}

#[test]
fn whole_runs_read_a_model_and_pairs() {
    let dir = tempfile::tempdir().unwrap();
    let pairs = dir.path().join("pairs.jsonl");
    let row = json!({ "prompt": "the film", "chosen": " was great", "rejected": " was a bore" });
    std::fs::write(&pairs, format!("{row}\n{row}\n{row}\n{row}\n")).unwrap();
    let files = format!("model=../data/reference-lm pairs={}", pairs.display());
    let dpo = format!("dpo-trainer {files} steps=2 batch=2 beta=0.1 lr=1e-5");
    let ppo = format!("ppo-trainer {files} steps=1 rollouts=4 minibatch=4 response=3");
    for (case, steps) in [(dpo, 2), (ppo, 1)] {
        let assert = measure(&case).assert().success();
        let line = &lines(&assert.get_output().stdout)[0];
        assert_eq!(line["steps"], steps, "{case}");
        assert!(line["tokens"].as_u64().unwrap() >= 12, "{case}: {line}");
    }
}

#[test]
fn words_that_make_no_case_are_refused_with_one_message() {
    let small = "train shape=1x32/64 context=4 batch=2";
    let cases = [
        ("walk shape=1x32/64".to_owned(), "found the case `walk`, expected train, score, sample, dpo, ppo"),
        (
            format!("{small} contxt=5"),
            "train: found the key `contxt`, expected family, shape, context, batch, lora, gradient_checkpointing, \
             device",
        ),
        (format!("{small} again"), "train: found `again`, expected key=value"),
        (format!("{small} device=tpu"), "train: `device=tpu`: found `tpu`, expected cpu"),
        (format!("{small} precision=f16"), "found `f16`, expected f32 or bf16"),
        (format!("{small} budget=long"), "train: `budget=long`: "),
        ("train context=4 batch=2".to_owned(), "train: the key `shape` is missing"),
        (
            "train shape=1x32 context=4 batch=2".to_owned(),
            "`shape=1x32`: expected layers x width / vocabulary",
        ),
        (format!("{small} family=bert"), "`family=bert`: expected gpt2, gptj or llama"),
        ("score shape=1x32/64 context=4 batch=0".to_owned(), "`batch=0`: expected a positive whole number"),
        ("train shape=1x100/64 context=4 batch=2".to_owned(), "n_head: found 3, expected a divisor"),
        (
            "ppo shape=1x32/64 rollouts=4 minibatch=3 prompt=3 response=5".to_owned(),
            "`minibatch=3`: expected a divisor of rollouts=4",
        ),
        (
            "ppo-trainer model=. pairs=nowhere steps=1 rollouts=4 minibatch=4 response=3".to_owned(),
            "nowhere: No such file",
        ),
    ];
    for (words, message) in cases {
        let assert = measure(&words).assert().code(42).stdout("");
        assert.stderr(contains(message).and(contains("panicked").not()));
    }
    measure("").assert().code(2).stderr(contains("<CASE>"));
}

#[test]
fn cases_from_standard_input_have_a_line_each() {
    let text = "score shape=1x32/64 context=4 batch=2 budget=0\nscore batch=2\nscore shape=1x32/64 context=4 \
                batch=1 budget=0\n";
    let mut command = assert_cmd::Command::from_std(measure("-"));
    let assert = command.write_stdin(text).assert().code(1);
    let lines = lines(&assert.get_output().stdout);
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!((&lines[0]["tokens"], &lines[2]["tokens"]), (&json!(8), &json!(4)));
    assert_eq!(lines[1]["error"], "score: the key `context` is missing");
    assert_eq!(lines[1]["case"], "score batch=2");
}
