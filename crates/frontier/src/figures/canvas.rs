//! Drawing on an SVG: axes by plotters, everything else in canvas units.

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::element::{DashedPathElement, Drawable, PointCollection};
use plotters::prelude::{
    Cartesian2d, ChartBuilder, ChartContext, Circle, DrawingArea, IntoDrawingArea, PathElement, Polygon,
    RGBColor, Rectangle, SVGBackend, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, IntoFont, RGBAColor, ShapeStyle, TextStyle, WHITE};

use super::compact::compact;
use super::style::{BLACK, GREY, Marker};
use crate::Error;

/// Canvas units per point of the displayed figure: plotters rounds to whole units, which would show in small
/// markers at 1.
pub(super) const UNITS: i32 = 2;

/// A position in canvas units, from the top left corner.
pub(super) type Position = (i32, i32);
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
pub(super) type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// What one pair of axes shows. Every drawn coordinate is checked against the ranges.
pub(super) struct Axes<'a> {
    pub(super) title: &'a str,
    pub(super) x_title: &'a str,
    pub(super) y_title: &'a str,
    pub(super) x: (f64, f64),
    pub(super) y: (f64, f64),
    pub(super) label_size: i32,
}

/// What an axis' coordinates are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// The values themselves.
    Linear,
    /// Their decimal logarithms; the labels are powers of ten.
    Decades,
}

impl Scale {
    /// The most labels that an axis of this range has.
    fn labels(self, range: (f64, f64)) -> usize {
        match self {
            Self::Linear => 8,
            // With more, lines would fall between the powers of ten.
            Self::Decades => ((range.1 - range.0).floor() as usize + 1).clamp(2, 8),
        }
    }

    fn tick(self, value: f64, range: (f64, f64)) -> String {
        match self {
            Self::Linear => tick(value, range),
            Self::Decades if (value - value.round()).abs() > 1e-6 => String::new(),
            Self::Decades => power_of_ten(value.round() as i32),
        }
    }
}

/// `0.001`, `10`, `100000`, and beyond them `1e-4`.
fn power_of_ten(exponent: i32) -> String {
    if (-3..=5).contains(&exponent) { format!("{}", 10_f64.powi(exponent)) } else { format!("1e{exponent}") }
}

/// Draws a figure of `size` points on white and returns its SVG.
pub(super) fn svg(
    size: (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> Result<(), Error>,
) -> Result<String, Error> {
    let scaled = (size.0 * UNITS.unsigned_abs(), size.1 * UNITS.unsigned_abs());
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, scaled).into_drawing_area();
        root.fill(&WHITE).map_err(failed)?;
        draw(&root)?;
        root.present().map_err(failed)?;
    }
    // The viewBox keeps the canvas units; the displayed size is the one asked for.
    let canvas = format!("width=\"{}\" height=\"{}\"", scaled.0, scaled.1);
    let text = text.replacen(&canvas, &format!("width=\"{}\" height=\"{}\"", size.0, size.1), 1);
    Ok(compact(&text))
}

pub(super) fn failed(error: impl std::fmt::Display) -> Error {
    Error::Figure(error.to_string())
}

/// The height of title and subtitle, in points.
pub(super) const HEADER_HEIGHT: i32 = 54;

/// Writes title and subtitle into `area`.
pub(super) fn header(area: &Area<'_>, title: &str, subtitle: &str) -> Result<(), Error> {
    let left = (HPos::Left, VPos::Top);
    text(area, (14 * UNITS, 9 * UNITS), title, 17, BLACK, left, true)?;
    text(area, (14 * UNITS, 33 * UNITS), subtitle, 12, GREY, left, false)
}

/// The range of finite values with a margin of 5%; [0, 1] if there is none.
pub(super) fn value_range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let ends = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if ends.0 > ends.1 {
        return (0.0, 1.0);
    }
    let margin = ((ends.1 - ends.0) * 0.05).max(1e-3);
    (ends.0 - margin, ends.1 + margin)
}

/// Draws linear axes, grid and titles into `area`.
pub(super) fn chart<'a>(area: &Area<'a>, axes: &Axes<'_>) -> Result<Chart<'a>, Error> {
    scaled_chart(area, axes, (Scale::Linear, Scale::Linear))
}

/// The same with the scales of x and y.
pub(super) fn scaled_chart<'a>(
    area: &Area<'a>,
    axes: &Axes<'_>,
    scales: (Scale, Scale),
) -> Result<Chart<'a>, Error> {
    let size = axes.label_size * UNITS;
    let mut chart = ChartBuilder::on(area)
        .margin(5 * UNITS)
        .margin_right(12 * UNITS)
        .margin_top(if axes.title.is_empty() { 5 } else { 26 } * UNITS)
        .x_label_area_size(size * 7 / 2)
        .y_label_area_size(size * 5)
        .build_cartesian_2d(axes.x.0..axes.x.1, axes.y.0..axes.y.1)
        .map_err(failed)?;
    let style = |size: i32| text_style(size, BLACK, false);
    chart
        .configure_mesh()
        .x_desc(axes.x_title)
        .y_desc(axes.y_title)
        .x_labels(scales.0.labels(axes.x))
        .y_labels(scales.1.labels(axes.y))
        .x_label_formatter(&|value| scales.0.tick(*value, axes.x))
        .y_label_formatter(&|value| scales.1.tick(*value, axes.y))
        .label_style(style(axes.label_size))
        .axis_desc_style(style(axes.label_size + 1))
        .light_line_style(WHITE.mix(0.0))
        .bold_line_style(BLACK.mix(0.10))
        .draw()
        .map_err(failed)?;
    if !axes.title.is_empty() {
        let (x, _) = chart.plotting_area().get_pixel_range();
        // The range is that of the whole canvas, a position that of the area.
        let (left, _) = area.get_base_pixel();
        text(
            area,
            (x.start - left, 6 * UNITS),
            axes.title,
            axes.label_size + 2,
            BLACK,
            (HPos::Left, VPos::Top),
            true,
        )?;
    }
    Ok(chart)
}

