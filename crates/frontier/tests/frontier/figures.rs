//! Figures: whole, labelled, the same each time, and drawn from poor input too.
use frontier::ablation::ablation_rows;
use frontier::best_of_n::best_of_n_curve;
use frontier::figures::{
    Clock, ClosedFormFigure, FrontierFigure, PartitionCurve, WalkCurve, ablation_figure, ahead_figure,
    closed_form_figure, collapse_figure, drift_figure, frontier_figure, histogram_figure, labels_figure,
    overoptimization_figure, stages_figure, training_figure,
};
use frontier::optimum::optimum_curve;
use frontier::{
    Analysis, Bootstrap, Curves, FrontierRow, Method, MethodCosts, Metrics, OptimumPoint, PromptSamples,
    PromptScore, Reference, Run, summarise,
};

use crate::synthetic;

const REFERENCE: Reference = Reference { mean: synthetic::START, se: 0.005 };

/// Checks that tags balance, that no bare `&` or `<` is left in text and that no coordinate is NaN.
fn assert_well_formed(svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    for (index, part) in svg.split('<').enumerate() {
        if index == 0 {
            assert_eq!(part, "");
            continue;
        }
        let (tag, text) = part.split_once('>').expect("a tag that ends");
        assert!(text.split('&').skip(1).all(|entity| entity.contains(';')), "{text}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(tag.split_whitespace().next().unwrap());
        }
    }
    assert!(open.is_empty(), "{open:?} left open");
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
}

/// The contents of the text elements.
fn texts(svg: &str) -> Vec<&str> {
    let elements = svg.split("<text ").skip(1);
    elements
        .map(|element| element.split_once('>').unwrap().1.split("</text>").next().unwrap().trim())
        .collect()
}

fn curves(rows: &[FrontierRow]) -> Curves {
    let (runs, samples) = (Run::of_rows(rows.to_vec()), synthetic::samples(32, 32));
    let analysis = Analysis::new(&runs, &samples, 8.0, Bootstrap { resamples: 50, seed: 0 }).unwrap();
    summarise(&analysis, &MethodCosts::new(), &[]).1
}

fn figure<'a>(
    rows: &'a [FrontierRow],
    curves: &'a Curves,
    optimum: &'a [OptimumPoint],
) -> FrontierFigure<'a> {
    FrontierFigure {
        rows,
        curves,
        reference: REFERENCE,
        optimum,
        best_of_n: &[],
        hard_labels: &[],
        failed_runs: 0,
        subtitle: "preset test",
        paper: false,
    }
}

#[test]
fn the_frontier_names_every_series() {
    let samples = synthetic::samples(32, 32);
    let (optimum, best_of_n) = (optimum_curve(&samples, 8.0), best_of_n_curve(&samples));
    let rows = synthetic::sweep(3, 5);
    let curves = curves(&rows);
    let whole = FrontierFigure {
        best_of_n: &best_of_n,
        failed_runs: 2,
        subtitle: "full, seeds 1 & 2, <embedded>",
        paper: true,
        ..figure(&rows, &curves, &optimum)
    };
    let svg = frontier_figure(&whole).unwrap();
    assert_well_formed(&svg);
    assert!(svg.starts_with("<svg width=\"920\" height=\"600\" viewBox=\"0 0 1840 1200\""), "{}", &svg[..80]);
    let texts = texts(&svg);
    let expected = [
        "DPO",
        "IPO",
        "cDPO",
        "PPO",
        "PPO-GT",
        "Unlikelihood",
        "Preferred-FT",
        "Reweighted optimum",
        "Best-of-n, KL bound",
        "Bernoulli floor",
        "Reference",
        "PPO-GT(TRL)",
        "PPO(ours)",
        "upper envelope, 95% band",
        "2",
        "4",
        "8",
        "16",
        "full, seeds 1 &amp; 2, &lt;embedded&gt;",
        "sequence KL(π ‖ π_ref), nats",
    ];
    for label in expected {
        assert!(texts.contains(&label), "{label} not in {texts:?}");
    }
    assert!(texts.iter().any(|text| text.contains("2 runs are missing")), "{texts:?}");
    assert_eq!(svg, frontier_figure(&whole).unwrap());
    let plain = frontier_figure(&FrontierFigure { paper: false, ..whole }).unwrap();
    assert!(!plain.contains("PPO-GT(TRL)") && plain.len() < svg.len());
}

