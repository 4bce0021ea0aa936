//! Reward against the root of the KL, with the fits of Gao et al. 2022.

use plotters::style::Color;

use super::canvas::{self, Area, Axes, HEADER_HEIGHT, UNITS, value_range};
use super::legend::{legend_height, method_row};
use super::plane::Plane;
use super::style::{Looks, dashes};
use crate::statistics::best_of_n::BestOfNPoint;
use crate::statistics::overoptimization::{Fit, Form, implicit_rewards, learned_rewards, true_rewards};
use crate::{Error, Method, Run};

const SIZE: (u32, u32) = (920, 420);
/// Beyond this KL, in nats, points are neither fitted nor shown.
const FARTHEST: f64 = 16.0;

/// The points of a method, what it earns at KL 0, and the curve to fit.
struct Series {
    method: Method,
    start: f64,
    points: Vec<(f64, f64)>,
    form: Form,
}

/// Draws, against sqrt(KL), every checkpoint's true and learned reward and the implicit reward of methods on
/// pairs, each with its least-squares fit (the implicit reward with one for each beta): d (a - b ln d) for
/// trained policies, d (a - b d) for best-of-n at the bound on its KL. Returns SVG.
///
/// # Errors
/// [`Error::Figure`] if plotters fails.
pub fn overoptimization_figure(
    runs: &[Run],
    start: f64,
    best_of_n: &[BestOfNPoint],
    subtitle: &str,
) -> Result<String, Error> {
    let near = |points: Vec<(f64, f64)>| points.into_iter().filter(|point| point.0 <= FARTHEST).collect();
    let of_method =
        |method: Method| Series { method, start, points: near(true_rewards(runs, method)), form: Form::Rl };
    let best = best_of_n.iter().filter(|point| point.n > 1).map(|p| (p.sequence_kl_bound, p.reward));
    let best = Series { method: Method::BEST_OF_N, start, points: best.collect(), form: Form::BestOfN };
    let methods = Run::methods(runs);
    let looks = Looks::of(&methods);
    let truth: Vec<Series> = methods.iter().copied().map(of_method).chain([best]).collect();
    // Scores are normalised on the reference, implicit rewards are 0 there.
    let series = |method: Method, points: Vec<(f64, f64)>| Series {
        method,
        start: 0.0,
        points: near(points),
        form: Form::Rl,
    };
    let learned = methods.iter().map(|method| series(*method, learned_rewards(runs, *method)));
    let of_knobs =
        |method: &Method| implicit_rewards(runs, *method).into_iter().zip(std::iter::repeat(*method));
    let implicit = methods.iter().flat_map(of_knobs).map(|(points, method)| series(method, points));
    let panels = [
        ("True reward", "mean true reward r*", truth),
        ("Learned reward", "s.d. on reference samples", learned.collect()),
        ("Implicit reward", "β ln(π / π_ref), nats, by β", implicit.collect()),
    ];
    let right = panels[0].2.iter().flat_map(|s| &s.points).map(|point| point.0).fold(1.0, f64::max).sqrt();
    canvas::svg(SIZE, |root| {
        let (header, below) = root.split_vertically(HEADER_HEIGHT * UNITS);
        let shown: Vec<Method> =
            panels[0].2.iter().filter(|s| !s.points.is_empty()).map(|s| s.method).collect();
        let height = SIZE.1 as i32 - HEADER_HEIGHT - legend_height(&shown, SIZE.0);
        let (area, legend) = below.split_vertically(height * UNITS);
        canvas::header(&header, "Over-optimisation: rewards against the root of the KL", subtitle)?;
        for ((title, y_title, series), area) in panels.iter().zip(area.split_evenly((1, 3))) {
            draw_panel(root, &area, (title, y_title), (series, &looks), right * 1.03)?;
        }
        method_row(&legend, &looks, &shown, SIZE.0)
    })
}

fn draw_panel<'a>(
    root: &Area<'a>,
    area: &Area<'a>,
    (title, y_title): (&str, &str),
    (series, looks): (&[Series], &Looks),
    right: f64,
) -> Result<(), Error> {
    let starts = series.iter().filter(|s| !s.points.is_empty()).map(|s| s.start);
    let values = series.iter().flat_map(|s| &s.points).map(|point| point.1);
    let axes = Axes {
        title,
        x_title: "d = sqrt(KL), root nats",
        y_title,
        x: (0.0, right),
        y: value_range(values.chain(starts)),
        label_size: 11,
    };
    let plane = Plane::new(root, area, &axes)?;
    for series in series {
        let (color, shape) = looks.of_method(series.method);
        for (kl, reward) in &series.points {
            plane.mark((kl.max(0.0).sqrt(), *reward), shape, 6, color.mix(0.45), true)?;
        }
    }
    for series in series {
        let gains = series.points.iter().map(|(kl, reward)| (*kl, reward - series.start));
        let Some(fit) = Fit::new(series.form, gains) else { continue };
        // Over the points that were fitted: towards 0 the logarithm would tell of what was not measured.
        let from = series
            .points
            .iter()
            .map(|point| point.0)
            .filter(|kl| *kl > 0.0)
            .fold(f64::INFINITY, f64::min)
            .sqrt();
        let end = fit.largest_kl.sqrt();
        let curve: Vec<(f64, f64)> = (0..=80)
            .map(|i| from + (end - from) * f64::from(i) / 80.0)
            .map(|d| (d, series.start + fit.gain(d * d)))
            .collect();
        let (color, broken) = (looks.of_method(series.method).0, dashes(series.method));
        plane.stroke(&curve, color.to_rgba(), 4, broken)?;
    }
    Ok(())
}
