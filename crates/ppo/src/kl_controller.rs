//! The KL coefficient over the iterations.

use lm::{LmError, Problem, State};

use crate::config::KlControl;

/// Largest relative error that the controller reacts to, so that one bad batch cannot throw the coefficient.
const ERROR_RANGE: f64 = 0.2;

/// Holds the KL coefficient and, if it is adaptive, steers the policy's KL to a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KlController {
    control: KlControl,
    kl_coef: f64,
}

impl KlController {
    /// A controller at its first coefficient.
    ///
    /// # Errors
    /// A problem of `kl.name` for the optimum's coefficient, which only samples of the reference tell.
    pub fn new(control: KlControl) -> Result<Self, Problem> {
        let kl_coef = match control {
            KlControl::Fixed { kl_coef } => kl_coef,
            KlControl::Optimum { .. } => {
                let expected =
                    "fixed, at the coefficient computed from samples of the reference, or adaptive";
                return Err(Problem::new("kl.name", "optimum", expected));
            }
            KlControl::Adaptive { target_kl, kl_coef, .. } => kl_coef / target_kl.sqrt(),
        };
        Ok(Self { control, kl_coef })
    }

    /// The coefficient now.
    pub fn kl_coef(&self) -> f64 {
        self.kl_coef
    }

    /// This controller at the coefficient that a saved training had.
    ///
    /// # Errors
    /// [`LmError::State`] if there is none, or another than the fixed one.
    pub(crate) fn restored(self, from: &State) -> Result<Self, LmError> {
        match self.control {
            KlControl::Fixed { kl_coef } => from.require("kl_coef", kl_coef)?,
            // There is no controller of the optimum's.
            KlControl::Optimum { .. } | KlControl::Adaptive { .. } => {}
        }
        Ok(Self { kl_coef: from.get("kl_coef")?, ..self })
    }

    /// Takes the mean KL of whole responses, in nats, measured on `rollouts` of them (Ziegler et al. 2019):
    ///
    /// `kl_coef *= 1 + clip(kl / target_kl - 1, ±0.2) * rollouts / horizon`.
    ///
    /// A fixed coefficient stays as it is.
    pub fn update(&mut self, sequence_kl: f64, rollouts: usize) {
        if let KlControl::Adaptive { target_kl, horizon, .. } = self.control {
            let error = (sequence_kl / target_kl - 1.0).clamp(-ERROR_RANGE, ERROR_RANGE);
            self.kl_coef *= 1.0 + error * rollouts as f64 / horizon;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(kl: f64) -> f64 {
        let mut controller =
            KlController::new(KlControl::Adaptive { target_kl: 4.0, kl_coef: 1.0, horizon: 1000.0 }).unwrap();
        controller.update(kl, 100);
        controller.kl_coef()
    }

    // It starts at 1 / sqrt(4). A tenth of the horizon: an error e changes 0.5 by the factor 1 + e / 10.
    #[test]
    fn adaptive_by_hand() {
        let cases = [(4.0, 0.5), (4.4, 0.505), (3.6, 0.495), (40.0, 0.51), (0.0, 0.49), (-3.0, 0.49)];
        for (kl, wanted) in cases {
            assert!((after(kl) - wanted).abs() < 1e-12, "kl {kl}: {} is not {wanted}", after(kl));
        }
    }

    #[test]
    fn the_coefficient_of_the_optimum_comes_from_elsewhere() {
        let problem = KlController::new(KlControl::Optimum { target_kl: 1.0 }).unwrap_err().to_string();
        assert!(problem.starts_with("kl.name: found optimum, expected fixed, "), "{problem}");
    }

    #[test]
    fn fixed_stays() {
        let mut controller = KlController::new(KlControl::Fixed { kl_coef: 0.3 }).unwrap();
        controller.update(100.0, 1000);
        assert!((controller.kl_coef() - 0.3).abs() < f64::EPSILON);
    }
}