#[test]
fn every_checkpoint_is_drawn_once() {
    let rows: Vec<FrontierRow> =
        synthetic::sweep(1, 3).into_iter().filter(|row| row.eval.method == Method::DPO).collect();
    let svg = frontier_figure(&figure(&rows, &curves(&rows), &[])).unwrap();
    let circles = svg.matches("<circle").count();
    // 4 runs of 3 evaluations after step 0 (one at 5.5 nats is outside), the envelope's end, the reference,
    // and both of their places in the legend.
    let outside = rows.iter().filter(|row| row.eval.sequence_kl > 5.25).count();
    assert_eq!(circles, 12 - outside + 4);
    assert!(texts(&svg).contains(&"upper envelope, 95% band"));
}

/// Runs of a sweep, with metrics and with records of three prompts.
fn recorded_runs() -> Vec<Run> {
    let mut runs = Run::of_rows(synthetic::sweep(2, 4));
    for run in &mut runs {
        let columns = [
            "step",
            "seconds",
            "num_tokens",
            "objective/entropy",
            "val/ratio",
            "rewards/margins",
            "objective/scores",
        ];
        run.metrics.columns = columns.map(str::to_owned).to_vec();
        let row = |i: u32| {
            vec![50.0, 9.0, 1000.0, 60.0, 1.0, 0.1, 0.5].into_iter().map(|x| x * f64::from(i)).collect()
        };
        run.metrics.rows = (1..=4).map(row).collect();
        for eval in &run.evals {
            let scores = [0.05, 0.55, 0.95].map(|score| PromptScore { score, sequence_kl: eval.sequence_kl });
            run.prompts.insert(eval.step, scores.to_vec());
        }
    }
    runs
}

#[test]
fn training_curves_name_methods_and_units() {
    let runs = recorded_runs();
    let svg = training_figure(&runs, Clock::Tokens, "preset test").unwrap();
    assert_well_formed(&svg);
    let found = texts(&svg);
    let titles = ["Reward", "Sequence KL", "Entropy (PPO)", "Policy ratio (PPO)", "Reward margin (pairs)"];
    for label in titles.iter().chain(&["Accuracy (pairs)", "tokens, thousands"]) {
        assert!(found.contains(label), "{label} not in {found:?}");
    }
    for method in Run::methods(&runs) {
        assert!(found.contains(&method.label()), "{method} not in {found:?}");
    }
    assert_eq!(svg, training_figure(&runs, Clock::Tokens, "preset test").unwrap());
    let by_time = training_figure(&runs, Clock::Seconds, "preset test").unwrap();
    assert!(texts(&by_time).contains(&"seconds of training") && by_time != svg);
}

#[test]
fn stages_are_drawn_as_far_as_they_were_recorded() {
    let metrics = |columns: &[&str], rows: Vec<Vec<f64>>| Metrics {
        columns: columns.iter().map(|column| (*column).to_owned()).collect(),
        rows,
    };
    let reference = metrics(&["step", "seconds", "loss"], vec![vec![1.0, 0.1, 8.0], vec![2.0, 0.2, 6.5]]);
    let columns = ["step", "loss", "accuracy", "eval_loss", "eval_accuracy"];
    let rows = vec![vec![1.0, 0.7, 0.5, f64::NAN, f64::NAN], vec![2.0, 0.6, 0.7, 0.65, 0.6]];
    let reward_model = metrics(&columns, rows);
    let both = stages_figure(Some(&reference), Some(&reward_model), "preset test").unwrap().unwrap();
    assert_well_formed(&both);
    for label in ["Reference model: loss", "Reward model: loss", "Reward model: accuracy", "held out"] {
        assert!(texts(&both).contains(&label), "{label}");
    }
    // One mark in each panel of the reward model, where there was a validation, and one in the legend.
    let squares = both.split("<rect").filter(|rect| rect.contains("#D55E00")).count();
    assert_eq!(squares, 3, "{both}");
    let one = stages_figure(None, Some(&reward_model), "").unwrap().unwrap();
    assert!(!texts(&one).contains(&"Reference model: loss"));
    assert_eq!(stages_figure(None, None, "").unwrap(), None);
    assert_eq!(stages_figure(Some(&metrics(&["step"], vec![])), None, "").unwrap(), None);
}

