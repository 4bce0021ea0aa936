//! Ablations: shares as the summary has them, and differences that are plain.
use frontier::ablation::{ABLATION_KLS, AblationRow, ablation_rows, read_ablations, write_ablations};
use frontier::{Analysis, Bootstrap, EvalRow, Method, MethodCosts, PromptSamples, Run, summarise};

use crate::synthetic;

const BOOTSTRAP: Bootstrap = Bootstrap { resamples: 200, seed: 5 };

/// DPO of two seeds at 0.4 and 1.6 nats, without noise; PPO at 0.4 nats alone.
fn study(dpo: f64) -> Vec<Run> {
    let template = synthetic::sweep(1, 1)[0].eval.clone();
    let point = |method: Method, seed: u64, sequence_kl: f64, score: f64| EvalRow {
        method,
        seed,
        step: 1,
        sequence_kl,
        score,
        score_se: 0.0,
        sequence_kl_se: 0.0,
        ..template.clone()
    };
    let run = |seed: u64| {
        let dpo = [point(Method::DPO, seed, 0.4, dpo), point(Method::DPO, seed, 1.6, dpo + 0.1)];
        [
            Run { name: format!("dpo-{seed}"), evals: dpo.to_vec(), ..Run::default() },
            Run {
                name: format!("ppo-{seed}"),
                evals: vec![point(Method::PPO, seed, 0.4, 0.56)],
                ..Run::default()
            },
        ]
    };
    [1, 2].into_iter().flat_map(run).collect()
}

fn rows(dpo: f64, base: Option<f64>) -> Vec<AblationRow> {
    let samples: PromptSamples = synthetic::samples(64, 64);
    let (own, of_base) = (study(dpo), study(base.unwrap_or_default()));
    let own = Analysis::new(&own, &samples, 8.0, BOOTSTRAP).unwrap();
    let of_base = Analysis::new(&of_base, &samples, 8.0, BOOTSTRAP).unwrap();
    ablation_rows(("v", "labels"), &own, base.map(|_| &of_base))
}

fn at(rows: &[AblationRow], method: Method, kl: f64) -> &AblationRow {
    rows.iter().find(|row| row.method == method && row.kl == kl).unwrap()
}

#[test]
fn shares_are_those_of_the_summary() {
    let (runs, samples) = (study(0.62), synthetic::samples(64, 64));
    let analysis = Analysis::new(&runs, &samples, 8.0, BOOTSTRAP).unwrap();
    let summary = summarise(&analysis, &MethodCosts::new(), &[]).0;
    let found = rows(0.62, None);
    assert_eq!(found.len(), 2 * ABLATION_KLS.len());
    for row in &found {
        let of_method = summary.methods.iter().find(|one| one.method == row.method).unwrap();
        let expected = of_method.rewards.iter().find(|at| at.kl == row.kl).unwrap();
        assert_eq!((row.reward, row.share), (expected.envelope, expected.gain_share));
        assert_eq!(row.difference, None);
    }
    // 1.6 nats of DPO cover 0.5 and 1, 0.4 nats of PPO nothing.
    let covered: Vec<bool> = found.iter().map(|row| row.covered).collect();
    assert_eq!(covered, [true, true, false, false, false, false]);
}

#[test]
fn differences_are_those_of_the_envelopes_over_the_optimums_gain() {
    let found = rows(0.66, Some(0.62));
    let (own, base) = (rows(0.66, None), rows(0.62, None));
    // The optimum's curve ends before 2 nats.
    assert_eq!((at(&own, Method::DPO, 2.0).share, at(&found, Method::DPO, 2.0).difference), (None, None));
    for kl in [0.5, 1.0] {
        let [own, base] = [&own, &base].map(|rows| at(rows, Method::DPO, kl).share.unwrap().value);
        let difference = at(&found, Method::DPO, kl).difference.unwrap();
        assert!((difference.value - (own - base)).abs() < 1e-12, "{difference:?}");
        // 0.04 more reward in every replicate: only the optimum's gain has noise.
        assert!(difference.interval.0 > 0.8 * difference.value, "{difference:?}");
        assert!(difference.interval.1 < 1.2 * difference.value, "{difference:?}");
        assert!(at(&found, Method::PPO, kl).is_as_base() && !at(&found, Method::DPO, kl).is_as_base());
    }
}

#[test]
fn the_file_has_a_line_for_each_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ablations.csv");
    let mut found = rows(0.66, Some(0.62));
    found[0].share = None;
    write_ablations(&path, &found).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines.len(), 1 + found.len());
    assert!(lines.iter().all(|cells| cells.len() == AblationRow::COLUMNS.len()));
    assert_eq!(lines[1][..6], ["v", "labels", "dpo", "0.5", "true", "2"]);
    assert_eq!(lines[1][9..12], ["NaN"; 3]);

    // All but the spread between seeds is read back, to the bit.
    for row in &mut found {
        let estimates = [Some(&mut row.reward), row.share.as_mut(), row.difference.as_mut()];
        for estimate in estimates.into_iter().flatten() {
            estimate.seed_sd = None;
        }
    }
    assert_eq!(read_ablations(&path).unwrap(), found);
    std::fs::write(&path, text.replace(",dpo,", ",dp o,")).unwrap();
    let error = read_ablations(&path).unwrap_err().to_string();
    assert!(error.contains("line 2, column `method`: found `dp o`"), "{error}");
}
