//! Arithmetic on distributions over a list: logarithms of probabilities, in nats.

/// `pi*(y) = pi_ref(y) exp(r(y) / beta) / Z`, the optimum of `E_pi[r] - beta KL(pi || pi_ref)`.
pub struct Optimum {
    /// `log Z`, `Z = E_pi_ref[exp(r / beta)]`.
    pub log_z: f64,
    /// `log pi*(y)`.
    pub logprobs: Vec<f64>,
}

impl Optimum {
    /// Rafailov et al. 2023, equation 4.
    pub fn new(reference: &[f64], rewards: &[f64], beta: f64) -> Self {
        let tilted: Vec<f64> = reference.iter().zip(rewards).map(|(logp, r)| logp + r / beta).collect();
        let (log_z, logprobs) = normalized(&tilted);
        Self { log_z, logprobs }
    }
}

/// `log sum exp` of the logits, and the distribution in proportion to their exponentials.
pub fn normalized(logits: &[f64]) -> (f64, Vec<f64>) {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let total = largest + logits.iter().map(|logit| (logit - largest).exp()).sum::<f64>().ln();
    (total, logits.iter().map(|logit| logit - total).collect())
}

/// `E_p[value]`.
pub fn mean(p: &[f64], values: &[f64]) -> f64 {
    p.iter().zip(values).map(|(p, value)| p.exp() * value).sum()
}

/// `KL(p || q)` in nats; what p never says adds nothing.
pub fn kl(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).filter(|(p, _)| **p > f64::NEG_INFINITY).map(|(p, q)| p.exp() * (p - q)).sum()
}

/// `J(p) = E_p[r] - beta KL(p || pi_ref)`: Rafailov et al. 2023, equation 3.
pub fn objective(p: &[f64], reference: &[f64], rewards: &[f64], beta: f64) -> f64 {
    mean(p, rewards) - beta * kl(p, reference)
}

/// `sigma(margin)`.
pub fn sigmoid(margin: f64) -> f64 {
    1.0 / (1.0 + (-margin).exp())
}

/// `E_pi_ref[w^2]` of the weights `w = exp(r / beta) / Z`, whose mean is 1. Of n samples of the reference, n
/// divided by this count, and the relative standard error of the estimate of Z is `sqrt((E[w^2] - 1) / n)`.
pub fn mean_square_weight(reference: &[f64], optimum: &Optimum) -> f64 {
    optimum.logprobs.iter().zip(reference).map(|(best, logp)| (2.0 * best - logp).exp()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference says the first of two responses three times out of four; the second is
    /// worth ln 3, the first 0.
    fn two() -> ([f64; 2], [f64; 2]) {
        ([0.75_f64.ln(), 0.25_f64.ln()], [0.0, 3_f64.ln()])
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-14, "{found} is not {expected}");
    }

    #[test]
    fn the_optimum_by_hand() {
        let (reference, rewards) = two();
        // beta = 1: Z = 3/4 + 3 * 1/4 = 3/2, and pi* = (1/2, 1/2).
        let optimum = Optimum::new(&reference, &rewards, 1.0);
        close(optimum.log_z.exp(), 1.5);
        close(optimum.logprobs[0].exp(), 0.5);
        close(optimum.logprobs[1].exp(), 0.5);
        // beta = 1/2: Z = 3/4 + 9 * 1/4 = 3, and pi* = (1/4, 3/4).
        let optimum = Optimum::new(&reference, &rewards, 0.5);
        close(optimum.log_z.exp(), 3.0);
        close(optimum.logprobs[0].exp(), 0.25);
        close(optimum.logprobs[1].exp(), 0.75);
        // w = (1/3, 3): E[w^2] = 3/4 * 1/9 + 1/4 * 9 = 7/3.
        close(mean_square_weight(&reference, &optimum), 7.0 / 3.0);
    }

    #[test]
    fn the_objective_by_hand() {
        let (reference, rewards) = two();
        let half = [0.5_f64.ln(); 2];
        // E[r] = ln 3 / 2; KL = ln(2/3) / 2 + ln(2) / 2 = ln(4/3) / 2; their difference is ln(3/2) = log Z.
        close(mean(&half, &rewards), 3_f64.ln() / 2.0);
        close(kl(&half, &reference), (4.0_f64 / 3.0).ln() / 2.0);
        close(objective(&half, &reference, &rewards, 1.0), 1.5_f64.ln());
        // The reference itself earns ln 3 / 4 and pays nothing.
        close(objective(&reference, &reference, &rewards, 1.0), 3_f64.ln() / 4.0);
        // The better response alone earns ln 3 and pays -ln(1/4).
        let greedy = [f64::NEG_INFINITY, 0.0];
        close(objective(&greedy, &reference, &rewards, 1.0), 0.75_f64.ln());
    }

    #[test]
    fn large_logits_stay_finite() {
        let (total, logprobs) = normalized(&[1e4, 1e4 + 3_f64.ln()]);
        assert!((total - 1e4 - 4_f64.ln()).abs() < 1e-11, "{total}");
        assert!((logprobs[0].exp() - 0.25).abs() < 1e-11, "{}", logprobs[0].exp());
    }
}