#[test]
fn comparisons_are_drawn_as_far_as_both_methods_go() {
    let svg = ahead_figure(&curves(&synthetic::sweep(3, 5)), "preset test").unwrap();
    assert_well_formed(&svg);
    let found = texts(&svg);
    for label in ["DPO − PPO", "DPO − PPO-GT", "PPO-GT − PPO", "Probability that the first is ahead"] {
        assert!(found.contains(&label), "{label} not in {found:?}");
    }
    let only_dpo: Vec<FrontierRow> =
        synthetic::sweep(1, 3).into_iter().filter(|row| row.eval.method == Method::DPO).collect();
    let svg = ahead_figure(&curves(&only_dpo), "").unwrap();
    assert!(!texts(&svg).contains(&"DPO − PPO"));
    assert_well_formed(&svg);
}

#[test]
fn rewards_against_the_root_of_the_kl() {
    let best = best_of_n_curve(&synthetic::samples(32, 32));
    let svg = overoptimization_figure(&recorded_runs(), synthetic::START, &best, "preset test").unwrap();
    assert_well_formed(&svg);
    let found = texts(&svg);
    for label in ["True reward", "Learned reward", "Implicit reward", "Best-of-n", "d = sqrt(KL), root nats"]
    {
        assert!(found.contains(&label), "{label} not in {found:?}");
    }
    assert_well_formed(&overoptimization_figure(&[], 0.5, &[], "").unwrap());
}

#[test]
fn drift_marks_every_checkpoint_in_both_panels() {
    let runs: Vec<Run> =
        recorded_runs().into_iter().filter(|run| run.evals[0].method == Method::DPO).collect();
    let svg = drift_figure(&runs, "preset test").unwrap();
    assert_well_formed(&svg);
    // 8 runs of 5 evaluations in two panels, and the legend.
    assert_eq!(svg.matches("<circle").count(), 8 * 5 * 2 + 1);
    assert_well_formed(&drift_figure(&[], "").unwrap());
}

#[test]
fn runs_without_the_penalty_stand_beside_the_frontier() {
    let rows: Vec<FrontierRow> =
        synthetic::sweep(1, 3).into_iter().filter(|row| row.eval.method == Method::PPO).collect();
    assert_eq!(collapse_figure(&Run::of_rows(rows.clone()), "").unwrap(), None);
    let free = |(index, mut row): (usize, FrontierRow)| {
        row.run = format!("free-{}", row.eval.seed);
        (row.eval.knob, row.eval.value) = ("kl_coef".to_owned(), 0.0);
        (row.eval.score, row.eval.sequence_kl) = (0.98, 2.0 + index as f64);
        row
    };
    let more: Vec<FrontierRow> = rows.iter().take(4).cloned().enumerate().map(free).collect();
    let with: Vec<FrontierRow> = rows.iter().cloned().chain(more).collect();
    // No envelope and no interval knows them, the figure shows them.
    let (bound, all) = (curves(&rows), curves(&with));
    assert_eq!(bound.methods, all.methods);
    let svg = frontier_figure(&figure(&with, &all, &[])).unwrap();
    assert_well_formed(&svg);
    assert!(texts(&svg).contains(&"PPO, no penalty"));
    assert!(!texts(&frontier_figure(&figure(&rows, &bound, &[])).unwrap()).contains(&"PPO, no penalty"));
    let svg = collapse_figure(&Run::of_rows(with), "preset test").unwrap().unwrap();
    assert_well_formed(&svg);
    for label in ["Learned reward", "Distinct bigrams", "PPO without a KL penalty", "iterations"] {
        assert!(texts(&svg).contains(&label), "{label}");
    }
}

