//! Who is ahead at which KL.

use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use super::canvas::{self, Area, Axes, HEADER_HEIGHT, UNITS, line, marker, text, value_range};
use super::plane::Plane;
use super::style::{BLACK, BLUE, GREY, Marker, VERMILLION};
use crate::{Comparison, Curves, Error, Method};

const SIZE: (u32, u32) = (920, 420);
const LEGEND_HEIGHT: i32 = 34;

/// The comparisons shown, each with a colour, a marker and a width that tell it apart in grey as well.
const PAIRS: [((Method, Method), RGBColor, Marker); 3] = [
    ((Method::DPO, Method::PPO), VERMILLION, Marker::Square),
    ((Method::DPO, Method::PPO_GT), BLUE, Marker::Triangle),
    ((Method::PPO_GT, Method::PPO), BLACK, Marker::Diamond),
];

/// Draws, against the KL, the paired differences in reward of DPO, PPO and PPO-GT with their 95% bands and the
/// probability that the first is ahead; each where both methods have points. Returns SVG.
///
/// # Errors
/// [`Error::Figure`] if plotters fails.
pub fn ahead_figure(curves: &Curves, subtitle: &str) -> Result<String, Error> {
    let of_pair = |pair: (Method, Method)| -> Vec<&Comparison> {
        curves.comparisons.iter().filter(|one| (one.first, one.second) == pair).collect()
    };
    let series: Vec<Vec<&Comparison>> = PAIRS.iter().map(|(pair, ..)| of_pair(*pair)).collect();
    let right = series.iter().flatten().map(|one| one.kl).fold(1.0, f64::max);
    canvas::svg(SIZE, |root| {
        let (header, below) = root.split_vertically(HEADER_HEIGHT * UNITS);
        let height = SIZE.1 as i32 - HEADER_HEIGHT - LEGEND_HEIGHT;
        let (panels, legend_area) = below.split_vertically(height * UNITS);
        canvas::header(&header, "Who is ahead at which distance", subtitle)?;
        let areas = panels.split_evenly((1, 2));
        differences(root, &areas[0], &series, right)?;
        probabilities(root, &areas[1], &series, right)?;
        legend(&legend_area, &series)
    })
}

const X_TITLE: &str = "sequence KL(π ‖ π_ref), nats";

fn differences<'a>(
    root: &Area<'a>,
    area: &Area<'a>,
    series: &[Vec<&Comparison>],
    right: f64,
) -> Result<(), Error> {
    let ends = series.iter().flatten().flat_map(|one| {
        let (low, high) = one.difference.interval;
        [low, high, 0.0]
    });
    // A band over two seeds is endless: half a unit of reward is shown.
    let y = value_range(ends.map(|end| end.clamp(-0.5, 0.5)));
    let axes = Axes {
        title: "Difference in reward, 95% band",
        x_title: X_TITLE,
        y_title: "first less second",
        x: (0.0, right),
        y,
        label_size: 12,
    };
    let plane = Plane::new(root, area, &axes)?;
    for ((_, color, _), series) in PAIRS.iter().zip(series) {
        let band: Vec<(f64, (f64, f64))> = series.iter().map(|c| (c.kl, c.difference.interval)).collect();
        plane.band(&band, color.mix(0.13))?;
    }
    plane.dashed(&[(0.0, 0.0), (right, 0.0)], GREY.to_rgba(), 3, (3, 7))?;
    for ((_, color, shape), series) in PAIRS.iter().zip(series) {
        let curve: Vec<(f64, f64)> = series.iter().map(|c| (c.kl, c.difference.value)).collect();
        marked_line(&plane, &curve, *color, *shape)?;
    }
    Ok(())
}

fn probabilities<'a>(
    root: &Area<'a>,
    area: &Area<'a>,
    series: &[Vec<&Comparison>],
    right: f64,
) -> Result<(), Error> {
    let axes = Axes {
        title: "Probability that the first is ahead",
        x_title: X_TITLE,
        y_title: "probability",
        x: (0.0, right),
        y: (-0.02, 1.02),
        label_size: 12,
    };
    let plane = Plane::new(root, area, &axes)?;
    for level in [0.025, 0.5, 0.975] {
        plane.dashed(&[(0.0, level), (right, level)], GREY.to_rgba(), 3, (3, 7))?;
    }
    for ((_, color, shape), series) in PAIRS.iter().zip(series) {
        let curve: Vec<(f64, f64)> = series.iter().map(|c| (c.kl, c.probability_ahead)).collect();
        marked_line(&plane, &curve, *color, *shape)?;
    }
    Ok(())
}

/// A line with a marker at about every eighth of it.
fn marked_line(
    plane: &Plane<'_, '_>,
    curve: &[(f64, f64)],
    color: RGBColor,
    shape: Marker,
) -> Result<(), Error> {
    plane.line(curve, color.to_rgba(), 4)?;
    for point in curve.iter().rev().step_by(curve.len().div_ceil(8).max(1)) {
        plane.mark(*point, shape, 9, color.to_rgba(), true)?;
    }
    Ok(())
}

fn legend(area: &Area<'_>, series: &[Vec<&Comparison>]) -> Result<(), Error> {
    let (mut x, y) = (20 * UNITS, 15 * UNITS);
    let shown = PAIRS.iter().zip(series).filter(|(_, series)| !series.is_empty());
    for ((pair, color, shape), _) in shown {
        line(area, vec![(x, y), (x + 30 * UNITS, y)], color.to_rgba(), 4)?;
        marker(area, (x + 15 * UNITS, y), *shape, 9, color.to_rgba(), true)?;
        let label = format!("{} − {}", pair.0.label(), pair.1.label());
        text(area, (x + 38 * UNITS, y), &label, 12, BLACK, (HPos::Left, VPos::Center), false)?;
        x += (70 + 7 * label.chars().count() as i32) * UNITS;
    }
    Ok(())
}
