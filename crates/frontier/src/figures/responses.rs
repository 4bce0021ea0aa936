//! What methods earn of as many responses.

use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use super::canvas::{self, Area, Axes, HEADER_HEIGHT, Scale, UNITS, dashed, line, marker, text, value_range};
use super::plane::Plane;
use super::style::{BLACK, Looks, Marker};
use crate::statistics::intervals::mean;
use crate::{Error, Method, ResponsesRow};

const SIZE: (u32, u32) = (820, 520);
const LEGEND_HEIGHT: i32 = 34;
/// Of the lines of several passes.
const DASHES: (i32, i32) = (12, 8);

/// One method with one number of passes.
struct Series<'a> {
    label: String,
    color: RGBColor,
    shape: Marker,
    /// Whether each response was seen once.
    once: bool,
    rows: Vec<&'a ResponsesRow>,
}

impl Series<'_> {
    /// The mean over seeds at each number of responses, as (its decimal logarithm, share).
    fn means(&self) -> Vec<(f64, f64)> {
        let mut numbers: Vec<f64> = self.rows.iter().map(|row| row.responses).collect();
        numbers.sort_by(f64::total_cmp);
        numbers.dedup();
        let mean_at = |responses: f64| {
            let at = self.rows.iter().filter(|row| row.responses.total_cmp(&responses).is_eq());
            (responses.log10(), mean(&at.map(|row| row.share).collect::<Vec<_>>()))
        };
        numbers.into_iter().map(mean_at).collect()
    }
}

/// Draws the share of the optimum's gain against the number of responses that a run saw: a dot for each run
/// with one standard error up and down, a line through the means over seeds; outlines and broken lines where
/// responses were seen several times. Returns SVG, or `None` without rows of finite numbers.
///
/// # Errors
/// [`Error::Figure`] if plotters fails.
pub fn responses_figure(rows: &[ResponsesRow], subtitle: &str) -> Result<Option<String>, Error> {
    let drawable =
        |row: &&ResponsesRow| row.responses > 0.0 && row.responses.is_finite() && row.share.is_finite();
    let rows: Vec<&ResponsesRow> = rows.iter().filter(drawable).collect();
    if rows.is_empty() {
        return Ok(None);
    }
    let series = series(&rows);
    let logs = || rows.iter().map(|row| row.responses.log10());
    let (first, last) = (logs().fold(f64::INFINITY, f64::min), logs().fold(f64::NEG_INFINITY, f64::max));
    let ends = rows.iter().flat_map(|row| [row.share - error(row), row.share + error(row)]);
    let axes = Axes {
        title: "",
        x_title: "responses seen",
        y_title: "share of the optimum's gain",
        x: ((first - 0.1).min(last.floor()), (last + 0.1).max(first.ceil())),
        y: value_range(ends.map(|end| end.clamp(-0.5, 1.5)).chain([0.0, 1.0])),
        label_size: 13,
    };
    let svg = canvas::svg(SIZE, |root| {
        let (header, below) = root.split_vertically(HEADER_HEIGHT * UNITS);
        let (area, footer) = below.split_vertically((SIZE.1 as i32 - HEADER_HEIGHT - LEGEND_HEIGHT) * UNITS);
        canvas::header(&header, "What a response is worth", subtitle)?;
        let plane = Plane::scaled(root, &area, &axes, (Scale::Decades, Scale::Linear))?;
        for one in &series {
            plane.stroke(&one.means(), one.color.to_rgba(), 4, (!one.once).then_some(DASHES))?;
            for row in &one.rows {
                let at =
                    |share: f64| plane.position((row.responses.log10(), share.clamp(axes.y.0, axes.y.1)));
                let ends = vec![at(row.share - error(row)), at(row.share + error(row))];
                line(root, ends, one.color.mix(0.5), 2)?;
                plane.mark(
                    (row.responses.log10(), row.share),
                    one.shape,
                    8,
                    one.color.to_rgba(),
                    one.once,
                )?;
            }
        }
        legend(&footer, &series)
    })?;
    Ok(Some(svg))
}

fn error(row: &ResponsesRow) -> f64 {
    if row.share_se.is_finite() { row.share_se } else { 0.0 }
}

fn series<'a>(rows: &[&'a ResponsesRow]) -> Vec<Series<'a>> {
    let methods = Method::trained(rows.iter().map(|row| row.method));
    let looks = Looks::of(&methods);
    let mut found = Vec::new();
    for method in methods {
        let own: Vec<&ResponsesRow> = rows.iter().copied().filter(|row| row.method == method).collect();
        let mut passes: Vec<f64> = own.iter().map(|row| row.passes).collect();
        passes.sort_by(f64::total_cmp);
        passes.dedup();
        for passes in passes {
            let (color, shape) = looks.of_method(method);
            let once = passes <= 1.0;
            let times = if once { "one pass".to_owned() } else { format!("{passes} passes") };
            let label = format!("{}, {times}", method.label());
            let of_passes = own.iter().copied().filter(|row| row.passes.total_cmp(&passes).is_eq());
            found.push(Series { label, color, shape, once, rows: of_passes.collect() });
        }
    }
    found
}

fn legend(area: &Area<'_>, series: &[Series<'_>]) -> Result<(), Error> {
    let (mut x, y) = (20 * UNITS, 15 * UNITS);
    for Series { label, color, shape, once, .. } in series {
        let across = vec![(x, y), (x + 30 * UNITS, y)];
        if *once {
            line(area, across, color.to_rgba(), 4)?;
        } else {
            dashed(area, across, color.to_rgba(), 4, DASHES)?;
        }
        marker(area, (x + 15 * UNITS, y), *shape, 9, color.to_rgba(), *once)?;
        text(area, (x + 38 * UNITS, y), label, 12, BLACK, (HPos::Left, VPos::Center), false)?;
        x += (60 + 7 * label.chars().count() as i32) * UNITS;
    }
    Ok(())
}
