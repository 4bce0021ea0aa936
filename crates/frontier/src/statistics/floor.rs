//! The Bernoulli floor: the least KL that any mean reward costs.

use crate::{FrontierRow, Method, Reference};

/// The least KL, in nats, at which a policy's mean reward is `q` if the reference's is `p` and rewards lie in
/// \[0, 1\].
///
/// ```text
/// kl(q, p) = q ln(q/p) + (1-q) ln((1-q)/(1-p))
/// ```
///
/// Read the reward as the chance of a coin: the data-processing inequality gives KL(policy || reference) >=
/// kl(q, p), for a prompt and, as kl is jointly convex, for the mean over prompts (Cover and Thomas 2006, ch.
/// 2). NaN if `q` or `p` is outside \[0, 1\]; infinite if the reference cannot earn `q` at all.
pub fn kl_floor(q: f64, p: f64) -> f64 {
    if !(0.0..=1.0).contains(&q) || !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    let term = |q: f64, p: f64| if q > 0.0 { q * (q / p).ln() } else { 0.0 };
    term(q, p) + term(1.0 - q, 1.0 - p)
}

/// The largest mean reward within `kl` nats of a reference whose mean reward is `p`: the inverse of
/// [`kl_floor`] in `q` >= `p`, to 1e-12.
pub fn largest_reward(kl: f64, p: f64) -> f64 {
    if kl_floor(1.0, p) <= kl {
        return 1.0;
    }
    let (mut low, mut high) = (p, 1.0);
    while high - low > 1e-12 {
        let middle = f64::midpoint(low, high);
        if kl_floor(middle, p) <= kl { low = middle } else { high = middle }
    }
    low
}

/// A point that lies beyond the floor.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// The run.
    pub run: String,
    /// The step of the evaluation.
    pub step: u64,
    /// The floor at the point's score, in nats.
    pub floor: f64,
    /// The point's sequence KL, in nats.
    pub sequence_kl: f64,
    /// Standard error of `floor` - `sequence_kl`.
    pub se: f64,
}

/// The points whose KL is below the floor by more than 2 standard errors.
///
/// ```text
/// Var(floor - KL) = (d kl/dq)² se(q)² + (d kl/dp)² se(p)² + se(KL)²   to first order, where
/// d kl/dq = ln(q (1-p) / ((1-q) p)),   d kl/dp = (1-q)/(1-p) - q/p
/// ```
///
/// A standard error of NaN counts as 0, and rows of
/// [`Method::REFERENCE`] and rows without a finite score and KL are left out. The KL of best-of-n rows is a
/// bound from above, so they are held to the floor too.
pub fn violations(rows: &[FrontierRow], reference: Reference) -> Vec<Violation> {
    rows.iter().filter_map(|row| violation(row, reference)).collect()
}

fn violation(row: &FrontierRow, reference: Reference) -> Option<Violation> {
    let eval = &row.eval;
    if eval.method == Method::REFERENCE || !eval.score.is_finite() || !eval.sequence_kl.is_finite() {
        return None;
    }
    // Off the ends of [0, 1], where the slopes are infinite.
    let inside = |x: f64| x.clamp(1e-9, 1.0 - 1e-9);
    let (q, p) = (inside(eval.score), inside(reference.mean));
    let by_q = (q * (1.0 - p) / ((1.0 - q) * p)).ln();
    let by_p = (1.0 - q) / (1.0 - p) - q / p;
    let finite = |se: f64| if se.is_finite() { se } else { 0.0 };
    let variances = [by_q * finite(eval.score_se), by_p * finite(reference.se), finite(eval.sequence_kl_se)]
        .map(|x| x * x);
    let se = variances.iter().sum::<f64>().sqrt();
    let floor = kl_floor(q, p);
    // 1e-6 nats of slack: the KL is a sum of f32 terms.
    (floor - eval.sequence_kl > 2.0 * se + 1e-6).then(|| Violation {
        run: row.run.clone(),
        step: eval.step,
        floor,
        sequence_kl: eval.sequence_kl,
        se,
    })
}
