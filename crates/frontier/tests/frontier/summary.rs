//! The summary, its checks and its tables.
use frontier::calibration::{calibration_error, calibration_table};
use frontier::checks::check;
use frontier::{
    Analysis, Bootstrap, EvalRow, FrontierRow, Method, MethodCosts, MethodSummary, PromptSamples, Reference,
    Run, Summary, markdown_table, summarise,
};

use crate::synthetic;

const REFERENCE: Reference = Reference { mean: synthetic::START, se: 0.005 };

fn summarise_with(rows: &[FrontierRow], samples: &PromptSamples) -> Summary {
    let runs = Run::of_rows(rows.to_vec());
    let analysis = Analysis::new(&runs, samples, 8.0, Bootstrap { resamples: 200, seed: 0 }).unwrap();
    summarise(&analysis, &MethodCosts::new(), &["ppo-target_kl9-seed1".to_owned()]).0
}

fn summary(rows: &[FrontierRow]) -> Summary {
    summarise_with(rows, &synthetic::samples(64, 64))
}

/// Rows of one DPO run whose statistics can be had by hand, for two seeds.
fn by_hand() -> Vec<FrontierRow> {
    let template = synthetic::sweep(1, 1)[0].eval.clone();
    let point = |seed: u64, step: u64, sequence_kl: f64, score: f64| FrontierRow {
        run: format!("dpo-seed{seed}"),
        eval: EvalRow {
            seed,
            step,
            sequence_kl,
            k1: sequence_kl,
            score,
            score_se: 0.0,
            sequence_kl_se: 0.0,
            ..template.clone()
        },
    };
    vec![
        point(0, 0, 0.0, 0.48),
        point(0, 1, 0.5, 0.60),
        point(0, 2, 2.0, 0.82),
        point(1, 0, 0.0, 0.48),
        point(1, 1, 1.0, 0.72),
        point(1, 2, 4.0, f64::NAN),
    ]
}

#[test]
fn a_methods_numbers_by_hand() {
    // All prompts alike, of mean 0.48: scores of 0.01 i, i = 16 to 80 but for 48.
    let scores: Vec<f64> = (16..=80).filter(|i| *i != 48).map(|i| f64::from(i) / 100.0).collect();
    let summary = summarise_with(&by_hand(), &PromptSamples::new(vec![scores; 4]).unwrap());
    assert_eq!(summary.methods.len(), 1);
    let dpo: &MethodSummary = &summary.methods[0];
    assert_eq!((dpo.method, dpo.points, dpo.runs, &dpo.seeds[..]), (Method::DPO, 3, 2, &[0, 1][..]));
    assert_eq!(dpo.largest_kl, 2.0);
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a}, expected {b}");
    // To 2 nats: seed 0 earns 0.5 * 0.54 + 1.5 * 0.71 = 1.335, seed 1 earns 0.60 + 0.72 = 1.32.
    near(dpo.areas[1].reward.value, (1.335 + 1.32) / 4.0);
    // At 1 nat: seed 0 has come a third of the way from 0.60 to 0.82, seed 1 is at 0.72. The isotonic fits
    // are steps: 0.60 and 0.72.
    let at_one = dpo.rewards.iter().find(|reward| reward.kl == 1.0).unwrap();
    let seeds = [0.60 + 0.22 / 3.0, 0.72];
    near(at_one.envelope.value, f64::midpoint(seeds[0], seeds[1]));
    near(at_one.isotonic.value, 0.66);
    near(at_one.envelope.seed_sd.unwrap(), (seeds[1] - seeds[0]) / 2.0_f64.sqrt());
    // The optimum is still within its curve at 1 nat, and all prompts are alike.
    let optimum = summary.optimum.iter().find(|point| point.kl == 1.0).unwrap().reward;
    near(optimum.interval.0, optimum.value);
    near(at_one.gain_share.unwrap().value, (at_one.envelope.value - 0.48) / (optimum.value - 0.48));
    // The mean envelope is 0.60 at 0.5 nats, 0.697 at 1 and 0.77 at 2.
    let kls: Vec<Option<f64>> = dpo.kls.iter().map(|kl| kl.kl.value).collect();
    near(kls[0].unwrap(), 0.5);
    near(kls[1].unwrap(), 1.0 + (0.70 - at_one.envelope.value) / (0.77 - at_one.envelope.value));
    assert_eq!(kls[2..], [None; 4]);
    assert_eq!(summary.checks.not_finite, 1);
    assert!(summary.comparisons.is_empty());
}

