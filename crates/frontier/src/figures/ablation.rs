//! Shares of the optimum's gain, variation by variation.

use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use super::canvas::{self, Area, HEADER_HEIGHT, UNITS, dashed, line, marker, text};
use super::style::{BLACK, GREY, Looks, Marker};
use crate::statistics::ablation::{ABLATION_KLS, AblationRow};
use crate::{Error, Method, nats};

const WIDTH: i32 = 920;
/// Of the variations' names.
const LABELS: i32 = 176;
const PANEL: i32 = 214;
/// Wide enough for the last number of an axis beside the first of the next.
const GAP: i32 = 40;
const ROW: i32 = 21;
/// Above and below the rows of a method.
const TOP: i32 = 34;
const BOTTOM: i32 = 40;

/// The share that the study asks for.
const GOAL: f64 = 0.9;

/// One method's rows: a line for each variation that touches it.
struct Block<'a> {
    method: Method,
    variations: Vec<&'a str>,
    rows: Vec<&'a AblationRow>,
}

impl Block<'_> {
    fn height(&self) -> i32 {
        TOP + ROW * self.variations.len() as i32 + BOTTOM
    }
}

/// Draws, for every method and at 0.5, 1 and 2 nats, the share of the reweighted optimum's gain that each
/// variation earns: a dot with its 95% interval, an outline where the method has no point at that KL. The
/// solid line is the base (the first variation), the broken one 90%. Variations that leave a method's runs as
/// they are get no dot. Returns SVG.
///
/// # Errors
/// [`Error::Figure`] if plotters fails.
pub fn ablation_figure(rows: &[AblationRow], subtitle: &str) -> Result<String, Error> {
    let methods = Method::trained(rows.iter().map(|row| row.method));
    let looks = Looks::of(&methods);
    let blocks: Vec<Block<'_>> =
        methods.iter().map(|method| block(rows, *method)).filter(|b| !b.rows.is_empty()).collect();
    let ends = rows.iter().filter_map(|row| row.share).flat_map(|share| [share.interval.0, share.interval.1]);
    let (low, high) = ends.fold((0.0_f64, 1.0_f64), |(low, high), end| (low.min(end), high.max(end)));
    // An interval beyond is cut: few runs must not squeeze the rest.
    let range = (low.max(-0.25), high.min(1.25));
    let base = rows.first().map_or("", |row| row.variation.as_str());
    let height = HEADER_HEIGHT + blocks.iter().map(Block::height).sum::<i32>();
    canvas::svg((WIDTH.unsigned_abs(), height.unsigned_abs()), |root| {
        canvas::header(root, "Share of the optimum's gain in reward", subtitle)?;
        let mut top = HEADER_HEIGHT;
        for block in &blocks {
            draw_block(root, (block, looks.of_method(block.method)), top, range, base)?;
            top += block.height();
        }
        Ok(())
    })
}

fn block(rows: &[AblationRow], method: Method) -> Block<'_> {
    let rows: Vec<&AblationRow> = rows.iter().filter(|row| row.method == method).collect();
    let mut variations: Vec<&str> = Vec::new();
    for row in rows.iter().filter(|row| row.share.is_some() && !row.is_as_base()) {
        if !variations.contains(&row.variation.as_str()) {
            variations.push(&row.variation);
        }
    }
    let rows = rows.into_iter().filter(|row| variations.contains(&row.variation.as_str())).collect();
    Block { method, variations, rows }
}

fn draw_block(
    root: &Area<'_>,
    (block, (color, shape)): (&Block<'_>, (RGBColor, Marker)),
    top: i32,
    range: (f64, f64),
    base: &str,
) -> Result<(), Error> {
    let y_of = |index: usize| (top + TOP + ROW * index as i32 + ROW / 2) * UNITS;
    let left = (HPos::Left, VPos::Center);
    text(root, (14 * UNITS, (top + TOP / 2) * UNITS), block.method.label(), 14, BLACK, left, true)?;
    for (index, variation) in block.variations.iter().enumerate() {
        text(root, (14 * UNITS, y_of(index)), variation, 12, BLACK, left, false)?;
    }
    for (column, kl) in ABLATION_KLS.into_iter().enumerate() {
        let x0 = LABELS + column as i32 * (PANEL + GAP);
        let x_of = |share: f64| {
            let along = (share.clamp(range.0, range.1) - range.0) / (range.1 - range.0);
            x0 * UNITS + (along * f64::from(PANEL * UNITS)).round() as i32
        };
        let (above, below) = ((top + TOP) * UNITS, (top + block.height() - BOTTOM) * UNITS);
        let at = (x0 * UNITS, (top + TOP / 2) * UNITS);
        text(root, at, &format!("at {}", nats(kl)), 12, BLACK, left, false)?;
        axis(root, (above, below), range, &x_of)?;
        let at_kl = || block.rows.iter().filter(move |row| row.kl.total_cmp(&kl).is_eq());
        if let Some(base) = at_kl().find(|row| row.variation == base).and_then(|row| row.share) {
            line(root, vec![(x_of(base.value), above), (x_of(base.value), below)], GREY.to_rgba(), 3)?;
        }
        for row in at_kl() {
            let place = block.variations.iter().position(|variation| *variation == row.variation);
            let (Some(share), Some(index)) = (row.share, place) else { continue };
            let ends = [share.interval.0, share.interval.1].map(|end| (x_of(end), y_of(index)));
            line(root, ends.to_vec(), color.to_rgba(), 4)?;
            marker(root, (x_of(share.value), y_of(index)), shape, 9, color.to_rgba(), row.covered)?;
        }
    }
    Ok(())
}

/// A line at every quarter, a number at every half, and the goal.
fn axis(
    root: &Area<'_>,
    (above, below): (i32, i32),
    range: (f64, f64),
    x_of: &impl Fn(f64) -> i32,
) -> Result<(), Error> {
    for quarter in -1..=5 {
        let share = f64::from(quarter) / 4.0;
        if share >= range.0 && share <= range.1 {
            line(root, vec![(x_of(share), above), (x_of(share), below)], BLACK.mix(0.10), 2)?;
            if quarter % 2 == 0 {
                let at = (x_of(share), below + 5 * UNITS);
                let label = format!("{}%", 25 * quarter);
                text(root, at, &label, 11, BLACK, (HPos::Center, VPos::Top), false)?;
            }
        }
    }
    line(root, vec![(x_of(range.0), below), (x_of(range.1), below)], BLACK.to_rgba(), 2)?;
    dashed(root, vec![(x_of(GOAL), above), (x_of(GOAL), below)], BLACK.to_rgba(), 2, (6, 6))
}