#[test]
fn every_variation_is_drawn_against_the_base() {
    let (runs, samples) = (Run::of_rows(synthetic::sweep(2, 4)), synthetic::samples(32, 32));
    let only_dpo: Vec<Run> =
        runs.iter().filter(|run| run.evals[0].method == Method::DPO).take(2).cloned().collect();
    let bootstrap = Bootstrap { resamples: 50, seed: 0 };
    let base = Analysis::new(&runs, &samples, 8.0, bootstrap).unwrap();
    let fewer = Analysis::new(&only_dpo, &samples, 8.0, bootstrap).unwrap();
    let rows: Vec<_> = [("base", None), ("same", Some(&base)), ("fewer", Some(&base))]
        .into_iter()
        .flat_map(|(name, of)| {
            ablation_rows((name, "suspect"), if name == "fewer" { &fewer } else { &base }, of)
        })
        .collect();
    let svg = ablation_figure(&rows, "preset test").unwrap();
    assert_well_formed(&svg);
    let found = texts(&svg);
    // DPO changes with fewer runs; the same study again touches no method.
    assert!(found.contains(&"fewer") && !found.contains(&"same"), "{found:?}");
    assert_eq!(found.iter().filter(|text| **text == "base").count(), 7, "{found:?}");
    assert!(found.contains(&"at 0.5 nats") && found.contains(&"100%"));
    let curve = summarise(&fewer, &MethodCosts::new(), &[]).1.methods[0].1.clone();
    let svg = labels_figure("Labels", &[("hard & fast".into(), curve)], 0.48, base.optimum(), "").unwrap();
    assert_well_formed(&svg);
    assert!(texts(&svg).contains(&"hard &amp; fast"));
    assert_well_formed(&ablation_figure(&[], "").unwrap());
    assert_well_formed(&labels_figure("Labels", &[], 0.48, &[], "").unwrap());
}

#[test]
fn the_histogram_shows_every_bin() {
    // Bars as high as 1/4, 1/2 and 1/4 of the samples, in the first, the eleventh and the last bin.
    let samples = PromptSamples::new(vec![vec![0.01, 0.5, 0.53, 1.0]]).unwrap();
    let svg = histogram_figure(&samples, &[], "4 samples").unwrap();
    assert_well_formed(&svg);
    let heights: Vec<i32> = svg.split("<polygon").skip(1).map(bar_height).collect();
    assert_eq!(heights.len(), 20);
    assert!(heights[10] > 100 && heights.iter().filter(|height| **height == 0).count() == 17, "{heights:?}");
    for bin in [0, 19] {
        assert!((2 * heights[bin] - heights[10]).abs() <= 2, "{heights:?}");
    }
    assert!(texts(&svg).contains(&"mean 0.510 of 4"));
}

#[test]
fn histograms_stand_at_the_same_distance() {
    let samples = synthetic::samples(32, 32);
    let svg = histogram_figure(&samples, &recorded_runs(), "preset test").unwrap();
    assert_well_formed(&svg);
    let found = texts(&svg);
    // Two seeds of three prompts for each method that comes within half a nat of 1.
    let methods = Run::methods(&recorded_runs());
    let title = |method: &Method| format!("{}, about 1 nat", method.label());
    let shown = methods.iter().filter(|method| found.contains(&title(method).as_str())).count();
    assert!(shown >= 5, "{found:?}");
    assert_eq!(found.iter().filter(|text| **text == "mean 0.517 of 6").count(), shown, "{found:?}");
}

/// The vertical extent of a polygon's points.
fn bar_height(polygon: &str) -> i32 {
    let points = polygon.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
    let ys: Vec<i32> =
        points.split_whitespace().map(|point| point.split(',').nth(1).unwrap().parse().unwrap()).collect();
    ys.iter().max().unwrap() - ys.iter().min().unwrap()
}

