//! The distribution of true rewards: of the reference's samples and of policies at the same distance.

use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, RGBColor};

use super::canvas::{self, Area, Axes, HEADER_HEIGHT, UNITS, dashed, filled, line, text};
use super::style::{BLACK, GREY, Looks};
use crate::statistics::calibration::bin_of;
use crate::statistics::intervals::mean;
use crate::{Error, Method, PromptSamples, Run, on_frontier};

const PANEL_HEIGHT: u32 = 250;
const PANELS_IN_A_ROW: usize = 3;
const BINS: usize = 20;
/// The KL, in nats, at which policies are shown.
const AT_KL: f64 = 1.0;
/// The farthest that a checkpoint may lie from it, in nats.
const WITHIN: f64 = 0.5;

struct Panel {
    title: String,
    scores: Vec<f64>,
    color: RGBColor,
}

/// Draws the share of responses per true reward, in 20 bins of \[0, 1\], with the mean marked: for the
/// reference's samples and for each method's checkpoints nearest to 1 nat, one of each seed, if they lie
/// within half a nat of it and their prompts are recorded. The outline repeats the reference. Rewards outside
/// of \[0, 1\] fall into the end bins. Returns SVG.
///
/// # Errors
/// [`Error::Figure`] if plotters fails.
pub fn histogram_figure(samples: &PromptSamples, runs: &[Run], subtitle: &str) -> Result<String, Error> {
    let reference: Vec<f64> = samples.prompts().iter().flatten().copied().collect();
    let mut panels = vec![Panel { title: "Reference".to_owned(), scores: reference, color: GREY }];
    let methods = Run::methods(runs);
    let looks = Looks::of(&methods);
    panels.extend(methods.iter().filter_map(|method| of_method(runs, *method, &looks)));
    let rows = panels.len().div_ceil(PANELS_IN_A_ROW);
    let columns = panels.len().min(PANELS_IN_A_ROW);
    let shares: Vec<[f64; BINS]> = panels.iter().map(|panel| shares(&panel.scores)).collect();
    let top = shares.iter().flatten().copied().fold(0.0, f64::max) * 1.12;
    let width = if columns == 1 { 560 } else { 920 };
    canvas::svg((width, HEADER_HEIGHT as u32 + PANEL_HEIGHT * rows as u32), |root| {
        let (header, below) = root.split_vertically(HEADER_HEIGHT * UNITS);
        canvas::header(&header, "True reward of single responses", subtitle)?;
        for (index, area) in below.split_evenly((rows, columns)).iter().enumerate().take(panels.len()) {
            draw_panel(root, area, &panels[index], &shares[index], &shares[0], top)?;
        }
        Ok(())
    })
}

/// The scores of the checkpoint nearest to [`AT_KL`] of each seed.
fn of_method(runs: &[Run], method: Method, looks: &Looks) -> Option<Panel> {
    let mut nearest: Vec<(u64, f64, &[crate::PromptScore])> = Vec::new();
    for run in runs {
        for eval in run.evals.iter().filter(|eval| eval.method == method && on_frontier(eval)) {
            let Some(prompts) = run.prompts.get(&eval.step) else { continue };
            let gap = (eval.sequence_kl - AT_KL).abs();
            match nearest.iter_mut().find(|(seed, ..)| *seed == eval.seed) {
                Some(found) if gap < found.1 => *found = (eval.seed, gap, prompts),
                Some(_) => {}
                None => nearest.push((eval.seed, gap, prompts)),
            }
        }
    }
    nearest.retain(|(_, gap, _)| *gap <= WITHIN);
    let scores: Vec<f64> =
        nearest.iter().flat_map(|(.., prompts)| prompts.iter().map(|prompt| prompt.score)).collect();
    let title = format!("{}, about {AT_KL} nat", method.label());
    (!scores.is_empty()).then(|| Panel { title, scores, color: looks.of_method(method).0 })
}

fn shares(scores: &[f64]) -> [f64; BINS] {
    let mut counts = [0_usize; BINS];
    for score in scores {
        counts[bin_of(*score, BINS)] += 1;
    }
    counts.map(|count| count as f64 / scores.len() as f64)
}

fn draw_panel<'a>(
    root: &Area<'a>,
    area: &Area<'a>,
    panel: &Panel,
    shares: &[f64; BINS],
    reference: &[f64; BINS],
    top: f64,
) -> Result<(), Error> {
    let axes = Axes {
        title: &panel.title,
        x_title: "true reward r*, p(positive)",
        y_title: "share",
        x: (0.0, 1.0),
        y: (0.0, top),
        label_size: 11,
    };
    let chart = canvas::chart(area, &axes)?;
    let at = |x: f64, y: f64| chart.backend_coord(&(x, y));
    let edge = |bin: usize| bin as f64 / BINS as f64;
    for (bin, share) in shares.iter().enumerate() {
        let ((x0, y0), (x1, y1)) = (at(edge(bin), 0.0), at(edge(bin + 1), *share));
        // A gap of one point between bars.
        let outline = vec![(x0 + 1, y0), (x1 - 1, y0), (x1 - 1, y1), (x0 + 1, y1)];
        filled(root, outline, panel.color.mix(0.65))?;
    }
    let steps = reference.iter().enumerate().flat_map(|(bin, y)| [at(edge(bin), *y), at(edge(bin + 1), *y)]);
    line(root, steps.collect(), BLACK.mix(0.7), 2)?;
    let average = mean(&panel.scores);
    let centre = average.clamp(0.0, 1.0);
    let (bottom, upper) = (at(centre, 0.0), at(centre, top));
    dashed(root, vec![bottom, upper], BLACK.to_rgba(), 4, (14, 8))?;
    // On the side with more room.
    let (shift, anchor) = if centre < 0.5 { (6, HPos::Left) } else { (-6, HPos::Right) };
    let label = format!("mean {average:.3} of {}", panel.scores.len());
    let place = (upper.0 + shift * UNITS, upper.1 + 4 * UNITS);
    text(root, place, &label, 11, BLACK, (anchor, VPos::Top), false)
}