/// A tick's number, to as many digits as tell ticks of the range apart and without trailing zeros.
fn tick(value: f64, range: (f64, f64)) -> String {
    let digits = (1.3 - (range.1 - range.0).log10()).ceil().clamp(0.0, 8.0) as usize;
    let text = format!("{value:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn text_style(size: i32, color: RGBColor, bold: bool) -> TextStyle<'static> {
    // plotters divides a size by 1.24 on its way into SVG.
    let units = f64::from(size * UNITS) * 1.24;
    let font = ("sans-serif", units).into_font();
    font.style(if bold { FontStyle::Bold } else { FontStyle::Normal }).color(&color)
}

/// Writes `content`, its `anchor` at `at`; `size` in points.
pub(super) fn text(
    area: &Area<'_>,
    at: Position,
    content: &str,
    size: i32,
    color: RGBColor,
    anchor: (HPos, VPos),
    bold: bool,
) -> Result<(), Error> {
    let style = text_style(size, color, bold).pos(Pos::new(anchor.0, anchor.1));
    draw(area, &Text::new(content.to_owned(), at, style))
}

fn draw<'b, E>(area: &Area<'_>, element: &'b E) -> Result<(), Error>
where
    &'b E: PointCollection<'b, Position>,
    E: for<'c> Drawable<SVGBackend<'c>>,
{
    area.draw(element).map_err(failed)
}

/// A line through `points`; `width` in canvas units.
pub(super) fn line(
    area: &Area<'_>,
    points: Vec<Position>,
    color: RGBAColor,
    width: u32,
) -> Result<(), Error> {
    draw(area, &PathElement::new(points, color.stroke_width(width)))
}

/// A broken line; the lengths of dash and gap in canvas units.
pub(super) fn dashed(
    area: &Area<'_>,
    points: Vec<Position>,
    color: RGBAColor,
    width: u32,
    (dash, gap): (i32, i32),
) -> Result<(), Error> {
    draw(area, &DashedPathElement::new(points, dash, gap, color.stroke_width(width)))
}

/// A filled area within `outline`.
pub(super) fn filled(area: &Area<'_>, outline: Vec<Position>, color: RGBAColor) -> Result<(), Error> {
    draw(area, &Polygon::new(outline, color.filled()))
}

/// A marker at `at` of `radius` canvas units, filled or as an outline; crosses are thick or thin lines.
pub(super) fn marker(
    area: &Area<'_>,
    (x, y): Position,
    marker: Marker,
    radius: i32,
    color: RGBAColor,
    fill: bool,
) -> Result<(), Error> {
    let stroke = color.stroke_width(2);
    let style: ShapeStyle = if fill { color.filled() } else { stroke };
    let shape = |corners: &[Position]| -> Result<(), Error> {
        let mut corners: Vec<Position> = corners.iter().map(|(dx, dy)| (x + dx, y + dy)).collect();
        if fill {
            return filled(area, corners, color);
        }
        corners.push(corners[0]);
        line(area, corners, color, 2)
    };
    let r = radius;
    // Half of the width of an equilateral triangle whose centre is 1 from its corners.
    let (half, short) = (r * 11 / 10, r * 7 / 10);
    let thickness = if fill { 4 } else { 2 };
    match marker {
        Marker::Circle => draw(area, &Circle::new((x, y), r, style)),
        Marker::Square => {
            let s = r * 9 / 10;
            draw(area, &Rectangle::new([(x - s, y - s), (x + s, y + s)], style))
        }
        Marker::Triangle => shape(&[(0, -half), (half, short), (-half, short)]),
        Marker::TriangleDown => shape(&[(0, half), (half, -short), (-half, -short)]),
        Marker::Diamond => shape(&[(0, -half), (half, 0), (0, half), (-half, 0)]),
        Marker::Cross => {
            line(area, vec![(x - r, y - r), (x + r, y + r)], color, thickness)?;
            line(area, vec![(x - r, y + r), (x + r, y - r)], color, thickness)
        }
        Marker::Plus => {
            line(area, vec![(x - r, y), (x + r, y)], color, thickness)?;
            line(area, vec![(x, y - r), (x, y + r)], color, thickness)
        }
    }
}

/// The part of a curve that is increasing in x and within the ranges of `axes`, cut at the edges by linear
/// interpolation in x and by clamping in y.
pub(super) fn clip(curve: &[(f64, f64)], x: (f64, f64), y: (f64, f64)) -> Vec<(f64, f64)> {
    let mut clipped = Vec::new();
    for (index, &(px, py)) in curve.iter().enumerate() {
        if px > x.1 {
            if let Some(&(qx, qy)) = index.checked_sub(1).and_then(|before| curve.get(before)) {
                clipped.push((x.1, qy + (py - qy) * (x.1 - qx) / (px - qx)));
            }
            break;
        }
        clipped.push((px, py));
    }
    clipped.retain(|point| point.0 >= x.0);
    clipped.into_iter().map(|(px, py)| (px, py.clamp(y.0, y.1))).collect()
}
