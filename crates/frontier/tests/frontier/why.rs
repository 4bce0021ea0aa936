//! Why methods differ and what pair accuracy foretells, on a study whose truth is known.
use frontier::figures::{law_figure, responses_figure, why_figure};
use frontier::law::{law_by_method, predicted_share};
use frontier::optimum::{hard_label_curve, optimum_at, optimum_curve, optimum_reward, win_probabilities};
use frontier::why::{ShareAt, WHY_KLS};
use frontier::{
    Analysis, Bootstrap, Method, MethodCosts, PromptSamples, RESPONSES, ResponsesRow, Run, Summary,
    law_table, read_responses, reasons, summarise, why_tables, write_responses,
};

use crate::synthetic::{FACTORS, factorial, samples};

fn summary_of(runs: &[Run], samples: &PromptSamples) -> Summary {
    let analysis = Analysis::new(runs, samples, 2.0, Bootstrap { resamples: 300, seed: 1 }).unwrap();
    summarise(&analysis, &MethodCosts::new(), &[]).0
}

fn holds(at: &ShareAt, truth: f64) -> bool {
    at.share.is_some_and(|share| share.interval.0 <= truth && truth <= share.interval.1)
}

#[test]
fn one_change_at_a_time_is_told_apart() {
    let samples = samples(256, 128);
    let summary = summary_of(&factorial(&samples, 3, 0.0), &samples);
    let why = &summary.why;
    let methods: Vec<Method> = why.methods.iter().map(|made| made.method).collect();
    assert_eq!(methods, FACTORS.map(|(method, _)| method));
    let share = |of: Method| FACTORS.iter().find(|(method, _)| *method == of).unwrap().1;
    let mut all = Vec::new();
    for made in &why.methods {
        assert!(made.shares.iter().all(|at| at.ends_near && at.share.is_some()), "{made:?}");
        all.extend(made.shares.iter().map(|at| holds(at, share(made.method))));
    }
    let changes: Vec<&str> = why.contrasts.iter().map(|one| one.change.as_str()).collect();
    assert_eq!(changes.len(), 9);
    for one in &why.contrasts {
        let truth = share(one.first) - share(one.second);
        all.extend(one.differences.iter().map(|at| holds(at, truth)));
        // Paired: DPO and Online DPO differ by 0.1 of a gain of 0.2 to 0.4, which 256 prompts tell at 2 nats.
        if one.change == "fresh data" {
            assert!(one.differences[2].share.unwrap().interval.0 > 0.0, "{one:?}");
        }
    }
    // 45.6 of 48 are expected.
    assert_eq!(all.len(), 48);
    assert!(all.iter().filter(|held| **held).count() >= 40, "{all:?}");
    // The parts sum to the whole, seed by seed and so in the mean.
    let value = |change: &str, first: Method, kl: usize| {
        let one = why.contrasts.iter().find(|one| one.change == change && one.first == first).unwrap();
        one.differences[kl].share.unwrap().value
    };
    for kl in 0..3 {
        let parts = value("fresh data", Method::ONLINE_DPO, kl)
            + value("policy gradient", Method::RLOO, kl)
            + value("value model", Method::PPO, kl);
        assert!((parts - value("all but the true reward", Method::PPO, kl)).abs() < 1e-12);
    }
    let sentences = reasons(&summary);
    assert!(sentences[0].starts_with("Fresh data (Online DPO in place of DPO): +"), "{sentences:?}");
    assert_eq!(why_tables(&summary).len(), 2);
    assert!(
        why_tables(&summary).iter().all(|table| table.rows.iter().all(|row| row.len() == table.header.len()))
    );
}

