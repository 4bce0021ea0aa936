//! What drifts as a policy leaves the reference: length, and what the second opinion thinks.

use plotters::style::Color;

use super::canvas::{self, Area, Axes, HEADER_HEIGHT, UNITS, value_range};
use super::legend::{legend_height, method_row};
use super::plane::Plane;
use super::style::{GREY, Looks};
use crate::{Error, EvalRow, Method, Run};

const SIZE: (u32, u32) = (920, 380);
/// Beyond this KL, in nats, points are not shown.
const FARTHEST: f64 = 10.0;

struct Panel {
    title: &'static str,
    y_title: &'static str,
    value: fn(&EvalRow) -> f64,
    /// Whether 0 is a level to mark and to show.
    zero: bool,
}

const PANELS: [Panel; 2] = [
    Panel { title: "Response length", y_title: "tokens", value: |row| row.length, zero: false },
    Panel {
        title: "Second opinion less true reward",
        y_title: "mean difference",
        value: |row| row.judge - row.score,
        zero: true,
    },
];

/// Draws every checkpoint's response length, and the second opinion's mean score less the true reward,
/// against the sequence KL up to 10 nats. A policy that deceives the true reward's classifier alone falls in
/// the latter. Returns SVG.
///
/// # Errors
/// [`Error::Figure`] if plotters fails.
pub fn drift_figure(runs: &[Run], subtitle: &str) -> Result<String, Error> {
    let evals: Vec<&EvalRow> = runs
        .iter()
        .flat_map(|run| &run.evals)
        .filter(|eval| {
            eval.method.is_trained() && eval.sequence_kl.is_finite() && eval.sequence_kl <= FARTHEST
        })
        .collect();
    let methods = Run::methods(runs);
    let looks = Looks::of(&methods);
    let shown = |method: &Method| evals.iter().any(|eval| eval.method == *method);
    let shown: Vec<Method> = methods.into_iter().filter(shown).collect();
    canvas::svg(SIZE, |root| {
        let (header, below) = root.split_vertically(HEADER_HEIGHT * UNITS);
        let height = SIZE.1 as i32 - HEADER_HEIGHT - legend_height(&shown, SIZE.0);
        let (panels, legend) = below.split_vertically(height * UNITS);
        canvas::header(&header, "What drifts on the way", subtitle)?;
        for (panel, area) in PANELS.iter().zip(panels.split_evenly((1, 2))) {
            draw_panel(root, &area, panel, &evals, &looks)?;
        }
        method_row(&legend, &looks, &shown, SIZE.0)
    })
}

fn draw_panel<'a>(
    root: &Area<'a>,
    area: &Area<'a>,
    panel: &Panel,
    evals: &[&EvalRow],
    looks: &Looks,
) -> Result<(), Error> {
    let farthest = evals.iter().map(|eval| eval.sequence_kl).fold(1.0, f64::max);
    let level = panel.zero.then_some(0.0);
    let axes = Axes {
        title: panel.title,
        x_title: "sequence KL(π ‖ π_ref), nats",
        y_title: panel.y_title,
        x: (0.0, farthest * 1.02),
        y: value_range(evals.iter().map(|eval| (panel.value)(eval)).chain(level)),
        label_size: 12,
    };
    let plane = Plane::new(root, area, &axes)?;
    if panel.zero {
        plane.dashed(&[(0.0, 0.0), (axes.x.1, 0.0)], GREY.to_rgba(), 3, (3, 7))?;
    }
    for eval in evals {
        let (color, shape) = looks.of_method(eval.method);
        plane.mark((eval.sequence_kl.max(0.0), (panel.value)(eval)), shape, 7, color.mix(0.7), true)?;
    }
    Ok(())
}
