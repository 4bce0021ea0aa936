//! Training curves: reward, KL, length and the second judge against tokens.

use plotters::style::Color;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{self, Area, Axes, UNITS, clip, line, marker, text};
use super::style::{BLACK, GREY, look};
use crate::{Error, EvalRow, FrontierRow, Method};

const SIZE: (u32, u32) = (920, 640);
const HEADER_HEIGHT: i32 = 52;
const LEGEND_HEIGHT: i32 = 34;

struct Panel {
    title: &'static str,
    y_title: &'static str,
    column: fn(&EvalRow) -> f64,
}

const PANELS: [Panel; 4] = [
    Panel { title: "Reward", y_title: "mean true reward r*", column: |row| row.score },
    Panel { title: "Sequence KL", y_title: "KL(π ‖ π_ref), nats", column: |row| row.sequence_kl },
    Panel { title: "Second judge", y_title: "mean score", column: |row| row.judge },
    Panel { title: "Response length", y_title: "tokens", column: |row| row.length },
];

/// Draws small multiples of reward, sequence KL, second judge and response length against the tokens trained
/// on: a line per run in the colour of its method, with the method's marker at its end.
///
/// Values that are not finite leave a gap to the next. Returns SVG.
///
/// # Errors
/// [`Error::Figure`] if plotters fails.
pub fn training_figure(rows: &[FrontierRow], subtitle: &str) -> Result<String, Error> {
    let runs = runs(rows);
    canvas::svg(SIZE, |root| {
        let (header, below) = root.split_vertically(HEADER_HEIGHT * UNITS);
        let (panels, legend_area) =
            below.split_vertically((SIZE.1 as i32 - HEADER_HEIGHT - LEGEND_HEIGHT) * UNITS);
        let left = (HPos::Left, VPos::Top);
        text(&header, (14 * UNITS, 9 * UNITS), "Training curves", 17, BLACK, left, true)?;
        text(&header, (14 * UNITS, 33 * UNITS), subtitle, 12, GREY, left, false)?;
        for (panel, area) in PANELS.iter().zip(panels.split_evenly((2, 2))) {
            draw_panel(root, &area, panel, &runs)?;
        }
        legend(&legend_area, &runs)
    })
}

/// The rows of each run of a trained method, by step; runs in the order of their first row.
fn runs(rows: &[FrontierRow]) -> Vec<(&str, Vec<&EvalRow>)> {
    let mut runs: Vec<(&str, Vec<&EvalRow>)> = Vec::new();
    for row in rows.iter().filter(|row| row.eval.method.is_trained()) {
        match runs.iter_mut().find(|(run, _)| *run == row.run) {
            Some((_, evals)) => evals.push(&row.eval),
            None => runs.push((&row.run, vec![&row.eval])),
        }
    }
    for (_, evals) in &mut runs {
        evals.sort_by_key(|eval| eval.step);
    }
    runs
}

fn draw_panel<'a>(
    root: &Area<'a>,
    area: &Area<'a>,
    panel: &Panel,
    runs: &[(&str, Vec<&EvalRow>)],
) -> Result<(), Error> {
    let evals = || runs.iter().flat_map(|(_, evals)| evals.iter().copied());
    let most = evals().map(|eval| eval.tokens).max().unwrap_or_default();
    let (unit, unit_name) = if most >= 2_000_000 { (1e6, "millions") } else { (1e3, "thousands") };
    let right = if most == 0 { 1.0 } else { most as f64 / unit };
    let y = value_range(evals().map(panel.column));
    let axes = Axes {
        title: panel.title,
        x_title: &format!("tokens trained on, {unit_name}"),
        y_title: panel.y_title,
        x: (0.0, right),
        y,
        label_size: 11,
    };
    let chart = canvas::chart(area, &axes)?;
    for (_, evals) in runs {
        let Some(first) = evals.first() else { continue };
        let points = evals.iter().map(|eval| (eval.tokens as f64 / unit, (panel.column)(eval)));
        let finite: Vec<(f64, f64)> = points.filter(|point| point.1.is_finite()).collect();
        let positions: Vec<_> =
            clip(&finite, axes.x, y).iter().map(|point| chart.backend_coord(point)).collect();
        let (color, shape) = look(first.method);
        let end = positions.last().copied();
        line(root, positions, color.mix(0.6), 3)?;
        if let Some(end) = end {
            marker(root, end, shape, 7, color.to_rgba(), true)?;
        }
    }
    Ok(())
}

/// The range of finite values with a margin of 5%; [0, 1] if there is none.
fn value_range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let ends = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if ends.0 > ends.1 {
        return (0.0, 1.0);
    }
    let margin = ((ends.1 - ends.0) * 0.05).max(1e-3);
    (ends.0 - margin, ends.1 + margin)
}

fn legend(area: &Area<'_>, runs: &[(&str, Vec<&EvalRow>)]) -> Result<(), Error> {
    let shown =
        |method: Method| runs.iter().any(|(_, evals)| evals.first().is_some_and(|e| e.method == method));
    let (mut x, y) = (20 * UNITS, 15 * UNITS);
    for method in Method::TRAINED.into_iter().filter(|method| shown(*method)) {
        let (color, shape) = look(method);
        line(area, vec![(x, y), (x + 26 * UNITS, y)], color.to_rgba(), 4)?;
        marker(area, (x + 26 * UNITS, y), shape, 8, color.to_rgba(), true)?;
        let at = (x + 38 * UNITS, y);
        text(area, at, method.label(), 12, BLACK, (HPos::Left, VPos::Center), false)?;
        x += (68 + 7 * method.label().len() as i32) * UNITS;
    }
    Ok(())
}
