//! Reward against the root of the KL, and the two curves of Gao et al.
//!
//! With d = sqrt(KL) and the gain R in reward over the reference (Gao, Schulman and Hilton 2022, "Scaling
//! Laws for Reward Model Overoptimization", eq. 1 and 2):
//!
//! ```text
//! best-of-n:  R(d) = d (a - b d)
//! RL:         R(d) = d (a - b ln d)
//! ```
//!
//! a is how fast a method earns at first, b how fast that wears off. Where b is positive the true reward has
//! a peak, beyond which a policy loses by going further.

use serde::{Deserialize, Serialize};

use crate::{EvalRow, Method, Run, on_frontier};

/// Which of the two curves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// d (a - b d)
    BestOfN,
    /// d (a - b ln d)
    Rl,
}

/// A fitted curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// The curve.
    pub form: Form,
    /// Gain for each root of a nat, at first.
    pub a: f64,
    /// How fast that wears off.
    pub b: f64,
    /// Root of the mean squared residual.
    pub rmse: f64,
    /// Points fitted.
    pub points: usize,
    /// The largest KL fitted, in nats.
    pub largest_kl: f64,
}

impl Form {
    /// What b is multiplied by.
    fn wear(self, d: f64) -> f64 {
        match self {
            Self::BestOfN => -d * d,
            Self::Rl => -d * d.ln(),
        }
    }
}

impl Fit {
    /// Fits (KL in nats, gain) by least squares: both curves are linear in a and b, so the normal equations
    /// solve it. Points that are not finite or whose KL is not above 0 are left out. `None` for fewer than 3
    /// points or points that do not tell a from b.
    pub fn new(form: Form, points: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        let fit_for = |p: &(f64, f64)| p.0.is_finite() && p.1.is_finite() && p.0 > 0.0;
        let points: Vec<(f64, f64)> = points.into_iter().filter(fit_for).collect();
        let (mut xx, mut xz, mut zz, mut xy, mut zy) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (kl, gain) in &points {
            let (x, z) = (kl.sqrt(), form.wear(kl.sqrt()));
            (xx, xz, zz, xy, zy) = (xx + x * x, xz + x * z, zz + z * z, xy + x * gain, zy + z * gain);
        }
        let determinant = xx * zz - xz * xz;
        if points.len() < 3 || determinant <= 1e-9 * xx * zz {
            return None;
        }
        let (a, b) = ((xy * zz - zy * xz) / determinant, (zy * xx - xy * xz) / determinant);
        let largest_kl = points.iter().map(|point| point.0).fold(0.0, f64::max);
        let mut fit = Self { form, a, b, rmse: 0.0, points: points.len(), largest_kl };
        let squares: f64 = points.iter().map(|(kl, gain)| (gain - fit.gain(*kl)).powi(2)).sum();
        fit.rmse = (squares / points.len() as f64).sqrt();
        Some(fit)
    }

    /// The gain at `kl` nats.
    pub fn gain(&self, kl: f64) -> f64 {
        let d = kl.sqrt();
        if d > 0.0 { self.a * d + self.b * self.form.wear(d) } else { 0.0 }
    }

    /// The KL of the largest gain, in nats; `None` if the gain never falls again.
    pub fn peak_kl(&self) -> Option<f64> {
        let d = match self.form {
            Form::BestOfN => self.a / (2.0 * self.b),
            Form::Rl => (self.a / self.b - 1.0).exp(),
        };
        (self.b > 0.0 && d > 0.0).then_some(d * d)
    }
}

/// (KL, mean true reward) of a method's points [on its frontier](on_frontier).
pub fn true_rewards(runs: &[Run], method: Method) -> Vec<(f64, f64)> {
    evals(runs, method).map(|(_, eval)| (eval.sequence_kl, eval.score)).collect()
}

/// (KL, mean learned reward of the same responses) of a method's points [on its frontier](on_frontier), in
/// standard deviations over reference samples. It is what PPO maximises, and a proxy of the truth for every
/// method. Points where it was not measured are left out.
pub fn learned_rewards(runs: &[Run], method: Method) -> Vec<(f64, f64)> {
    let measured = evals(runs, method).filter(|(_, eval)| eval.learned.is_finite());
    measured.map(|(_, eval)| (eval.sequence_kl, eval.learned)).collect()
}

/// (KL, mean implicit reward) of a method's points [on its frontier](on_frontier), for each beta: beta
/// ln(policy / reference) of the evaluated responses, which is beta times k1, in nats. Only a run that sweeps
/// beta and whose trainer recorded implicit rewards (column `rewards/margins` of its metrics) has one.
///
/// The implicit reward has a scale of its own for each beta.
pub fn implicit_rewards(runs: &[Run], method: Method) -> Vec<Vec<(f64, f64)>> {
    let implicit = |run: &Run| run.metrics.column("rewards/margins").is_some();
    let mut knobs: Vec<(f64, Vec<(f64, f64)>)> = Vec::new();
    for (_, eval) in evals(runs, method).filter(|(run, eval)| eval.knob == "beta" && implicit(run)) {
        let point = (eval.sequence_kl, eval.value * eval.k1);
        match knobs.iter_mut().find(|(value, _)| value.total_cmp(&eval.value).is_eq()) {
            Some((_, points)) => points.push(point),
            None => knobs.push((eval.value, vec![point])),
        }
    }
    knobs.into_iter().map(|(_, points)| points).collect()
}

fn evals(runs: &[Run], method: Method) -> impl Iterator<Item = (&Run, &EvalRow)> {
    let all = runs.iter().flat_map(|run| run.evals.iter().map(move |eval| (run, eval)));
    all.filter(move |(_, eval)| eval.method == method && on_frontier(eval))
}