#[test]
fn poor_input_still_draws() {
    let none = curves(&[]);
    assert_well_formed(&frontier_figure(&figure(&[], &none, &[])).unwrap());
    assert_well_formed(&training_figure(&[], Clock::Tokens, "").unwrap());
    let mut rows = synthetic::sweep(1, 2);
    for row in &mut rows {
        row.eval.judge = f64::NAN;
        row.eval.tokens = 0;
    }
    rows[1].eval.score = f64::NAN;
    rows[2].eval.sequence_kl = f64::INFINITY;
    rows[4].eval.score = -3.0;
    rows[5].eval.sequence_kl = 80.0;
    let curves = curves(&rows);
    assert_well_formed(&frontier_figure(&figure(&rows, &curves, &[])).unwrap());
    let runs = Run::of_rows(rows.clone());
    assert_well_formed(&training_figure(&runs, Clock::Tokens, "").unwrap());
    assert_well_formed(&drift_figure(&runs, "").unwrap());
    assert_well_formed(&overoptimization_figure(&runs, 0.5, &[], "").unwrap());
    assert_well_formed(&ahead_figure(&curves, "").unwrap());
    for mean in [0.0, 1.0] {
        let reference = Reference { mean, se: 0.0 };
        assert_well_formed(
            &frontier_figure(&FrontierFigure { reference, ..figure(&rows, &curves, &[]) }).unwrap(),
        );
    }
    let reference = Reference { mean: f64::NAN, se: 0.0 };
    let error = frontier_figure(&FrontierFigure { reference, ..figure(&rows, &curves, &[]) }).unwrap_err();
    assert!(error.to_string().contains("reference's mean reward is NaN"), "{error}");
}

#[test]
fn the_closed_form_has_powers_of_ten_for_labels() {
    let partition = |label: &str, error: f64| PartitionCurve {
        label: label.to_owned(),
        measured: vec![(10.0, error * 1.1), (1000.0, error / 10.0)],
        expected: vec![(10.0, error), (1000.0, error / 10.0)],
    };
    let figure = ClosedFormFigure {
        partitions: vec![partition("β = 1", 0.5), partition("β < 1 & more", 50.0)],
        walks: vec![
            WalkCurve { method: Method::DPO, points: vec![(0.0, 0.8), (50.0, 2e-3), (100.0, 4.2e-6)] },
            WalkCurve { method: Method::PPO_GT, points: vec![(0.0, 0.8), (100.0, 0.0312)] },
        ],
        subtitle: "one prompt",
    };
    let svg = closed_form_figure(&figure).unwrap();
    assert_well_formed(&svg);
    let texts = texts(&svg);
    let expected = [
        "β = 1",
        "β &lt; 1 &amp; more",
        "DPO: 4.2e-6 nats left",
        "PPO-GT: 0.0312 nats left",
        // 10 to 1000 samples, errors of 0.05 to 55, distances of 4.2e-6 to 0.8.
        "10",
        "100",
        "1000",
        "0.01",
        "0.1",
        "1e-6",
        "1e-4",
        "0.001",
    ];
    for label in expected {
        assert!(texts.contains(&label), "{label} not in {texts:?}");
    }
    assert_eq!(svg, closed_form_figure(&figure).unwrap());
}

#[test]
fn the_closed_form_is_drawn_without_logarithms_too() {
    let empty = ClosedFormFigure { partitions: Vec::new(), walks: Vec::new(), subtitle: "" };
    assert_well_formed(&closed_form_figure(&empty).unwrap());
    let points = vec![(10.0, 0.0), (0.0, 1.0), (f64::NAN, 1.0), (100.0, -1e-9), (1000.0, f64::INFINITY)];
    let poor = ClosedFormFigure {
        partitions: vec![PartitionCurve {
            label: "β = 1".to_owned(),
            measured: points.clone(),
            expected: Vec::new(),
        }],
        walks: vec![WalkCurve { method: Method::DPO, points }],
        subtitle: "nothing but zeros",
    };
    assert_well_formed(&closed_form_figure(&poor).unwrap());
}
