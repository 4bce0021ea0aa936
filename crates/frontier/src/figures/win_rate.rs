//! Win rate against sampling temperature.

use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBAColor};

use super::canvas::{self, Area, Axes, HEADER_HEIGHT, UNITS, line, text};
use super::legend::{legend_height, method_row};
use super::plane::Plane;
use super::style::{GREY, Looks, dashes, paper_look};
use crate::records::paper::paper_win_rates;
use crate::win_rate::{JudgedBy, WinRate, WinRates};
use crate::{Error, Method};

/// What the figure shows.
#[derive(Clone, Copy, Debug)]
pub struct WinRateFigure<'a> {
    /// The win rates.
    pub rates: &'a WinRates,
    /// What wins, such as `More positive than the review's own continuation`.
    pub title: &'a str,
    /// Preset, seeds and data in one line.
    pub subtitle: &'a str,
    /// Whether the paper's points stand behind: only if judges were asked what the paper asks.
    pub paper: bool,
}

const PANEL: (u32, u32) = (500, 380);
/// The line below the legend.
const NOTE_HEIGHT: i32 = 24;

/// Draws a panel for each judge: win rate against temperature, a line for each method with 95% intervals, and
/// at 1/2 what is as good as the text that a person wrote. Returns SVG.
///
/// # Errors
/// [`Error::Figure`] if plotters fails or no judge has a rate, [`Error::BadPaper`] if the
/// paper's points are damaged.
pub fn win_rate_figure(figure: &WinRateFigure<'_>) -> Result<String, Error> {
    let judges: Vec<&JudgedBy> = figure.rates.judges.iter().filter(|by| !by.rates.is_empty()).collect();
    if judges.is_empty() {
        return Err(Error::Figure("no judge has a win rate".to_owned()));
    }
    let mut methods: Vec<Method> = judges.iter().flat_map(|by| &by.rates).map(|one| one.method).collect();
    methods.sort_unstable();
    methods.dedup();
    let looks = Looks::of(&methods);
    // A single panel is as wide as two narrow ones, so that the legend has room.
    let width = (PANEL.0 * judges.len() as u32).max(720);
    let legend = legend_height(&methods, width);
    let height = PANEL.1 as i32 + HEADER_HEIGHT + legend + NOTE_HEIGHT;
    canvas::svg((width, height.unsigned_abs()), |root| {
        let (header, below) = root.split_vertically(HEADER_HEIGHT * UNITS);
        let (panels, footer) = below.split_vertically(PANEL.1 as i32 * UNITS);
        let (legend_area, note) = footer.split_vertically(legend * UNITS);
        canvas::header(&header, figure.title, figure.subtitle)?;
        for (area, by) in panels.split_evenly((1, judges.len())).iter().zip(&judges) {
            panel(root, area, by, (&methods, &looks), figure.paper)?;
        }
        method_row(&legend_area, &looks, &methods, width)?;
        let paper = if figure.paper { "; pale: Rafailov et al. 2023, figure 2" } else { "" };
        let words = format!(
            "bars: 95% intervals; at 1/2 a response is as good as the text that a person wrote{paper}"
        );
        text(&note, (20 * UNITS, 8 * UNITS), &words, 12, GREY, (HPos::Left, VPos::Center), false)
    })
}

fn panel<'a>(
    root: &Area<'a>,
    area: &Area<'a>,
    by: &JudgedBy,
    (methods, looks): (&[Method], &Looks),
    paper: bool,
) -> Result<(), Error> {
    let paper = if paper { paper_win_rates()? } else { Vec::new() };
    let series = |method: Method| by.rates.iter().filter(move |one| one.method == method);
    let temperatures = by.rates.iter().map(|one| one.temperature);
    let of_paper = || paper.iter().flat_map(|series| &series.points);
    let right = temperatures.chain(of_paper().map(|point| point.0)).fold(0.0, f64::max).max(0.1);
    let ends = by.rates.iter().flat_map(|one| [one.rate.interval.0, one.rate.interval.1]);
    let (low, high) = ends
        .chain(of_paper().map(|point| point.1))
        .fold((0.45_f64, 0.55_f64), |(low, high), rate| (low.min(rate), high.max(rate)));
    let title = format!("judged by {}", by.judge);
    let axes = Axes {
        title: &title,
        x_title: "sampling temperature",
        y_title: "win rate",
        x: (-0.06 * right, 1.06 * right),
        y: ((low - 0.02).max(0.0), (high + 0.02).min(1.0)),
        label_size: 12,
    };
    let plane = Plane::new(root, area, &axes)?;
    plane.dashed(&[(axes.x.0, 0.5), (axes.x.1, 0.5)], GREY.to_rgba(), 3, (3, 7))?;
    for series in &paper {
        let (color, shape) = paper_look(series);
        plane.line(&series.points, color, 2)?;
        for point in &series.points {
            plane.mark(*point, shape, 7, color, false)?;
        }
    }
    for (index, method) in methods.iter().enumerate() {
        let (color, shape) = looks.of_method(*method);
        // Side by side, so that no bar hides another.
        let aside = (index as f64 - (methods.len() as f64 - 1.0) / 2.0) * 0.012 * right;
        let points: Vec<(f64, &WinRate)> =
            series(*method).map(|one| (one.temperature + aside, one)).collect();
        let means: Vec<(f64, f64)> = points.iter().map(|(x, one)| (*x, one.rate.value)).collect();
        plane.stroke(&means, color.to_rgba(), 4, dashes(*method))?;
        for (x, one) in points {
            bar(&plane, x, one.rate.interval, color.mix(0.7))?;
            plane.mark((x, one.rate.value), shape, 9, color.to_rgba(), true)?;
        }
    }
    Ok(())
}

/// A vertical line over an interval, within the axes.
fn bar(plane: &Plane<'_, '_>, x: f64, (low, high): (f64, f64), color: RGBAColor) -> Result<(), Error> {
    let end = |y: f64| plane.position((x, y.clamp(plane.y.0, plane.y.1)));
    line(plane.root, vec![end(low), end(high)], color, 3)
}
