//! Who is ahead at which KL.

use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use super::canvas::{self, Area, Axes, HEADER_HEIGHT, UNITS, line, marker, text, value_range};
use super::plane::Plane;
use super::style::{BLACK, BLUE, GREY, Looks, Marker, VERMILLION};
use crate::{Comparison, Curves, Error, Method};

const SIZE: (u32, u32) = (920, 420);
const LEGEND_HEIGHT: i32 = 34;

/// The comparisons of known methods that are shown, each with a colour and a marker that tell
/// it apart in grey as well.
const PAIRS: [((Method, Method), RGBColor, Marker); 5] = [
    ((Method::DPO, Method::PPO), VERMILLION, Marker::Square),
    ((Method::DPO, Method::PPO_GT), BLUE, Marker::Triangle),
    ((Method::PPO_GT, Method::PPO), BLACK, Marker::Diamond),
    ((Method::ONLINE_DPO, Method::DPO), RGBColor(51, 34, 136), Marker::TriangleDown),
    ((Method::RLOO, Method::ONLINE_DPO), RGBColor(0, 158, 115), Marker::Circle),
];

/// Two methods that are compared, along the KL, and how the comparison looks.
struct Pair<'a> {
    label: String,
    color: RGBColor,
    shape: Marker,
    along: Vec<&'a Comparison>,
}

/// The comparisons that there are: of known methods, and of every other one with the look of that one.
fn pairs(curves: &Curves) -> Vec<Pair<'_>> {
    let methods: Vec<Method> = curves.methods.iter().map(|(method, _)| *method).collect();
    let looks = Looks::of(&methods);
    let mut new: Vec<(Method, Method)> =
        curves.comparisons.iter().map(|one| (one.first, one.second)).collect();
    new.retain(|(first, _)| !first.is_known());
    new.dedup();
    let new = new.into_iter().map(|pair| {
        let (color, shape) = looks.of_method(pair.0);
        (pair, color, shape)
    });
    let all = PAIRS.into_iter().chain(new).map(|((first, second), color, shape)| Pair {
        label: format!("{} − {}", first.label(), second.label()),
        color,
        shape,
        along: curves.comparisons.iter().filter(|one| (one.first, one.second) == (first, second)).collect(),
    });
    all.filter(|pair| !pair.along.is_empty()).collect()
}

/// Draws, against the KL, the paired differences in reward of DPO, PPO and PPO-GT, and of any other
/// method and DPO, with their 95% bands and the probability that the first is ahead; each where both
/// methods have points. Returns SVG.
///
/// # Errors
/// [`Error::Figure`] if plotters fails.
pub fn ahead_figure(curves: &Curves, subtitle: &str) -> Result<String, Error> {
    let pairs = pairs(curves);
    let right = pairs.iter().flat_map(|pair| &pair.along).map(|one| one.kl).fold(1.0, f64::max);
    canvas::svg(SIZE, |root| {
        let (header, below) = root.split_vertically(HEADER_HEIGHT * UNITS);
        let height = SIZE.1 as i32 - HEADER_HEIGHT - LEGEND_HEIGHT;
        let (panels, legend_area) = below.split_vertically(height * UNITS);
        canvas::header(&header, "Who is ahead at which distance", subtitle)?;
        let areas = panels.split_evenly((1, 2));
        differences(root, &areas[0], &pairs, right)?;
        probabilities(root, &areas[1], &pairs, right)?;
        legend(&legend_area, &pairs)
    })
}

const X_TITLE: &str = "sequence KL(π ‖ π_ref), nats";

fn differences<'a>(root: &Area<'a>, area: &Area<'a>, pairs: &[Pair<'_>], right: f64) -> Result<(), Error> {
    let ends = pairs.iter().flat_map(|pair| &pair.along).flat_map(|one| {
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
    for pair in pairs {
        let band: Vec<(f64, (f64, f64))> = pair.along.iter().map(|c| (c.kl, c.difference.interval)).collect();
        plane.band(&band, pair.color.mix(0.13))?;
    }
    plane.dashed(&[(0.0, 0.0), (right, 0.0)], GREY.to_rgba(), 3, (3, 7))?;
    for pair in pairs {
        let curve: Vec<(f64, f64)> = pair.along.iter().map(|c| (c.kl, c.difference.value)).collect();
        marked_line(&plane, &curve, pair.color, pair.shape)?;
    }
    Ok(())
}

fn probabilities<'a>(root: &Area<'a>, area: &Area<'a>, pairs: &[Pair<'_>], right: f64) -> Result<(), Error> {
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
    for pair in pairs {
        let curve: Vec<(f64, f64)> = pair.along.iter().map(|c| (c.kl, c.probability_ahead)).collect();
        marked_line(&plane, &curve, pair.color, pair.shape)?;
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

fn legend(area: &Area<'_>, pairs: &[Pair<'_>]) -> Result<(), Error> {
    let (mut x, y) = (20 * UNITS, 15 * UNITS);
    for Pair { label, color, shape, .. } in pairs {
        line(area, vec![(x, y), (x + 30 * UNITS, y)], color.to_rgba(), 4)?;
        marker(area, (x + 15 * UNITS, y), *shape, 9, color.to_rgba(), true)?;
        text(area, (x + 38 * UNITS, y), label, 12, BLACK, (HPos::Left, VPos::Center), false)?;
        x += (70 + 7 * label.chars().count() as i32) * UNITS;
    }
    Ok(())
}
