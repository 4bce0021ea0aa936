//! Training curves against tokens or seconds.

use plotters::style::Color;

use super::canvas::{self, Area, Axes, HEADER_HEIGHT, UNITS, value_range};
use super::legend::{legend_height, method_row};
use super::plane::Plane;
use super::style::{Looks, dashes};
use crate::{Error, EvalRow, Method, Run};

const SIZE: (u32, u32) = (920, 640);

/// What training curves are drawn against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Tokens trained on, generation included.
    Tokens,
    /// Seconds of training, evaluations not counted. Runs without metrics are left out.
    Seconds,
}

/// Where a panel's numbers come from.
enum Source {
    Evals(fn(&EvalRow) -> f64),
    /// The first of these columns that the run's metrics have.
    Metrics(&'static [&'static str]),
}

struct Panel {
    title: &'static str,
    y_title: &'static str,
    source: Source,
}

const PANELS: [Panel; 6] = [
    Panel { title: "Reward", y_title: "mean true reward r*", source: Source::Evals(|row| row.score) },
    Panel { title: "Sequence KL", y_title: "nats", source: Source::Evals(|row| row.sequence_kl) },
    Panel { title: "Entropy (PPO)", y_title: "nats", source: Source::Metrics(&["objective/entropy"]) },
    Panel { title: "Policy ratio (PPO)", y_title: "mean", source: Source::Metrics(&["val/ratio"]) },
    Panel { title: "Reward margin (pairs)", y_title: "mean", source: Source::Metrics(&["rewards/margins"]) },
    Panel { title: "Accuracy (pairs)", y_title: "share", source: Source::Metrics(&["rewards/accuracies"]) },
];

/// A run's line in a panel.
struct Curve {
    method: Method,
    points: Vec<(f64, f64)>,
}

/// Draws small multiples of reward, sequence KL, PPO's entropy and ratio and the margins and accuracy of
/// methods on pairs: a line per run in the colour of its method, with the method's marker at its end. Numbers
/// of single batches are averaged over a twentieth of the run.
///
/// Values that are not finite leave a gap to the next. Returns SVG.
///
/// # Errors
/// [`Error::Figure`] if plotters fails.
pub fn training_figure(runs: &[Run], clock: Clock, subtitle: &str) -> Result<String, Error> {
    let methods = Method::trained(runs.iter().filter_map(method_of));
    let looks = Looks::of(&methods);
    canvas::svg(SIZE, |root| {
        let (header, below) = root.split_vertically(HEADER_HEIGHT * UNITS);
        let height = SIZE.1 as i32 - HEADER_HEIGHT - legend_height(&methods, SIZE.0);
        let (panels, legend) = below.split_vertically(height * UNITS);
        canvas::header(&header, "Training curves", subtitle)?;
        for (panel, area) in PANELS.iter().zip(panels.split_evenly((2, 3))) {
            draw_panel(root, &area, panel, (runs, &looks), clock)?;
        }
        method_row(&legend, &looks, &methods, SIZE.0)
    })
}

fn method_of(run: &Run) -> Option<Method> {
    run.evals.first().map(|eval| eval.method).filter(|method| method.is_trained())
}

fn curve(run: &Run, source: &Source, clock: Clock) -> Option<Curve> {
    let method = method_of(run)?;
    let points = match source {
        Source::Evals(value) => {
            let time = |eval: &EvalRow| match clock {
                Clock::Tokens => Some(eval.tokens as f64),
                Clock::Seconds => run.seconds(eval.step),
            };
            run.evals.iter().filter_map(|eval| Some((time(eval)?, value(eval)))).collect()
        }
        Source::Metrics(columns) => {
            let values = columns.iter().find_map(|column| run.metrics.column(column))?;
            let time = match clock {
                Clock::Tokens => "num_tokens",
                Clock::Seconds => "seconds",
            };
            smoothed(&run.metrics.column(time)?.zip(values).collect::<Vec<_>>())
        }
    };
    let points: Vec<(f64, f64)> = points.into_iter().filter(|point| point.1.is_finite()).collect();
    (!points.is_empty()).then_some(Curve { method, points })
}

/// Means over up to 20 stretches.
pub(super) fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let finite: Vec<(f64, f64)> = points.iter().copied().filter(|point| point.1.is_finite()).collect();
    let stretch = finite.len().div_ceil(20).max(1);
    let mean = |points: &[(f64, f64)]| {
        let total = points.iter().map(|point| point.1).sum::<f64>();
        (points[points.len() - 1].0, total / points.len() as f64)
    };
    finite.chunks(stretch).map(mean).collect()
}

fn draw_panel<'a>(
    root: &Area<'a>,
    area: &Area<'a>,
    panel: &Panel,
    (runs, looks): (&[Run], &Looks),
    clock: Clock,
) -> Result<(), Error> {
    let curves: Vec<Curve> = runs.iter().filter_map(|run| curve(run, &panel.source, clock)).collect();
    let points = || curves.iter().flat_map(|curve| curve.points.iter());
    let most = points().map(|point| point.0).fold(0.0, f64::max);
    let (unit, x_title) = match clock {
        Clock::Tokens if most >= 2e6 => (1e6, "tokens, millions"),
        Clock::Tokens => (1e3, "tokens, thousands"),
        Clock::Seconds if most >= 600.0 => (60.0, "minutes of training"),
        Clock::Seconds => (1.0, "seconds of training"),
    };
    let axes = Axes {
        title: panel.title,
        x_title,
        y_title: panel.y_title,
        x: (0.0, if most > 0.0 { most / unit } else { 1.0 }),
        y: value_range(points().map(|point| point.1)),
        label_size: 11,
    };
    let plane = Plane::new(root, area, &axes)?;
    let scaled = |point: &(f64, f64)| (point.0 / unit, point.1);
    for curve in &curves {
        let points: Vec<(f64, f64)> = curve.points.iter().map(scaled).collect();
        plane.stroke(&points, looks.of_method(curve.method).0.mix(0.65), 3, dashes(curve.method))?;
    }
    // The ends are drawn over all lines.
    for curve in &curves {
        let (color, shape) = looks.of_method(curve.method);
        plane.mark(scaled(&curve.points[curve.points.len() - 1]), shape, 7, color.to_rgba(), true)?;
    }
    Ok(())
}