#[test]
fn a_study_of_two_methods_shows_what_it_can() {
    let samples = samples(64, 128);
    let runs: Vec<Run> = factorial(&samples, 2, 0.0)
        .into_iter()
        .filter(|run| [Method::DPO, Method::PPO].contains(&run.evals[0].method))
        // No run ends near 1 nat, and PPO goes no farther.
        .filter(|run| run.name.contains("-0.49-") || (run.name.contains("dpo-1.99-")))
        .collect();
    let summary = summary_of(&runs, &samples);
    let changes: Vec<&str> = summary.why.contrasts.iter().map(|one| one.change.as_str()).collect();
    assert_eq!((summary.why.methods.len(), changes), (2, vec!["all but the true reward"]));
    let near =
        |index: usize| summary.why.methods[index].shares.iter().map(|at| at.ends_near).collect::<Vec<_>>();
    assert_eq!((near(0), near(1)), (vec![true, false, true], vec![true, false, false]));
    assert!(summary.why.methods[1].shares[1].share.is_none());
    // Nothing is said of 1 nat, where DPO has a checkpoint on its way and PPO has none.
    let sentences = reasons(&summary);
    assert!(sentences[0].contains("at 0.5 nats") && !sentences[0].contains("at 1 nat"), "{sentences:?}");
    let svg = why_figure(&summary.why, &[None; 3], "two methods").unwrap().unwrap();
    assert!(svg.contains("PPO − DPO") && !svg.contains("RLOO"));
    let none = summary_of(&[], &samples);
    assert_eq!(why_figure(&none.why, &[None; 3], "").unwrap(), None);
    assert_eq!((law_figure(&none.law, "").unwrap(), law_table(&none)), (None, None));
    assert!(why_tables(&none).is_empty() && reasons(&none).is_empty());
}

#[test]
fn accuracy_foretells_the_share() {
    // asin(1/2) = pi/6.
    for (accuracy, share) in [(0.5, 0.0), (2.0 / 3.0, 0.5), (1.0, 1.0), (0.25, -0.5_f64.sqrt())] {
        assert!((predicted_share(accuracy) - share).abs() < 1e-12, "{accuracy}");
    }
    let samples = samples(256, 128);
    let summary = summary_of(&factorial(&samples, 3, 0.05), &samples);
    assert_eq!(summary.law.len(), 7 * 3 * 3);
    // Measured and predicted share differ by noise alone.
    let z: Vec<f64> = summary.law.iter().map(|p| (p.measured - p.predicted) / p.measured_se).collect();
    let square = z.iter().map(|z| z * z).sum::<f64>() / z.len() as f64;
    assert!((0.6..1.5).contains(&square), "{square}");
    for of in law_by_method(&summary.law) {
        assert_eq!(of.runs, 9);
        assert!((of.measured - of.predicted).abs() < 4.0 * of.difference_se, "{of:?}");
    }
    let svg = law_figure(&summary.law, "law").unwrap().unwrap();
    assert!(svg.contains("Online DPO-GT"));
    // Old records have no accuracy.
    let mut old = factorial(&samples, 1, 0.0);
    old.iter_mut().flat_map(|run| &mut run.evals).for_each(|eval| eval.pair_accuracy = f64::NAN);
    assert!(summary_of(&old, &samples).law.is_empty());
}

