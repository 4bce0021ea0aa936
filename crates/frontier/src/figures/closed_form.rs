//! The closed form on a space that can be listed: what its normaliser costs, and how near training comes.

use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use super::canvas::{self, Area, Axes, HEADER_HEIGHT, Scale, UNITS, line, marker, text};
use super::plane::Plane;
use super::style::{BLACK, GREY, Looks, Marker};
use crate::{Error, Method};

const SIZE: (u32, u32) = (920, 472);
const LEGEND_HEIGHT: i32 = 88;
/// The looks of the betas, which are not those of DPO and PPO beside them.
const LOOKS: [(RGBColor, Marker); 3] = [
    (BLACK, Marker::Circle),
    (RGBColor(0, 158, 115), Marker::Triangle),
    (RGBColor(204, 121, 167), Marker::Diamond),
];

/// Estimates of Z(x) from samples of the reference, at one beta.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionCurve {
    /// The name in the legend.
    pub label: String,
    /// Samples and the relative error measured.
    pub measured: Vec<(f64, f64)>,
    /// Samples and the relative error to expect.
    pub expected: Vec<(f64, f64)>,
}

/// A policy on its way to the optimum.
#[derive(Clone, Debug, PartialEq)]
pub struct WalkCurve {
    /// What trains it.
    pub method: Method,
    /// Optimiser steps and the KL from the optimum that is left, in nats.
    pub points: Vec<(f64, f64)>,
}

/// What the figure shows.
#[derive(Clone, Debug, PartialEq)]
pub struct ClosedFormFigure<'a> {
    /// One curve for each beta; the legend has room for three.
    pub partitions: Vec<PartitionCurve>,
    /// One curve for each method.
    pub walks: Vec<WalkCurve>,
    /// The line below the title.
    pub subtitle: &'a str,
}

/// Draws the error of Z against samples, both as logarithms, with lines for what is to be expected and
/// markers for what was measured; and the logarithm of the distance to the optimum against optimiser steps,
/// with what is left in the legend. Returns SVG.
///
/// Points without a positive finite value are left out.
///
/// # Errors
/// [`Error::Figure`] if plotters fails.
pub fn closed_form_figure(figure: &ClosedFormFigure<'_>) -> Result<String, Error> {
    let looks = Looks::of(&Method::trained(figure.walks.iter().map(|walk| walk.method)));
    canvas::svg(SIZE, |root| {
        let (header, below) = root.split_vertically(HEADER_HEIGHT * UNITS);
        let height = SIZE.1 as i32 - HEADER_HEIGHT - LEGEND_HEIGHT;
        let (panels, legends) = below.split_vertically(height * UNITS);
        canvas::header(&header, "The closed form: what Z costs, and who gets to π*", figure.subtitle)?;
        let (areas, legends) = (panels.split_evenly((1, 2)), legends.split_evenly((1, 2)));
        partition_panel(root, &areas[0], &figure.partitions)?;
        let partitions = figure.partitions.iter().map(|curve| curve.label.clone());
        let rows = partitions.zip(LOOKS.into_iter().cycle());
        legend(&legends[0], "lines: what to expect; marks: measured", rows)?;
        walk_panel(root, &areas[1], &figure.walks, &looks)?;
        let rows = figure.walks.iter().map(|walk| (left(walk), looks.of_method(walk.method)));
        legend(&legends[1], "both start from π_ref; KL by enumeration", rows)
    })
}

/// Decimal logarithms of the values that have one.
fn decades(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let real = points.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0 && x.is_finite() && y.is_finite());
    real.map(|(x, y)| (x.log10(), y.log10())).collect()
}

/// Whole decades around the values; [-1, 0] if there is none.
fn whole_decades(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low > high { (-1.0, 0.0) } else { (low.floor(), high.ceil().max(low.floor() + 1.0)) }
}

fn partition_panel<'a>(root: &Area<'a>, area: &Area<'a>, partitions: &[PartitionCurve]) -> Result<(), Error> {
    let curves: Vec<[Vec<(f64, f64)>; 2]> =
        partitions.iter().map(|curve| [decades(&curve.expected), decades(&curve.measured)]).collect();
    let points = || curves.iter().flatten().flatten();
    let x = whole_decades(points().map(|point| point.0));
    let axes = Axes {
        title: "Z(x) from samples of the reference",
        x_title: "samples",
        y_title: "relative error of Z",
        x: (x.0 - 0.15, x.1 + 0.15),
        y: whole_decades(points().map(|point| point.1)),
        label_size: 12,
    };
    let plane = Plane::scaled(root, area, &axes, (Scale::Decades, Scale::Decades))?;
    plane.dashed(&[(axes.x.0, 0.0), (axes.x.1, 0.0)], GREY.to_rgba(), 3, (3, 7))?;
    for ([expected, measured], (color, shape)) in curves.iter().zip(LOOKS.into_iter().cycle()) {
        plane.line(expected, color.to_rgba(), 3)?;
        for point in measured {
            plane.mark(*point, shape, 9, color.to_rgba(), true)?;
        }
    }
    Ok(())
}

fn walk_panel<'a>(root: &Area<'a>, area: &Area<'a>, walks: &[WalkCurve], looks: &Looks) -> Result<(), Error> {
    let curves: Vec<Vec<(f64, f64)>> = walks
        .iter()
        .map(|walk| {
            let real =
                walk.points.iter().filter(|(x, left)| x.is_finite() && *left > 0.0 && left.is_finite());
            real.map(|(step, left)| (*step, left.log10())).collect()
        })
        .collect();
    let points = || curves.iter().flatten();
    let right = points().map(|point| point.0).fold(1.0, f64::max);
    let axes = Axes {
        title: "Distance to the optimum",
        x_title: "optimiser steps",
        y_title: "KL(π ‖ π*), nats",
        x: (0.0, right * 1.03),
        y: whole_decades(points().map(|point| point.1)),
        label_size: 12,
    };
    let plane = Plane::scaled(root, area, &axes, (Scale::Linear, Scale::Decades))?;
    for (curve, walk) in curves.iter().zip(walks) {
        let Some(&last) = curve.last() else { continue };
        let (color, shape) = looks.of_method(walk.method);
        plane.line(curve, color.to_rgba(), 4)?;
        plane.mark(last, shape, 9, color.to_rgba(), true)?;
    }
    Ok(())
}

/// A walk's name and the distance at its end.
fn left(walk: &WalkCurve) -> String {
    let name = walk.method.label();
    match walk.points.iter().rfind(|(_, left)| left.is_finite()) {
        Some((_, left)) if left.abs() < 1e-3 => format!("{name}: {left:.1e} nats left"),
        Some((_, left)) => format!("{name}: {left:.4} nats left"),
        None => name.to_owned(),
    }
}

/// Rows of labels with their looks, and a note below.
fn legend(
    area: &Area<'_>,
    note: &str,
    rows: impl Iterator<Item = (String, (RGBColor, Marker))>,
) -> Result<(), Error> {
    let anchor = (HPos::Left, VPos::Center);
    let (x, mut y) = (20 * UNITS, 14 * UNITS);
    for (label, (color, shape)) in rows {
        line(area, vec![(x, y), (x + 30 * UNITS, y)], color.to_rgba(), 4)?;
        marker(area, (x + 15 * UNITS, y), shape, 9, color.to_rgba(), true)?;
        text(area, (x + 38 * UNITS, y), &label, 12, BLACK, anchor, false)?;
        y += 20 * UNITS;
    }
    text(area, (x, y), note, 12, GREY, anchor, false)
}
