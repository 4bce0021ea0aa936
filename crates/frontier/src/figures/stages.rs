//! Training curves of the stages: the reference model and the reward model.

use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use super::canvas::{self, Area, Axes, HEADER_HEIGHT, UNITS, line, marker, text, value_range};
use super::plane::Plane;
use super::style::{BLACK, BLUE, Marker, VERMILLION};
use super::training::smoothed;
use crate::{Error, Metrics};

const SIZE: (u32, u32) = (920, 340);
const LEGEND_HEIGHT: i32 = 34;

/// A panel: a column of what was trained on, and one of what was held out.
struct Panel {
    title: &'static str,
    y_title: &'static str,
    trained: &'static str,
    held_out: &'static str,
}

const OF_REFERENCE: [Panel; 1] = [Panel {
    title: "Reference model: loss",
    y_title: "nats per token",
    trained: "loss",
    held_out: "eval_loss",
}];

const OF_REWARD_MODEL: [Panel; 2] = [
    Panel { title: "Reward model: loss", y_title: "nats per pair", trained: "loss", held_out: "eval_loss" },
    Panel {
        title: "Reward model: accuracy",
        y_title: "share of pairs",
        trained: "accuracy",
        held_out: "eval_accuracy",
    },
];

/// Draws the loss of the reference's training and the reward model's, and the latter's accuracy, against the
/// step, where they were recorded: what was trained on as a line, averaged over a twentieth of the training,
/// and what was held out as marks. `None` if nothing was recorded. Returns SVG.
///
/// # Errors
/// [`Error::Figure`] if plotters fails.
pub fn stages_figure(
    reference: Option<&Metrics>,
    reward_model: Option<&Metrics>,
    subtitle: &str,
) -> Result<Option<String>, Error> {
    let of_reference =
        reference.into_iter().flat_map(|metrics| OF_REFERENCE.iter().map(move |p| (p, metrics)));
    let of_reward_model =
        reward_model.into_iter().flat_map(|metrics| OF_REWARD_MODEL.iter().map(move |p| (p, metrics)));
    let recorded = |(panel, metrics): &(&Panel, &Metrics)| metrics.column(panel.trained).is_some();
    let panels: Vec<(&Panel, &Metrics)> = of_reference.chain(of_reward_model).filter(recorded).collect();
    if panels.is_empty() {
        return Ok(None);
    }
    let svg = canvas::svg(SIZE, |root| {
        let (header, below) = root.split_vertically(HEADER_HEIGHT * UNITS);
        let height = SIZE.1 as i32 - HEADER_HEIGHT - LEGEND_HEIGHT;
        let (area, footer) = below.split_vertically(height * UNITS);
        canvas::header(&header, "Training of the models that all runs share", subtitle)?;
        for ((panel, metrics), area) in panels.iter().zip(area.split_evenly((1, panels.len()))) {
            draw_panel(root, &area, panel, metrics)?;
        }
        legend(&footer)
    })?;
    Ok(Some(svg))
}

/// (step, value) of a column, where both are finite.
fn points(metrics: &Metrics, column: &str) -> Vec<(f64, f64)> {
    let (Some(steps), Some(values)) = (metrics.column("step"), metrics.column(column)) else {
        return Vec::new();
    };
    steps.zip(values).filter(|(step, value)| step.is_finite() && value.is_finite()).collect()
}

fn draw_panel<'a>(root: &Area<'a>, area: &Area<'a>, panel: &Panel, metrics: &Metrics) -> Result<(), Error> {
    let (trained, held_out) = (smoothed(&points(metrics, panel.trained)), points(metrics, panel.held_out));
    let all = || trained.iter().chain(&held_out);
    let axes = Axes {
        title: panel.title,
        x_title: "steps",
        y_title: panel.y_title,
        x: (0.0, all().map(|point| point.0).fold(1.0, f64::max)),
        y: value_range(all().map(|point| point.1)),
        label_size: 11,
    };
    let plane = Plane::new(root, area, &axes)?;
    plane.line(&trained, BLUE.to_rgba(), 4)?;
    for point in held_out {
        plane.mark(point, Marker::Square, 7, VERMILLION.to_rgba(), true)?;
    }
    Ok(())
}

fn legend(area: &Area<'_>) -> Result<(), Error> {
    let (mut x, y) = (20 * UNITS, 15 * UNITS);
    let rows: [(RGBColor, Option<Marker>, &str); 2] =
        [(BLUE, None, "trained on"), (VERMILLION, Some(Marker::Square), "held out")];
    for (color, shape, label) in rows {
        match shape {
            Some(shape) => marker(area, (x + 13 * UNITS, y), shape, 7, color.to_rgba(), true)?,
            None => line(area, vec![(x, y), (x + 26 * UNITS, y)], color.to_rgba(), 4)?,
        }
        text(area, (x + 34 * UNITS, y), label, 12, BLACK, (HPos::Left, VPos::Center), false)?;
        x += 130 * UNITS;
    }
    Ok(())
}
