//! Ablations: how a variation of a study changes what its methods earn of the optimum's gain.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::records::csv_file::{read, write_rows};
use crate::statistics::analysis::Analysis;
use crate::statistics::intervals::Estimate;
use crate::statistics::resampling::Axis;
use crate::statistics::shares::gain_shares;
use crate::{Error, Method, Run};

/// The KLs at which variations are compared, in nats.
pub const ABLATION_KLS: [f64; 3] = [0.5, 1.0, 2.0];

/// A method of a variation at one KL.
#[derive(Clone, Debug, PartialEq)]
pub struct AblationRow {
    /// The variation's name.
    pub variation: String,
    /// What the variation suspects of keeping a method from the optimum.
    pub suspect: String,
    /// The method.
    pub method: Method,
    /// The KL, in nats.
    pub kl: f64,
    /// Whether the method has a point at or beyond this KL: if not, its envelope is flat for want of
    /// checkpoints.
    pub covered: bool,
    /// Mean reward under the envelope.
    pub reward: Estimate,
    /// The share of the reweighted optimum's gain; `None` beyond the optimum's curve.
    pub share: Option<Estimate>,
    /// The share less that of the base on common seeds, with prompts resampled jointly; `None` for the base
    /// itself and where one of the two shares is missing.
    pub difference: Option<Estimate>,
}

impl AblationRow {
    /// The columns of `ablations.csv`.
    pub const COLUMNS: [&str; 15] = [
        "variation",
        "suspect",
        "method",
        "kl",
        "covered",
        "seeds",
        "reward",
        "reward_low",
        "reward_high",
        "share",
        "share_low",
        "share_high",
        "difference",
        "difference_low",
        "difference_high",
    ];

    /// Whether the variation left the method's runs as they are in the base.
    pub fn is_as_base(&self) -> bool {
        self.difference.is_some_and(|d| [d.value, d.interval.0, d.interval.1].iter().all(|x| x.abs() < 1e-12))
    }
}

/// A line of `ablations.csv`.
#[derive(Serialize, Deserialize)]
struct Line {
    variation: String,
    suspect: String,
    method: Method,
    kl: f64,
    covered: bool,
    seeds: usize,
    reward: f64,
    reward_low: f64,
    reward_high: f64,
    share: f64,
    share_low: f64,
    share_high: f64,
    difference: f64,
    difference_low: f64,
    difference_high: f64,
}

impl From<&AblationRow> for Line {
    fn from(row: &AblationRow) -> Self {
        let numbers = |estimate: Option<Estimate>| {
            estimate.map_or([f64::NAN; 3], |e| [e.value, e.interval.0, e.interval.1])
        };
        let [reward, reward_low, reward_high] = numbers(Some(row.reward));
        let [share, share_low, share_high] = numbers(row.share);
        let [difference, difference_low, difference_high] = numbers(row.difference);
        Self {
            variation: row.variation.clone(),
            suspect: row.suspect.clone(),
            method: row.method,
            kl: row.kl,
            covered: row.covered,
            seeds: row.reward.seeds,
            reward,
            reward_low,
            reward_high,
            share,
            share_low,
            share_high,
            difference,
            difference_low,
            difference_high,
        }
    }
}

impl From<Line> for AblationRow {
    fn from(line: Line) -> Self {
        let estimate =
            |value, low, high| Estimate { value, interval: (low, high), seeds: line.seeds, seed_sd: None };
        let known = |estimate: Estimate| (!estimate.value.is_nan()).then_some(estimate);
        Self {
            method: line.method,
            kl: line.kl,
            covered: line.covered,
            reward: estimate(line.reward, line.reward_low, line.reward_high),
            share: known(estimate(line.share, line.share_low, line.share_high)),
            difference: known(estimate(line.difference, line.difference_low, line.difference_high)),
            variation: line.variation,
            suspect: line.suspect,
        }
    }
}

/// Every method of one variation at each of [`ABLATION_KLS`], against `base` unless it is the base itself.
///
/// Both analyses must have been resampled in the same way: their replicates are paired.
pub fn ablation_rows(
    (variation, suspect): (&str, &str),
    analysis: &Analysis<'_>,
    base: Option<&Analysis<'_>>,
) -> Vec<AblationRow> {
    let at = |(method, kl): (Method, f64)| {
        let rewards = analysis.of_envelopes(method, &Axis::Kl, |_, _, envelope| vec![envelope.at(kl)])?;
        let shares = gain_shares(analysis, method, &[kl])?;
        let largest_kl = analysis.largest_kl(method)?;
        let of_base = base.and_then(|base| Some((base, gain_shares(base, method, &[kl])?)));
        let difference = |(base, of_base): (&Analysis<'_>, (Vec<f64>, _))| {
            let both = !shares.0.is_empty() && !of_base.0.is_empty();
            both.then(|| base.difference(&shares.1, &of_base.1, 0))?.map(|found| found.estimate())
        };
        Some(AblationRow {
            variation: variation.to_owned(),
            suspect: suspect.to_owned(),
            method,
            kl,
            covered: kl <= largest_kl,
            reward: analysis.distribution(&rewards, 0).estimate(),
            share: (!shares.0.is_empty()).then(|| analysis.distribution(&shares.1, 0).estimate()),
            difference: of_base.and_then(difference),
        })
    };
    let grid = Run::methods(analysis.runs).into_iter().flat_map(|method| ABLATION_KLS.map(|kl| (method, kl)));
    grid.filter_map(at).collect()
}

/// Writes `ablations.csv`; NaN stands for what is missing, and the spread between seeds is not kept.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn write_ablations(path: impl AsRef<Path>, rows: &[AblationRow]) -> Result<(), Error> {
    write_rows(path.as_ref(), AblationRow::COLUMNS, rows.iter().map(Line::from))
}

/// Reads `ablations.csv`.
///
/// # Errors
/// As [`crate::read_frontier`]: the file, line and column where the table is not one of these.
pub fn read_ablations(path: impl AsRef<Path>) -> Result<Vec<AblationRow>, Error> {
    read(path.as_ref(), &AblationRow::COLUMNS, |fields| fields.deserialize::<Line>().map(Into::into))
}
