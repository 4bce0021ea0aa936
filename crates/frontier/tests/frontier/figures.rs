//! Figures: whole, labelled, the same each time, and drawn from poor input too.
use frontier::best_of_n::best_of_n_curve;
use frontier::figures::{FrontierFigure, frontier_figure, histogram_figure, training_figure};
use frontier::optimum::optimum_curve;
use frontier::{
    Analysis, Bootstrap, Curves, FrontierRow, Method, MethodCosts, OptimumPoint, PromptSamples, Reference,
    Run, summarise,
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
    assert!(texts.iter().any(|text| text.contains("2 failed runs are missing")), "{texts:?}");
    assert_eq!(svg, frontier_figure(&whole).unwrap());
    let plain = frontier_figure(&FrontierFigure { paper: false, ..whole }).unwrap();
    assert!(!plain.contains("PPO-GT(TRL)") && plain.len() < svg.len());
}

#[test]
fn every_checkpoint_is_drawn_once() {
    let rows: Vec<FrontierRow> =
        synthetic::sweep(1, 3).into_iter().filter(|row| row.eval.method == Method::Dpo).collect();
    let svg = frontier_figure(&figure(&rows, &curves(&rows), &[])).unwrap();
    let circles = svg.matches("<circle").count();
    // 4 runs of 3 evaluations after step 0 (one at 5.5 nats is outside), the envelope's end, the reference, and
    // both of their places in the legend.
    let outside = rows.iter().filter(|row| row.eval.sequence_kl > 5.25).count();
    assert_eq!(circles, 12 - outside + 4);
    assert!(texts(&svg).contains(&"upper envelope, 95% band"));
}

#[test]
fn training_curves_name_methods_and_units() {
    let svg = training_figure(&synthetic::sweep(2, 4), "preset test").unwrap();
    assert_well_formed(&svg);
    let texts = texts(&svg);
    for label in ["Reward", "Sequence KL", "Second judge", "Response length", "tokens trained on, thousands"]
    {
        assert!(texts.contains(&label), "{label} not in {texts:?}");
    }
    for method in Method::TRAINED {
        assert!(texts.contains(&method.label()), "{method} not in {texts:?}");
    }
    assert_eq!(svg, training_figure(&synthetic::sweep(2, 4), "preset test").unwrap());
}

#[test]
fn the_histogram_shows_every_bin() {
    // Bars as high as 1/4, 1/2 and 1/4 of the samples, in the first, the eleventh and the last bin.
    let samples = PromptSamples::new(vec![vec![0.01, 0.5, 0.53, 1.0]]).unwrap();
    let svg = histogram_figure(&samples, "4 samples").unwrap();
    assert_well_formed(&svg);
    let heights: Vec<i32> = svg.split("<polygon").skip(1).map(bar_height).collect();
    assert_eq!(heights.len(), 20);
    assert!(heights[10] > 100 && heights.iter().filter(|height| **height == 0).count() == 17, "{heights:?}");
    for bin in [0, 19] {
        assert!((2 * heights[bin] - heights[10]).abs() <= 2, "{heights:?}");
    }
    assert!(texts(&svg).contains(&"mean 0.510 of 4 samples"));
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
    assert_well_formed(&training_figure(&[], "").unwrap());
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
    assert_well_formed(&training_figure(&rows, "").unwrap());
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