#[test]
fn a_sweep_passes_its_checks_and_survives_json() {
    let summary = summary(&synthetic::sweep(3, 4));
    assert!(summary.checks.passed(), "{:?}", summary.checks);
    let methods: Vec<&str> = summary.methods.iter().map(|m| m.method.name()).collect();
    assert_eq!(methods, ["dpo", "ipo", "cdpo", "ppo", "ppo-gt", "unlikelihood", "preferred-ft"]);
    // Five pairs at six KLs.
    assert_eq!(summary.comparisons.len(), 30);
    let json = serde_json::to_string(&summary).unwrap();
    assert!(json.contains("\"ppo-gt\"") && json.contains("\"ppo-target_kl9-seed1\""));
    assert_eq!(serde_json::from_str::<Summary>(&json).unwrap(), summary);
}

#[test]
fn tables_hold_every_method_and_stay_rectangular() {
    let summary_of_sweep = summary(&synthetic::sweep(2, 3));
    let text = markdown_table(&summary_of_sweep);
    for MethodSummary { method, .. } in &summary_of_sweep.methods {
        assert!(text.contains(&format!("| {} |", method.label())), "{method}\n{text}");
    }
    for part in [
        "DPO - PPO-GT",
        "Reweighted optimum",
        "± 0.0",
        "without the pairing over prompts",
        "Checks: all passed",
        "| Failed runs | ppo-target_kl9-seed1 |",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(!text.contains("NaN"), "{text}");
    // Metrics tell the seconds, and there are none.
    assert!(text.contains("| DPO, million tokens |") && !text.contains(", minutes"), "{text}");
    for block in text.split("\n\n").filter(|block| block.starts_with('|')) {
        let widths: Vec<usize> = block
            .lines()
            .filter(|line| line.starts_with('|'))
            .map(|line| line.matches('|').count())
            .collect();
        assert!(widths.windows(2).all(|pair| pair[0] == pair[1]), "{block}");
    }
    let empty = markdown_table(&summary(&[]));
    assert!(empty.contains("Best-of-n") && empty.contains("no point to compare"), "{empty}");
}

#[test]
fn checks_find_what_is_wrong() {
    let good = by_hand();
    assert!(check(&good, REFERENCE).passed());
    let mut rows = good.clone();
    rows[0].eval.sequence_kl = 0.01;
    rows.remove(3);
    rows.push(good[2].clone());
    // The standard errors combine to 0.05: 2.9 of them agree, 3.1 do not.
    for (row, gap) in [(2, 2.9), (5, 3.1)] {
        let eval = &mut rows[row].eval;
        (eval.sequence_kl_se, eval.k1_se, eval.k1) = (0.03, 0.04, eval.sequence_kl + gap * 0.05);
    }
    rows.push(good[1].clone());
    rows[6].eval = EvalRow { score: 0.99, sequence_kl: 0.05, k1: 0.05, step: 77, ..rows[6].eval.clone() };
    let found = check(&rows, REFERENCE);
    assert!(!found.passed());
    assert_eq!(found.start_off_zero, [("dpo-seed0".to_owned(), 0.01)]);
    assert_eq!(found.start_missing, ["dpo-seed1"]);
    assert_eq!(found.beyond_floor, ["dpo-seed0 at step 77"]);
    assert_eq!(found.k1_compared, 7);
    // The start, whose KL was changed but not its k1, and the changed k1.
    assert!((found.k1_agreement.unwrap() - 5.0 / 7.0).abs() < 1e-12, "{found:?}");
}

#[test]
fn calibration_by_hand() {
    let predictions = [(0.1, false), (0.3, true), (0.6, true), (1.0, true), (0.9, false), (f64::NAN, true)];
    let table = calibration_table(&predictions, 2);
    assert_eq!((table[0].low, table[0].high, table[0].count), (0.0, 0.5, 2));
    assert_eq!((table[0].predicted, table[0].observed), (Some(0.2), Some(0.5)));
    assert_eq!((table[1].count, table[1].observed), (3, Some(2.0 / 3.0)));
    // (2 * 0.3 + 3 * |2.5 / 3 - 2 / 3|) / 5 = (0.6 + 0.5) / 5.
    assert!((calibration_error(&table).unwrap() - 0.22).abs() < 1e-12);
    let empty = calibration_table(&[], 3);
    assert_eq!((empty[2].count, empty[2].predicted, calibration_error(&empty)), (0, None, None));
    assert!(calibration_table(&predictions, 0).is_empty());
}
