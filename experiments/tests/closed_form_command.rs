//! `closed-form` through the binary, on few steps and samples.
#![expect(clippy::unwrap_used, clippy::float_cmp, reason = "tests may panic, and a difference is exact")]

use std::path::Path;
use std::process::Command;

use assert_cmd::assert::OutputAssertExt;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

const SMALL: [&str; 14] = [
    "--set",
    "partition.samples=[10, 1000]",
    "--set",
    "partition.repetitions=20",
    "--set",
    "dpo.steps=120",
    "--set",
    "ppo.steps=10",
    "--set",
    "ppo.rollouts=256",
    "--set",
    "ppo.samples_per_prompt=256",
    "--set",
    "ppo.policy_optimizer.learning_rate=1e-3",
];

fn small(out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_experiments"));
    command.arg("closed-form").args(SMALL).arg("--out").arg(out).args(more);
    command
}

/// A line of `closed_form.csv`.
struct Row {
    step: String,
    quantity: String,
    value: f64,
    expected: f64,
}

fn rows(out: &Path) -> Vec<Row> {
    let text = std::fs::read_to_string(out.join("closed_form.csv")).unwrap();
    assert!(text.starts_with("step,quantity,value,expected,difference\n"), "{text}");
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let records = reader.deserialize::<(String, String, f64, f64, f64)>();
    records
        .map(|record| {
            let (step, quantity, value, expected, difference) = record.unwrap();
            assert_eq!(difference, value - expected, "{quantity}");
            Row { step, quantity, value, expected }
        })
        .collect()
}

#[test]
fn every_number_is_the_one_it_must_equal() {
    let dir = tempfile::tempdir().unwrap();
    let tables = contains("## Equations 3 and 4").and(contains("## Equation 5")).and(contains("expected"));
    small(dir.path(), &[]).assert().success().stdout(tables);
    let rows = rows(dir.path());
    let of = |step: &str| rows.iter().filter(|row| row.step == step).collect::<Vec<_>>();
    for (step, least) in [("optimum", 7), ("reward", 42), ("preference", 6), ("loss", 8)] {
        let exact = of(step);
        assert!(exact.len() >= least, "{} rows of {step}", exact.len());
        // The policies' log-probs and the losses are single precision.
        for row in exact {
            assert!(
                (row.value - row.expected).abs() < 2e-6,
                "{}: {} {}",
                row.quantity,
                row.value,
                row.expected
            );
        }
    }
    // The policies that are not pi* are really others.
    let gaps = of("optimum").iter().filter(|row| row.value > 0.01 && row.quantity.contains("π_ref")).count();
    assert_eq!(gaps, 1, "pi_ref is pi*");
    for row in of("partition") {
        let close = if row.quantity.starts_with("Z at") {
            1e-6
        } else if row.quantity.starts_with("β = 2,") && row.quantity.contains("relative error") {
            // Four standard errors of a root mean square of 20 values.
            4.0 / 40_f64.sqrt()
        } else {
            continue;
        };
        assert!(
            (row.value / row.expected - 1.0).abs() < close,
            "{}: {} {}",
            row.quantity,
            row.value,
            row.expected
        );
    }
    for method in ["DPO", "PPO-GT"] {
        let walk = of("walk");
        let prefix = format!("{method}, optimiser step");
        let distances: Vec<f64> =
            walk.iter().filter(|row| row.quantity.starts_with(&prefix)).map(|row| row.value).collect();
        let (first, last) = (distances[0], distances[distances.len() - 1]);
        let share = if method == "DPO" { 0.1 } else { 0.5 };
        assert!(last < share * first, "{method} starts {first} nats from pi* and ends at {last}");
        let prefix = format!("{method}, end: J(π*)");
        let identity = walk.iter().find(|row| row.quantity.starts_with(&prefix)).unwrap();
        assert!((identity.value - identity.expected).abs() < 2e-6, "{method}: {}", identity.value);
    }
}

#[test]
fn one_thread_and_two_write_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let outs = ["1", "2"].map(|threads| {
        let out = dir.path().join(threads);
        let short = ["--set", "dpo.steps=12", "--set", "ppo.steps=2"];
        small(&out, &short).env("RAYON_NUM_THREADS", threads).assert().success();
        out
    });
    for name in ["closed_form.csv", "CLOSED_FORM.md", "closed_form.svg"] {
        let [one, two] = [0, 1].map(|index: usize| std::fs::read(outs[index].join(name)).unwrap());
        assert!(!one.is_empty() && one == two, "{name} differs");
    }
}

#[test]
fn what_cannot_be_walked_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = [
        "ppo.kl.kl_coef=1.0",
        "dpo.loss.label_smoothing=0.1",
        "model.vocab_size=16",
        "model.n_positions=4",
        "partition.samples=[100, 10]",
    ];
    let mut command = small(dir.path(), &[]);
    for entry in refused {
        command.args(["--set", entry]);
    }
    command.assert().code(42).stderr(
        contains("ppo.kl")
            .and(contains("dpo.beta = 0.5"))
            .and(contains("dpo.loss"))
            .and(contains("model.vocab_size"))
            .and(contains("model.n_positions"))
            .and(contains("partition.samples")),
    );
    assert!(!dir.path().join("closed_form.csv").exists());
}
