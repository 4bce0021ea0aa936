//! Reward against KL: the figure that the comparison is for.

use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use super::canvas::{self, Area, Axes, HEADER_HEIGHT, UNITS, text};
use super::legend::legend;
use super::plane::Plane;
use super::style::{BLACK, GREY, Looks, Marker, dashes, paper_look};
use crate::records::paper::{PaperSeries, paper_points};
use crate::statistics::best_of_n::BestOfNPoint;
use crate::statistics::floor::largest_reward;
use crate::{
    Curves, Envelope, Error, EvalRow, FrontierRow, Method, OptimumPoint, Reference, on_frontier, usable,
};

const SIZE: (u32, u32) = (920, 600);
const LEGEND_WIDTH: i32 = 205;
const FOOTER_HEIGHT: i32 = 22;

/// What the frontier figure shows.
#[derive(Clone, Copy, Debug)]
pub struct FrontierFigure<'a> {
    /// All evaluations; rows of best-of-n and of the reference are drawn from the fields below instead.
    pub rows: &'a [FrontierRow],
    /// The reference's mean reward.
    pub reference: Reference,
    /// The bands.
    pub curves: &'a Curves,
    /// The reweighted optimum's curve; may be empty.
    pub optimum: &'a [OptimumPoint],
    /// The curve of a policy that knows what hard labels can tell; may be empty.
    pub hard_labels: &'a [OptimumPoint],
    /// Best-of-n; may be empty.
    pub best_of_n: &'a [BestOfNPoint],
    /// The number of runs that failed, or have not been done yet, and are missing from `rows`.
    pub failed_runs: usize,
    /// A line under the title: preset, seeds, data.
    pub subtitle: &'a str,
    /// Whether to show the points of the DPO paper.
    pub paper: bool,
}

/// Draws reward against sequence KL: each checkpoint a faint point, the upper envelope of each method as a
/// line (the mean over seeds) on its 95% band, runs without a penalty as outlines, the reweighted optimum on
/// its band, the hard-label ceiling, best-of-n by the bound on its KL, the Bernoulli floor, the reference
/// and, if asked for, the paper's points.
///
/// The KL axis ends at the largest KL up to 5 nats, or up to 10 if more than a tenth of the points lie beyond
/// 5; what is outside of the axes is counted below them. Returns SVG.
///
/// # Errors
/// [`Error::Figure`] if the reference's mean is not finite or plotters fails, [`Error::BadPaper`] if the
/// embedded points are damaged.
pub fn frontier_figure(figure: &FrontierFigure<'_>) -> Result<String, Error> {
    if !figure.reference.mean.is_finite() {
        let mean = figure.reference.mean;
        return Err(Error::Figure(format!(
            "the reference's mean reward is {mean}, a finite number is needed"
        )));
    }
    let paper = if figure.paper { paper_points()? } else { Vec::new() };
    let all: Vec<&EvalRow> = figure.rows.iter().map(|row| &row.eval).filter(|eval| usable(eval)).collect();
    let (evals, beside): (Vec<&EvalRow>, Vec<&EvalRow>) =
        all.iter().copied().partition(|eval| on_frontier(eval));
    let (x, y) = ranges(figure, &evals);
    let methods = Method::trained(figure.rows.iter().map(|row| row.eval.method));
    let looks = Looks::of(&methods);
    canvas::svg(SIZE, |root| {
        let (main, legend_area) = root.split_horizontally((SIZE.0 as i32 - LEGEND_WIDTH) * UNITS);
        let (header, below) = main.split_vertically(HEADER_HEIGHT * UNITS);
        let (inner, footer) = below.split_vertically((SIZE.1 as i32 - HEADER_HEIGHT - FOOTER_HEIGHT) * UNITS);
        canvas::header(&header, "Reward against distance from the reference", figure.subtitle)?;
        let axes = Axes {
            title: "",
            x_title: "sequence KL(π ‖ π_ref), nats",
            y_title: "mean true reward r*, p(positive)",
            x,
            y,
            label_size: 13,
        };
        let plane = Plane::new(root, &inner, &axes)?;
        plane.paper(&paper)?;
        plane.ceilings(figure)?;
        for &method in &methods {
            plane.envelope(figure, &evals, method, looks.of_method(method))?;
        }
        plane.points(&evals, &looks)?;
        plane.beside(&beside, &looks)?;
        plane.best_of_n(figure.best_of_n)?;
        plane.mark((0.0, figure.reference.mean), Marker::Circle, 11, BLACK.to_rgba(), false)?;
        note(&footer, figure, &all, x, y)?;
        legend(
            &legend_area,
            (figure.optimum, figure.hard_labels, figure.best_of_n),
            (&methods, &looks),
            &all,
            &paper,
        )
    })
}

/// The ranges of both axes.
fn ranges(figure: &FrontierFigure<'_>, evals: &[&EvalRow]) -> ((f64, f64), (f64, f64)) {
    let beyond = evals.iter().filter(|eval| eval.sequence_kl > 5.0).count();
    let cap = if beyond * 10 > evals.len() { 10.0 } else { 5.0 };
    let farthest = evals.iter().map(|eval| eval.sequence_kl).filter(|kl| *kl <= cap).fold(1.0, f64::max);
    let right = (farthest * 1.02 * 4.0).ceil() / 4.0;
    let start = figure.reference.mean;
    let lowest = evals.iter().map(|eval| eval.score).fold(start, f64::min);
    // A collapsed run must not squeeze the rest: at most 0.15 below the reference are shown.
    let bottom = ((lowest.max(start - 0.15) - 0.02) * 20.0).floor() / 20.0;
    let highest = evals.iter().map(|eval| eval.score).fold(1.0, f64::max);
    ((0.0, right.min(10.0)), (bottom, highest + 0.01))
}

