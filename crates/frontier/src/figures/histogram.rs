//! The distribution of true rewards over reference samples.

use plotters::style::Color;
use plotters::style::text_anchor::{HPos, VPos};

use super::canvas::{self, Axes, UNITS, dashed, filled, text};
use super::style::{BLACK, BLUE, GREY, VERMILLION};
use crate::calibration::bin_of;
use crate::intervals::mean;
use crate::{Error, PromptSamples};

const SIZE: (u32, u32) = (720, 420);
const HEADER_HEIGHT: i32 = 52;
const BINS: usize = 20;

/// Draws the share of reference samples per reward, in 20 bins of \[0, 1\], with the mean marked. Rewards
/// outside of \[0, 1\] fall into the end bins. Returns SVG.
///
/// # Errors
/// [`Error::Figure`] if plotters fails.
pub fn histogram_figure(samples: &PromptSamples, subtitle: &str) -> Result<String, Error> {
    let scores: Vec<f64> = samples.prompts().iter().flatten().copied().collect();
    let mut counts = [0_usize; BINS];
    for score in &scores {
        counts[bin_of(*score, BINS)] += 1;
    }
    let shares = counts.map(|count| count as f64 / scores.len() as f64);
    let top = shares.iter().copied().fold(0.0, f64::max) * 1.12;
    let centre = mean(&scores).clamp(0.0, 1.0);
    canvas::svg(SIZE, |root| {
        let (header, plot) = root.split_vertically(HEADER_HEIGHT * UNITS);
        let left = (HPos::Left, VPos::Top);
        text(&header, (14 * UNITS, 9 * UNITS), "True reward of reference samples", 17, BLACK, left, true)?;
        text(&header, (14 * UNITS, 33 * UNITS), subtitle, 12, GREY, left, false)?;
        let axes = Axes {
            title: "",
            x_title: "true reward r*, p(positive)",
            y_title: "share of samples",
            x: (0.0, 1.0),
            y: (0.0, top),
            label_size: 13,
        };
        let chart = canvas::chart(&plot, &axes)?;
        for (bin, share) in shares.iter().enumerate() {
            let edge = |bin: usize| bin as f64 / BINS as f64;
            let (x0, y0) = chart.backend_coord(&(edge(bin), 0.0));
            let (x1, y1) = chart.backend_coord(&(edge(bin + 1), *share));
            // A gap of one point between bars.
            let outline = vec![(x0 + 1, y0), (x1 - 1, y0), (x1 - 1, y1), (x0 + 1, y1)];
            filled(root, outline, BLUE.mix(0.75))?;
        }
        let (bottom, upper) = (chart.backend_coord(&(centre, 0.0)), chart.backend_coord(&(centre, top)));
        dashed(root, vec![bottom, upper], VERMILLION.to_rgba(), 4, (14, 8))?;
        // On the side with more room.
        let (shift, anchor) = if centre < 0.5 { (8, HPos::Left) } else { (-8, HPos::Right) };
        let label = format!("mean {:.3} of {} samples", mean(&scores), scores.len());
        text(
            root,
            (upper.0 + shift * UNITS, upper.1 + 4 * UNITS),
            &label,
            12,
            BLACK,
            (anchor, VPos::Top),
            false,
        )
    })
}
