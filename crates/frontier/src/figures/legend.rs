//! The legend of the frontier figure.

use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use super::canvas::{Area, HEADER_HEIGHT, Position, UNITS, dashed, line, marker, text};
use super::style::{BLACK, GREY, Looks, Marker, dashes, paper_look};
use crate::records::paper::PaperSeries;
use crate::statistics::best_of_n::BestOfNPoint;
use crate::{Error, EvalRow, Method, OptimumPoint, on_frontier};

/// The legend's rows, top to bottom, in a column of its own.
struct Legend<'a, 'b> {
    area: &'a Area<'b>,
    y: i32,
}

impl Legend<'_, '_> {
    const SAMPLE: (i32, i32) = (6 * UNITS, 40 * UNITS);

    fn row(
        &mut self,
        label: &str,
        sample: impl FnOnce(&Area<'_>, i32) -> Result<(), Error>,
    ) -> Result<(), Error> {
        sample(self.area, self.y)?;
        let at = (Self::SAMPLE.1 + 8 * UNITS, self.y);
        text(self.area, at, label, 12, BLACK, (HPos::Left, VPos::Center), false)?;
        self.y += 21 * UNITS;
        Ok(())
    }

    fn heading(&mut self, label: &str) -> Result<(), Error> {
        text(self.area, (Self::SAMPLE.0, self.y), label, 12, GREY, (HPos::Left, VPos::Center), false)?;
        self.y += 21 * UNITS;
        Ok(())
    }

    fn across(y: i32) -> Vec<Position> {
        vec![(Self::SAMPLE.0, y), (Self::SAMPLE.1, y)]
    }

    fn middle(y: i32) -> Position {
        (i32::midpoint(Self::SAMPLE.0, Self::SAMPLE.1), y)
    }
}

/// Draws the legend of the frontier figure into `area`; an empty ceiling has no row in it.
pub(super) fn legend(
    area: &Area<'_>,
    (optimum, hard_labels, best_of_n): (&[OptimumPoint], &[OptimumPoint], &[BestOfNPoint]),
    (methods, looks): (&[Method], &Looks),
    evals: &[&EvalRow],
    paper: &[PaperSeries],
) -> Result<(), Error> {
    let mut legend = Legend { area, y: (HEADER_HEIGHT + 14) * UNITS };
    legend.heading("upper envelope, 95% band")?;
    let on = |method: &Method| evals.iter().any(|eval| eval.method == *method && on_frontier(eval));
    for &method in methods.iter().filter(|method| on(method)) {
        let (color, shape) = looks.of_method(method);
        legend.row(method.label(), |area, y| {
            stroke(area, Legend::across(y), color, 5, method)?;
            marker(area, Legend::middle(y), shape, 10, color.to_rgba(), true)
        })?;
    }
    for &method in methods {
        if evals.iter().any(|eval| eval.method == method && !on_frontier(eval)) {
            let (color, shape) = looks.of_method(method);
            legend.row(&format!("{}, no penalty", method.label()), |area, y| {
                marker(area, Legend::middle(y), shape, 8, color.to_rgba(), false)
            })?;
        }
    }
    legend.y += 8 * UNITS;
    if !optimum.is_empty() {
        legend.row("Reweighted optimum", |area, y| {
            dashed(area, Legend::across(y), BLACK.to_rgba(), 4, (14, 8))
        })?;
    }
    if !hard_labels.is_empty() {
        legend.row("Hard-label ceiling", |area, y| {
            dashed(area, Legend::across(y), BLACK.to_rgba(), 2, (6, 5))
        })?;
    }
    if best_of_n.iter().any(|point| point.n > 1) {
        legend.row("Best-of-n, KL bound", |area, y| {
            marker(area, Legend::middle(y), Marker::Diamond, 9, BLACK.to_rgba(), true)
        })?;
    }
    legend.row("Bernoulli floor", |area, y| dashed(area, Legend::across(y), GREY.to_rgba(), 3, (3, 7)))?;
    legend.row("Reference", |area, y| {
        marker(area, Legend::middle(y), Marker::Circle, 11, BLACK.to_rgba(), false)
    })?;
    if paper.is_empty() {
        return Ok(());
    }
    legend.y += 8 * UNITS;
    legend.heading("Rafailov et al. 2023, fig. 2")?;
    for series in paper {
        let (color, shape) = paper_look(series);
        legend.row(&series.name, |area, y| marker(area, Legend::middle(y), shape, 7, color, false))?;
    }
    Ok(())
}

/// A method's line, whole or broken.
fn stroke(
    area: &Area<'_>,
    points: Vec<Position>,
    color: RGBColor,
    width: u32,
    method: Method,
) -> Result<(), Error> {
    match dashes(method) {
        Some(dash) => dashed(area, points, color.to_rgba(), width, dash),
        None => line(area, points, color.to_rgba(), width),
    }
}

/// Of a line of a row of methods.
const ROW_HEIGHT: i32 = 20;

/// The widths of a method's sample and of its entry in a row, in points.
fn entry(method: Method) -> (i32, i32) {
    (38, 68 + 7 * method.label().len() as i32)
}

/// The height that a row of methods takes in a figure of `width` points: more than one line
/// where they do not fit in one.
pub(super) fn legend_height(methods: &[Method], width: u32) -> i32 {
    14 + ROW_HEIGHT * lines(methods, width).len().max(1) as i32
}

/// Methods by line.
fn lines(methods: &[Method], width: u32) -> Vec<Vec<Method>> {
    let mut lines: Vec<Vec<Method>> = Vec::new();
    let mut x = i32::MAX;
    for &method in methods {
        let (_, wide) = entry(method);
        if x.saturating_add(wide) > width as i32 {
            lines.push(Vec::new());
            x = 20;
        }
        x += wide;
        if let Some(last) = lines.last_mut() {
            last.push(method);
        }
    }
    lines
}

/// Rows of the methods' lines and markers, in an area as high as [`legend_height`] says.
pub(super) fn method_row(
    area: &Area<'_>,
    looks: &Looks,
    methods: &[Method],
    width: u32,
) -> Result<(), Error> {
    rows(area, looks, methods, width, true)
}

/// The same with markers alone.
pub(super) fn marker_row(
    area: &Area<'_>,
    looks: &Looks,
    methods: &[Method],
    width: u32,
) -> Result<(), Error> {
    rows(area, looks, methods, width, false)
}

fn rows(
    area: &Area<'_>,
    looks: &Looks,
    methods: &[Method],
    width: u32,
    with_lines: bool,
) -> Result<(), Error> {
    for (index, methods) in lines(methods, width).into_iter().enumerate() {
        let (mut x, y) = (20 * UNITS, (15 + ROW_HEIGHT * index as i32) * UNITS);
        for method in methods {
            let (color, shape) = looks.of_method(method);
            let (sample, wide) = entry(method);
            if with_lines {
                stroke(area, vec![(x, y), (x + 26 * UNITS, y)], color, 4, method)?;
            }
            marker(area, (x + 26 * UNITS, y), shape, 8, color.to_rgba(), true)?;
            let at = (x + sample * UNITS, y);
            text(area, at, method.label(), 12, BLACK, (HPos::Left, VPos::Center), false)?;
            x += wide * UNITS;
        }
    }
    Ok(())
}