impl Plane<'_, '_> {
    fn paper(&self, series: &[PaperSeries]) -> Result<(), Error> {
        for one in series {
            let (color, shape) = paper_look(one);
            for &(x, y) in &one.points {
                self.mark((x, y), shape, 6, color, false)?;
            }
        }
        Ok(())
    }

    fn ceilings(&self, figure: &FrontierFigure<'_>) -> Result<(), Error> {
        let floor: Vec<(f64, f64)> = (0..=400)
            .map(|i| self.x.1 * (f64::from(i) / 400.0).powi(2))
            .map(|kl| (kl, largest_reward(kl, figure.reference.mean)))
            .collect();
        self.dashed(&floor, GREY.to_rgba(), 3, (3, 7))?;
        let band = figure.curves.optimum.iter().map(|point| (point.kl, point.reward.interval));
        self.band(&opened(figure.reference, band), BLACK.mix(0.10))?;
        let optimum: Vec<(f64, f64)> = figure.optimum.iter().map(|p| (p.sequence_kl, p.reward)).collect();
        self.dashed(&optimum, BLACK.to_rgba(), 4, (14, 8))?;
        let ceiling: Vec<(f64, f64)> = figure.hard_labels.iter().map(|p| (p.sequence_kl, p.reward)).collect();
        self.dashed(&ceiling, BLACK.to_rgba(), 2, (6, 5))
    }

    fn points(&self, evals: &[&EvalRow], looks: &Looks) -> Result<(), Error> {
        for eval in evals {
            let (color, shape) = looks.of_method(eval.method);
            self.mark((eval.sequence_kl.max(0.0), eval.score), shape, 7, color.mix(0.40), true)?;
        }
        Ok(())
    }

    /// Runs without a penalty: outlines.
    fn beside(&self, evals: &[&EvalRow], looks: &Looks) -> Result<(), Error> {
        for eval in evals {
            let (color, shape) = looks.of_method(eval.method);
            self.mark((eval.sequence_kl.max(0.0), eval.score), shape, 8, color.to_rgba(), false)?;
        }
        Ok(())
    }

    /// The band, the mean envelope over it, and the method's marker at its end.
    fn envelope(
        &self,
        figure: &FrontierFigure<'_>,
        evals: &[&EvalRow],
        method: Method,
        (color, shape): (RGBColor, Marker),
    ) -> Result<(), Error> {
        let Some((_, mean)) = figure.curves.envelopes.iter().find(|(of, _)| *of == method) else {
            return Ok(());
        };
        let of_method = evals.iter().filter(|eval| eval.method == method);
        let end = of_method.map(|eval| eval.sequence_kl).fold(0.0, f64::max).min(self.x.1);
        if let Some((_, curve)) = figure.curves.methods.iter().find(|(of, _)| *of == method) {
            let band = curve.iter().map(|at| (at.kl, at.envelope.interval));
            self.band(&opened(figure.reference, band), color.mix(0.13))?;
        }
        self.stroke(&upto(mean, end), color.to_rgba(), 5, dashes(method))?;
        self.mark((end, mean.at(end)), shape, 10, color.to_rgba(), true)
    }

    fn best_of_n(&self, points: &[BestOfNPoint]) -> Result<(), Error> {
        for point in points.iter().filter(|point| point.n > 1) {
            let (x, y) = (point.sequence_kl_bound, point.reward);
            if !self.shows((x, y)) {
                continue;
            }
            self.mark((x, y), Marker::Diamond, 9, BLACK.to_rgba(), true)?;
            let (px, py) = self.position((x, y));
            // Below and to the right: the optimum's curve rises through these points.
            let anchor = (HPos::Left, VPos::Top);
            let at = (px + 5 * UNITS, py + 2 * UNITS);
            text(self.root, at, &point.n.to_string(), 11, BLACK, anchor, false)?;
        }
        Ok(())
    }
}

/// A band that begins at KL 0 with the 95% interval of the reference's mean reward.
fn opened(reference: Reference, band: impl Iterator<Item = (f64, (f64, f64))>) -> Vec<(f64, (f64, f64))> {
    let half = 1.96 * reference.se;
    std::iter::once((0.0, (reference.mean - half, reference.mean + half))).chain(band).collect()
}

/// An envelope's vertices up to `end`.
fn upto(envelope: &Envelope, end: f64) -> Vec<(f64, f64)> {
    let before = envelope.vertices().iter().copied().filter(|vertex| vertex.0 < end);
    before.chain([(end, envelope.at(end))]).collect()
}

fn note(
    area: &Area<'_>,
    figure: &FrontierFigure<'_>,
    evals: &[&EvalRow],
    x: (f64, f64),
    y: (f64, f64),
) -> Result<(), Error> {
    let outside = evals.iter().filter(|eval| eval.sequence_kl > x.1 || eval.score < y.0).count();
    let notes = [
        (outside > 0).then(|| format!("{outside} of {} checkpoints lie outside of the axes", evals.len())),
        (figure.failed_runs > 0).then(|| format!("{} runs are missing", figure.failed_runs)),
    ];
    let content = notes.into_iter().flatten().collect::<Vec<_>>().join("; ");
    text(area, (14 * UNITS, UNITS), &content, 11, GREY, (HPos::Left, VPos::Top), false)
}
