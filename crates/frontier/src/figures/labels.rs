//! Envelopes of one method under several kinds of labels.

use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use super::canvas::{self, Area, Axes, HEADER_HEIGHT, UNITS, dashed, line, marker, text, value_range};
use super::plane::Plane;
use super::style::{BLACK, BLUE, GREY, Marker, VERMILLION};
use crate::{Error, MethodAt, OptimumPoint};

const SIZE: (u32, u32) = (760, 460);
const LEGEND_HEIGHT: i32 = 34;
const FARTHEST: f64 = 5.0;

/// Told apart by colour and by marker; more series than these share them in turn.
const LOOKS: [(RGBColor, Marker); 5] = [
    (BLUE, Marker::Circle),
    (VERMILLION, Marker::Square),
    (RGBColor(0, 158, 115), Marker::Triangle),
    (RGBColor(204, 121, 167), Marker::Diamond),
    (GREY, Marker::TriangleDown),
];

/// Draws mean reward under the upper envelope against KL, a line on its 95% band for each of `series`, with
/// the reweighted optimum broken above them; all start at the reward `start`. Returns SVG.
///
/// # Errors
/// [`Error::Figure`] if plotters fails.
pub fn labels_figure(
    title: &str,
    series: &[(String, Vec<MethodAt>)],
    start: f64,
    optimum: &[OptimumPoint],
    subtitle: &str,
) -> Result<String, Error> {
    let near = |at: &&MethodAt| at.kl <= FARTHEST;
    let ats = || series.iter().flat_map(|(_, curve)| curve.iter().filter(near));
    let right = ats().map(|at| at.kl).fold(1.0, f64::max);
    let best: Vec<(f64, f64)> = optimum.iter().map(|p| (p.sequence_kl, p.reward)).collect();
    let best_near = best.iter().filter(|point| point.0 <= right).map(|point| point.1);
    let values = ats().flat_map(|at| [at.envelope.interval.0, at.envelope.interval.1]).chain(best_near);
    let axes = Axes {
        title: "",
        x_title: "sequence KL(π ‖ π_ref), nats",
        y_title: "mean true reward r*",
        x: (0.0, right * 1.02),
        y: value_range(values.chain([start])),
        label_size: 12,
    };
    canvas::svg(SIZE, |root| {
        let (header, below) = root.split_vertically(HEADER_HEIGHT * UNITS);
        let (area, footer) = below.split_vertically((SIZE.1 as i32 - HEADER_HEIGHT - LEGEND_HEIGHT) * UNITS);
        canvas::header(&header, title, subtitle)?;
        let plane = Plane::new(root, &area, &axes)?;
        plane.dashed(&best, BLACK.to_rgba(), 4, (14, 8))?;
        for ((_, curve), (color, shape)) in series.iter().zip(LOOKS.iter().cycle()) {
            let points: Vec<&MethodAt> = curve.iter().filter(near).collect();
            let band = points.iter().map(|at| (at.kl, at.envelope.interval));
            plane.band(
                &std::iter::once((0.0, (start, start))).chain(band).collect::<Vec<_>>(),
                color.mix(0.13),
            )?;
            let means = points.iter().map(|at| (at.kl, at.envelope.value));
            let means: Vec<(f64, f64)> = std::iter::once((0.0, start)).chain(means).collect();
            plane.line(&means, color.to_rgba(), 5)?;
            plane.mark(means[means.len() - 1], *shape, 10, color.to_rgba(), true)?;
        }
        legend(&footer, series)
    })
}

fn legend(area: &Area<'_>, series: &[(String, Vec<MethodAt>)]) -> Result<(), Error> {
    let (mut x, y) = (20 * UNITS, 15 * UNITS);
    for ((name, _), (color, shape)) in series.iter().zip(LOOKS.iter().cycle()) {
        line(area, vec![(x, y), (x + 26 * UNITS, y)], color.to_rgba(), 4)?;
        marker(area, (x + 26 * UNITS, y), *shape, 8, color.to_rgba(), true)?;
        text(area, (x + 38 * UNITS, y), name, 12, BLACK, (HPos::Left, VPos::Center), false)?;
        x += (60 + 7 * name.chars().count() as i32) * UNITS;
    }
    dashed(area, vec![(x, y), (x + 34 * UNITS, y)], BLACK.to_rgba(), 4, (14, 8))?;
    text(area, (x + 42 * UNITS, y), "reweighted optimum", 12, BLACK, (HPos::Left, VPos::Center), false)
}
