//! Predicted against measured shares of the optimum's gain.

use plotters::style::Color;

use super::canvas::{self, Axes, HEADER_HEIGHT, UNITS, line};
use super::legend::{legend_height, marker_row};
use super::plane::Plane;
use super::style::{GREY, Looks};
use crate::law::LawPoint;
use crate::{Error, Method};

const SIZE: (u32, u32) = (720, 620);

/// Draws the last checkpoint of every run: the share of the optimum's gain that its accuracy on held-out
/// pairs foretells, against the share that it earns, with one standard error up and down; on the diagonal
/// they are equal. Returns SVG, or `None` without points.
///
/// # Errors
/// [`Error::Figure`] if plotters fails.
pub fn law_figure(points: &[LawPoint], subtitle: &str) -> Result<Option<String>, Error> {
    if points.is_empty() {
        return Ok(None);
    }
    let methods = Method::trained(points.iter().map(|point| point.method));
    let looks = Looks::of(&methods);
    let xs = || points.iter().map(|point| point.predicted);
    let ys = || points.iter().flat_map(|p| [p.measured - p.measured_se, p.measured + p.measured_se]);
    let range = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values
            .filter(|value| value.is_finite())
            .fold((0.5_f64, 1.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        // A run that is far off must not squeeze the rest.
        (((low - 0.02) * 10.0).floor().max(-5.0) / 10.0, (high + 0.02).min(1.5))
    };
    let (x, y) = (range(&mut xs()), range(&mut ys()));
    let legend = legend_height(&methods, SIZE.0);
    let svg = canvas::svg(SIZE, |root| {
        let (header, below) = root.split_vertically(HEADER_HEIGHT * UNITS);
        let (area, footer) = below.split_vertically((SIZE.1 as i32 - HEADER_HEIGHT - legend) * UNITS);
        canvas::header(&header, "Share of the optimum's gain, predicted and measured", subtitle)?;
        let axes = Axes {
            title: "",
            x_title: "predicted from held-out pairs: sin(π (accuracy − 1/2))",
            y_title: "measured at the end of the run",
            x,
            y,
            label_size: 13,
        };
        let plane = Plane::new(root, &area, &axes)?;
        let (from, to) = (x.0.max(y.0), x.1.min(y.1));
        plane.dashed(&[(from, from), (to, to)], GREY.to_rgba(), 4, (14, 8))?;
        for point in points {
            let (color, shape) = looks.of_method(point.method);
            let at = |y_at: f64| plane.position((point.predicted, y_at.clamp(y.0, y.1)));
            if plane.shows((point.predicted, point.measured)) {
                let ends = [point.measured - point.measured_se, point.measured + point.measured_se];
                line(root, ends.map(at).to_vec(), color.mix(0.6), 3)?;
            }
            plane.mark((point.predicted, point.measured), shape, 9, color.mix(0.85), true)?;
        }
        marker_row(&footer, &looks, &methods, SIZE.0)
    })?;
    Ok(Some(svg))
}
