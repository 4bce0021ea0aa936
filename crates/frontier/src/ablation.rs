//! Ablations: how a variation of a study changes what its methods earn of the optimum's gain.

use crate::analysis::{Analysis, envelope};
use crate::intervals::Estimate;
use crate::summary::gain_shares;
use crate::{Error, Method};

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
    /// Whether the method has a point at or beyond this KL: if not, its envelope is flat for want of training.
    pub covered: bool,
    /// Mean reward under the envelope.
    pub reward: Estimate,
    /// The share of the reweighted optimum's gain; `None` beyond the optimum's curve.
    pub share: Option<Estimate>,
    /// The share less that of the base on common seeds, with prompts resampled jointly; `None` for the base itself and
    /// where one of the two shares is missing.
    pub difference: Option<Estimate>,
}

impl AblationRow {
    /// The columns of [`write_ablations`].
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

    fn record(&self) -> Vec<String> {
        let numbers = |estimate: Option<Estimate>| {
            let all = |e: Estimate| [e.value, e.interval.0, e.interval.1].map(|x| x.to_string());
            estimate.map_or_else(|| [(); 3].map(|()| "NaN".to_owned()), all)
        };
        let first = [
            self.variation.clone(),
            self.suspect.clone(),
            self.method.to_string(),
            self.kl.to_string(),
            self.covered.to_string(),
            self.reward.seeds.to_string(),
        ];
        let estimates = [Some(self.reward), self.share, self.difference];
        first.into_iter().chain(estimates.into_iter().flat_map(numbers)).collect()
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
        let rewards =
            analysis.values(method, |world, start, points| vec![envelope(world, start, points).at(kl)])?;
        let shares = gain_shares(analysis, method, &[kl])?;
        let of_base = base.and_then(|base| Some((base, gain_shares(base, method, &[kl])?)));
        let difference = |(base, of_base): (&Analysis<'_>, (Vec<f64>, _))| {
            let both = !shares.0.is_empty() && !of_base.0.is_empty();
            both.then(|| base.difference(&shares.1, &of_base.1, 0))?.map(|found| found.estimate())
        };
        let own = analysis.resampled.points.iter().filter(|point| point.method == method);
        Some(AblationRow {
            variation: variation.to_owned(),
            suspect: suspect.to_owned(),
            method,
            kl,
            covered: own.map(|point| point.observed.0).fold(0.0, f64::max) >= kl,
            reward: analysis.distribution(&rewards, 0).estimate(),
            share: (!shares.0.is_empty()).then(|| analysis.distribution(&shares.1, 0).estimate()),
            difference: of_base.and_then(difference),
        })
    };
    let grid = Method::TRAINED.into_iter().flat_map(|method| ABLATION_KLS.map(|kl| (method, kl)));
    grid.filter_map(at).collect()
}

/// Writes `ablations.csv`; NaN stands for what is missing.
///
/// # Errors
/// [`Error::Io`] if the file cannot be written.
pub fn write_ablations(path: impl AsRef<std::path::Path>, rows: &[AblationRow]) -> Result<(), Error> {
    let path = path.as_ref();
    let mut csv = crate::records::create(path)?;
    let records = std::iter::once(AblationRow::COLUMNS.map(str::to_owned).to_vec());
    for record in records.chain(rows.iter().map(AblationRow::record)) {
        csv.write_record(&record).map_err(|e| crate::records::write_error(path, e))?;
    }
    csv.flush().map_err(|source| Error::Io { path: path.into(), source })
}
