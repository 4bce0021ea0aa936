//! Why methods differ: shares by method, and what one change adds.

use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use super::canvas::{self, Area, HEADER_HEIGHT, UNITS, dashed, line, marker, text};
use super::style::{BLACK, GREY, Looks, Marker};
use crate::why::{ShareAt, WHY_KLS, Why};
use crate::{Error, Estimate, Method, nats};

const WIDTH: i32 = 920;
/// Of the rows' names.
const LABELS: i32 = 330;
const PANEL: i32 = 164;
/// Wide enough for the last number of an axis beside the first of the next.
const GAP: i32 = 32;
const ROW: i32 = 24;
/// Above and below the rows of a block.
const TOP: i32 = 50;
const BOTTOM: i32 = 34;

/// A row: its name, what stands in grey after it, how it looks, and its numbers.
struct Row<'a> {
    name: String,
    note: String,
    look: (RGBColor, Marker),
    numbers: &'a [ShareAt],
}

/// Rows on one axis.
struct Block<'a> {
    title: &'a str,
    rows: Vec<Row<'a>>,
    /// The part of the axis that is shown.
    range: (f64, f64),
    /// Lines and numbers at multiples of this share.
    every: f64,
    /// Broken lines at these shares.
    levels: Vec<f64>,
}

impl Block<'_> {
    fn height(&self) -> i32 {
        if self.rows.is_empty() { 0 } else { TOP + ROW * self.rows.len() as i32 + BOTTOM }
    }
}

/// Draws, at 0.5, 1 and 2 nats, the share of the optimum's gain that each method earns, named with its loss,
/// data and signal, and below it what one change adds to the share; dots with 95% intervals, outlines where
/// no run of a method ends near the KL. The black broken line is the hard-label ceiling, `ceilings` being its
/// shares at these KLs. Returns SVG, or `None` if there is no method to show.
///
/// # Errors
/// [`Error::Figure`] if plotters fails.
pub fn why_figure(why: &Why, ceilings: &[Option<f64>; 3], subtitle: &str) -> Result<Option<String>, Error> {
    if why.methods.is_empty() {
        return Ok(None);
    }
    let methods: Vec<Method> = why.methods.iter().map(|made| made.method).collect();
    let looks = Looks::of(&methods);
    let made = why.methods.iter().map(|made| Row {
        name: made.method.label().to_owned(),
        note: format!("{}; {}; {}", made.loss, made.data, made.signal),
        look: looks.of_method(made.method),
        numbers: &made.shares,
    });
    let contrasts = why.contrasts.iter().map(|contrast| Row {
        name: contrast.change.clone(),
        note: format!("{} − {}", contrast.first.label(), contrast.second.label()),
        look: (looks.of_method(contrast.first).0, Marker::Diamond),
        numbers: &contrast.differences,
    });
    let (made, contrasts): (Vec<Row<'_>>, Vec<Row<'_>>) = (made.collect(), contrasts.collect());
    let shares = range(&made, (0.0, 1.0), (-0.25, 1.25));
    let differences = range(&contrasts, (-0.1, 0.1), (-0.5, 0.5));
    let every = if differences.1 - differences.0 > 0.45 { 0.2 } else { 0.1 };
    let blocks = [
        Block {
            title: "Share of the optimum's gain",
            rows: made,
            range: shares,
            every: 0.25,
            levels: vec![],
        },
        Block {
            title: "What one change adds to the share",
            rows: contrasts,
            range: differences,
            every,
            levels: vec![0.0],
        },
    ];
    let height = HEADER_HEIGHT + blocks.iter().map(Block::height).sum::<i32>();
    let svg = canvas::svg((WIDTH.unsigned_abs(), height.unsigned_abs()), |root| {
        canvas::header(root, "Why they differ: loss, data, signal, value model", subtitle)?;
        let mut top = HEADER_HEIGHT;
        for (index, block) in blocks.iter().enumerate().filter(|(_, block)| !block.rows.is_empty()) {
            let ceilings = if index == 0 { *ceilings } else { [None; 3] };
            draw_block(root, block, top, ceilings)?;
            top += block.height();
        }
        Ok(())
    })?;
    Ok(Some(svg))
}

