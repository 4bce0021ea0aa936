//! What happens without the KL penalty.

use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use super::canvas::{self, Area, Axes, HEADER_HEIGHT, UNITS, line, marker, text, value_range};
use super::plane::Plane;
use super::style::{BLACK, GREY, Marker, VERMILLION};
use crate::{Error, EvalRow, Method, Run};

const SIZE: (u32, u32) = (920, 600);
const LEGEND_HEIGHT: i32 = 34;

struct Panel {
    title: &'static str,
    y_title: &'static str,
    value: fn(&EvalRow) -> f64,
}

const PANELS: [Panel; 6] = [
    Panel { title: "True reward", y_title: "mean r*", value: |row| row.score },
    Panel { title: "Learned reward", y_title: "s.d. on reference samples", value: |row| row.learned },
    Panel { title: "Second opinion", y_title: "mean p(positive)", value: |row| row.judge },
    Panel { title: "Sequence KL", y_title: "nats", value: |row| row.sequence_kl },
    Panel { title: "Distinct bigrams", y_title: "share", value: |row| row.distinct_2 },
    Panel { title: "Response length", y_title: "tokens", value: |row| row.length },
];

/// Colour, marker and label of runs without and with the penalty.
const LOOKS: [(RGBColor, Marker, &str); 2] = [
    (VERMILLION, Marker::Square, "PPO without a KL penalty"),
    (GREY, Marker::Circle, "PPO at its target KLs"),
];

/// Draws, against the iteration, the true reward, the learned reward, the second opinion, the KL, the
/// share of distinct bigrams and the length of PPO's responses: runs whose `kl_coef` is 0 beside those
/// that steer to a target KL. `None` if no run is without the penalty. Values that are not finite
/// leave a gap. Returns SVG.
///
/// # Errors
/// [`Error::Figure`] if plotters fails.
pub fn collapse_figure(runs: &[Run], subtitle: &str) -> Result<Option<String>, Error> {
    let of_ppo = |run: &&Run| run.evals.first().is_some_and(|eval| eval.method == Method::PPO);
    let (free, bound): (Vec<&Run>, Vec<&Run>) =
        runs.iter().filter(of_ppo).partition(|run| run.without_penalty());
    if free.is_empty() {
        return Ok(None);
    }
    // What is free of the penalty is drawn last, on top.
    let sets = [(bound, LOOKS[1]), (free, LOOKS[0])];
    let svg = canvas::svg(SIZE, |root| {
        let (header, below) = root.split_vertically(HEADER_HEIGHT * UNITS);
        let height = SIZE.1 as i32 - HEADER_HEIGHT - LEGEND_HEIGHT;
        let (panels, footer) = below.split_vertically(height * UNITS);
        canvas::header(&header, "What the KL penalty is for", subtitle)?;
        for (panel, area) in PANELS.iter().zip(panels.split_evenly((2, 3))) {
            draw_panel(root, &area, panel, &sets)?;
        }
        legend(&footer)
    })?;
    Ok(Some(svg))
}

type Sets<'a> = [(Vec<&'a Run>, (RGBColor, Marker, &'static str)); 2];

fn draw_panel<'a>(root: &Area<'a>, area: &Area<'a>, panel: &Panel, sets: &Sets<'_>) -> Result<(), Error> {
    let evals = || sets.iter().flat_map(|(runs, _)| runs).flat_map(|run| &run.evals);
    let last = evals().map(|eval| eval.step).max().unwrap_or_default();
    let axes = Axes {
        title: panel.title,
        x_title: "iterations",
        y_title: panel.y_title,
        x: (0.0, last.max(1) as f64 * 1.02),
        y: value_range(evals().map(panel.value)),
        label_size: 11,
    };
    let plane = Plane::new(root, area, &axes)?;
    for (runs, (color, shape, _)) in sets {
        for run in runs {
            let points = run.evals.iter().map(|eval| (eval.step as f64, (panel.value)(eval)));
            let points: Vec<(f64, f64)> = points.filter(|point| point.1.is_finite()).collect();
            if points.is_empty() {
                continue;
            }
            plane.line(&points, color.mix(0.65), 3)?;
            for point in points {
                plane.mark(point, *shape, 6, color.mix(0.8), true)?;
            }
        }
    }
    Ok(())
}

fn legend(area: &Area<'_>) -> Result<(), Error> {
    let (mut x, y) = (20 * UNITS, 15 * UNITS);
    for (color, shape, label) in LOOKS {
        line(area, vec![(x, y), (x + 26 * UNITS, y)], color.to_rgba(), 4)?;
        marker(area, (x + 13 * UNITS, y), shape, 8, color.to_rgba(), true)?;
        text(area, (x + 34 * UNITS, y), label, 12, BLACK, (HPos::Left, VPos::Center), false)?;
        x += 230 * UNITS;
    }
    Ok(())
}