#[test]
fn hard_labels_tell_the_order_alone() {
    // Below 0.9 lie two and there is no tie; 0.1 is there twice.
    assert_eq!(win_probabilities(&[0.1, 0.9, 0.1, 1.0]), [0.25, 0.625, 0.25, 0.875]);
    // Any rewards in the same order have the same weights: w = exp(lambda u) / sum, of 0.25, 0.75 for two.
    let two = PromptSamples::new(vec![vec![0.0, 1.0], vec![0.4, 0.5]]).unwrap();
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a}, expected {b}");
    let curve = hard_label_curve(&two, 1.0);
    near(curve[0].reward, f64::midpoint(0.5, 0.45));
    // Rewards that are spread evenly are their own order: the ceiling is the optimum.
    let even = PromptSamples::new(vec![(0..64).map(|i| f64::from(i) / 64.0).collect(); 2]).unwrap();
    let (optimum, ceiling) = (optimum_curve(&even, 8.0), hard_label_curve(&even, 8.0));
    for kl in [0.1, 0.5, 1.0] {
        near(optimum_reward(&ceiling, kl).unwrap(), optimum_reward(&optimum, kl).unwrap());
    }
    // Rewards of 0, 0.9 and 1 by halves and quarters: at one KL, the order alone earns less.
    let uneven: Vec<f64> = (0..64)
        .map(|i| {
            if i < 32 {
                0.0
            } else if i < 48 {
                0.1
            } else {
                1.0
            }
        })
        .collect();
    let uneven = PromptSamples::new(vec![uneven; 2]).unwrap();
    let (optimum, ceiling) = (optimum_curve(&uneven, 8.0), hard_label_curve(&uneven, 8.0));
    for kl in [0.1, 0.3] {
        let (best, found) = (optimum_reward(&optimum, kl).unwrap(), optimum_reward(&ceiling, kl).unwrap());
        assert!(found < best - 0.005, "{kl}: {found}, {best}");
    }
    // By definition, with the weights of one lambda.
    let point = ceiling[20];
    let weights = win_probabilities(&uneven.prompts()[0]).into_iter().map(|u| (point.lambda * u).exp());
    let weights: Vec<f64> = weights.collect();
    let total: f64 = weights.iter().sum();
    let reward: f64 = weights.iter().zip(&uneven.prompts()[0]).map(|(w, r)| w / total * r).sum();
    // The jackknife moves it by the order of 1/64.
    assert!((reward - point.reward).abs() < 0.01, "{reward}, {point:?}");
    near(optimum_at(&even, 0.0).reward, ceiling[0].reward + (31.5 / 64.0 - ceiling[0].reward));
}

#[test]
fn the_summary_has_the_hard_label_ceiling() {
    let samples = samples(128, 128);
    let summary = summary_of(&factorial(&samples, 1, 0.0), &samples);
    let at_one = summary.hard_labels.iter().find(|at| at.kl == 1.0).unwrap();
    let (low, high) = at_one.gain_share.interval;
    assert!(low <= at_one.gain_share.value && at_one.gain_share.value <= high && high < 1.0, "{at_one:?}");
    assert!((0.8..1.0).contains(&at_one.gain_share.value), "{at_one:?}");
}

#[test]
fn responses_are_read_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(read_responses(folder.path()).unwrap(), None);
    let text = "method,responses,passes,seed,share,share_se,kl,pair_accuracy\n\
                dpo,1000,1,1,0.2,0.03,1,0.6\ndpo,100000,1,1,0.8,0.02,1.1,0.8\ndpo,1000,4,1,0.3,0.03,1,NaN\n\
                online-dpo,10000,1,1,0.7,NaN,0.9,0.75\n";
    std::fs::write(folder.path().join(RESPONSES), text).unwrap();
    let rows: Vec<ResponsesRow> = read_responses(folder.path()).unwrap().unwrap();
    assert_eq!((rows.len(), rows[1].method, rows[1].responses), (4, Method::DPO, 100_000.0));
    assert!(rows[2].pair_accuracy.is_nan());
    let svg = responses_figure(&rows, "test").unwrap().unwrap();
    for label in ["DPO, one pass", "DPO, 4 passes", "Online DPO, one pass", "100000", "responses seen"] {
        assert!(svg.contains(label), "{label}");
    }
    assert_eq!(responses_figure(&[], "").unwrap(), None);
    write_responses(folder.path(), &rows).unwrap();
    assert_eq!(std::fs::read_to_string(folder.path().join(RESPONSES)).unwrap().lines().count(), 5);
    let again = read_responses(folder.path()).unwrap().unwrap();
    assert_eq!(again[..2], rows[..2]);
    std::fs::write(folder.path().join(RESPONSES), text.replace("0.8,0.02", "much,0.02")).unwrap();
    let message = read_responses(folder.path()).unwrap_err().to_string();
    assert!(message.contains("line 3, column `share`: found `much`"), "{message}");
    assert_eq!(WHY_KLS, [0.5, 1.0, 2.0]);
}