/// The ends of all intervals and at least `least`, at most `most`: a wide interval is cut and
/// must not squeeze the rest.
fn range(rows: &[Row<'_>], least: (f64, f64), most: (f64, f64)) -> (f64, f64) {
    let shown = rows.iter().flat_map(|row| row.numbers).filter_map(|at| at.share);
    let ends = shown.flat_map(|share| [share.interval.0, share.interval.1, share.value]);
    let (low, high) = ends.fold(least, |(low, high), end| (low.min(end), high.max(end)));
    (low.max(most.0), high.min(most.1))
}

fn draw_block(root: &Area<'_>, block: &Block<'_>, top: i32, ceilings: [Option<f64>; 3]) -> Result<(), Error> {
    let y_of = |index: usize| (top + TOP + ROW * index as i32 + ROW / 2) * UNITS;
    let left = (HPos::Left, VPos::Center);
    text(root, (14 * UNITS, (top + 14) * UNITS), block.title, 14, BLACK, left, true)?;
    for (index, row) in block.rows.iter().enumerate() {
        text(root, (14 * UNITS, y_of(index)), &row.name, 12, BLACK, left, false)?;
        let right = ((LABELS - 12) * UNITS, y_of(index));
        text(root, right, &row.note, 10, GREY, (HPos::Right, VPos::Center), false)?;
    }
    let (above, below) = ((top + TOP) * UNITS, (top + block.height() - BOTTOM) * UNITS);
    for (column, kl) in WHY_KLS.into_iter().enumerate() {
        let x0 = LABELS + column as i32 * (PANEL + GAP);
        let x_of = |share: f64| {
            let (low, high) = block.range;
            let along = (share.clamp(low, high) - low) / (high - low);
            x0 * UNITS + (along * f64::from(PANEL * UNITS)).round() as i32
        };
        let at = (x0 * UNITS, (top + TOP - 14) * UNITS);
        text(root, at, &format!("at {}", nats(kl)), 12, BLACK, left, false)?;
        axis(root, (above, below), block, &x_of)?;
        for level in block.levels.iter().copied().chain(ceilings[column]) {
            let ends = vec![(x_of(level), above), (x_of(level), below)];
            dashed(root, ends, BLACK.to_rgba(), 2, (8, 6))?;
        }
        for (index, row) in block.rows.iter().enumerate() {
            let at_kl = row.numbers.iter().find(|at| at.kl.total_cmp(&kl).is_eq());
            let Some((at, share)) = at_kl.and_then(|at| Some((at, at.share?))) else { continue };
            dot(root, row.look, &share, at.ends_near, y_of(index), &x_of)?;
        }
    }
    Ok(())
}

/// An estimate on its interval.
fn dot(
    root: &Area<'_>,
    (color, shape): (RGBColor, Marker),
    share: &Estimate,
    fill: bool,
    y: i32,
    x_of: &impl Fn(f64) -> i32,
) -> Result<(), Error> {
    line(root, vec![(x_of(share.interval.0), y), (x_of(share.interval.1), y)], color.to_rgba(), 4)?;
    marker(root, (x_of(share.value), y), shape, 9, color.to_rgba(), fill)
}

/// Lines at multiples of a step, and a number at each.
fn axis(
    root: &Area<'_>,
    (above, below): (i32, i32),
    block: &Block<'_>,
    x_of: &impl Fn(f64) -> i32,
) -> Result<(), Error> {
    let (low, high) = block.range;
    let (first, last) = ((low / block.every).ceil() as i32, (high / block.every).floor() as i32);
    for step in first..=last {
        let share = f64::from(step) * block.every;
        line(root, vec![(x_of(share), above), (x_of(share), below)], BLACK.mix(0.10), 2)?;
        let label = if step == 0 && !block.levels.is_empty() {
            "0".to_owned()
        } else if block.levels.is_empty() {
            format!("{:.0}%", 100.0 * share)
        } else {
            format!("{:+.0}", 100.0 * share)
        };
        let at = (x_of(share), below + 5 * UNITS);
        text(root, at, &label, 10, BLACK, (HPos::Center, VPos::Top), false)?;
    }
    line(root, vec![(x_of(low), below), (x_of(high), below)], BLACK.to_rgba(), 2)
}
