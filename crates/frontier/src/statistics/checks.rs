//! Checks that the points must pass whatever the result.

use serde::{Deserialize, Serialize};

use crate::statistics::floor::violations;
use crate::{FrontierRow, Reference};

/// A KL below this, in nats, is 0 but for the rounding of f32 sums.
pub const ZERO_KL: f64 = 1e-4;

/// The outcome of the checks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checks {
    /// Runs whose KL at step 0 is not 0 within [`ZERO_KL`], with that KL.
    pub start_off_zero: Vec<(String, f64)>,
    /// Runs of trained methods without an evaluation at step 0.
    pub start_missing: Vec<String>,
    /// Points whose exact KL and k1 estimate could be compared.
    pub k1_compared: usize,
    /// The share of them that agree within 3 combined standard errors; `None` if there is none.
    pub k1_agreement: Option<f64>,
    /// `run at step N` for each point beyond the Bernoulli floor by more than 2 standard errors.
    pub beyond_floor: Vec<String>,
    /// Points without a finite score and KL.
    pub not_finite: usize,
}

impl Checks {
    /// Whether all hold: every run starts at KL 0, k1 agrees on at least 95% of the points and no point is
    /// beyond the floor.
    pub fn passed(&self) -> bool {
        self.start_off_zero.is_empty()
            && self.start_missing.is_empty()
            && self.beyond_floor.is_empty()
            && self.k1_agreement.is_none_or(|share| share >= 0.95)
    }
}

/// Runs the checks.
pub fn check(rows: &[FrontierRow], reference: Reference) -> Checks {
    let trained: Vec<&FrontierRow> = rows.iter().filter(|row| row.eval.method.is_trained()).collect();
    let starts: Vec<&FrontierRow> = trained.iter().copied().filter(|row| row.eval.step == 0).collect();
    let mut runs: Vec<&str> = trained.iter().map(|row| row.run.as_str()).collect();
    runs.sort_unstable();
    runs.dedup();
    let agreements: Vec<bool> = trained.iter().filter_map(|row| k1_agrees(row)).collect();
    let agreeing = agreements.iter().filter(|agrees| **agrees).count();
    Checks {
        start_off_zero: starts
            .iter()
            .filter(|row| row.eval.sequence_kl.is_nan() || row.eval.sequence_kl.abs() > ZERO_KL)
            .map(|row| (row.run.clone(), row.eval.sequence_kl))
            .collect(),
        start_missing: runs
            .into_iter()
            .filter(|run| starts.iter().all(|row| row.run != *run))
            .map(str::to_owned)
            .collect(),
        k1_compared: agreements.len(),
        k1_agreement: (!agreements.is_empty()).then(|| agreeing as f64 / agreements.len() as f64),
        beyond_floor: violations(rows, reference)
            .iter()
            .map(|violation| format!("{} at step {}", violation.run, violation.step))
            .collect(),
        not_finite: trained
            .iter()
            .filter(|row| !row.eval.score.is_finite() || !row.eval.sequence_kl.is_finite())
            .count(),
    }
}

/// |k1 - KL| <= 3 sqrt(se(k1)² + se(KL)²).
///
/// Both come from the same samples, so their errors are positively correlated and the bound is generous. The
/// rounding at step 0, where both standard errors are 0, is forgiven. `None` if a number is missing.
fn k1_agrees(row: &FrontierRow) -> Option<bool> {
    let eval = &row.eval;
    let se = eval.k1_se.hypot(eval.sequence_kl_se);
    let gap = (eval.k1 - eval.sequence_kl).abs();
    (gap.is_finite() && se.is_finite()).then_some(gap <= 3.0 * se + ZERO_KL)
}
