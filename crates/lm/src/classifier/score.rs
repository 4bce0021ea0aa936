//! From logits to scores.

use serde::{Deserialize, Serialize};

use crate::problem::Problem;

/// How the labels of a classifier relate: `problem_type` in `config.json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemType {
    /// Exactly one label holds: probabilities are the softmax of the logits.
    SingleLabel,
    /// Each label holds or not by itself: its probability is the sigmoid of its logit.
    MultiLabel,
    /// The logits are the answer.
    Regression,
}

impl ProblemType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::SingleLabel, Self::MultiLabel, Self::Regression];

    /// As `config.json` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::SingleLabel => "single_label_classification",
            Self::MultiLabel => "multi_label_classification",
            Self::Regression => "regression",
        }
    }

    /// What `transformers` takes a classifier for whose `config.json` does not say: with one label its
    /// pipeline takes the sigmoid, with several the softmax.
    pub fn of_labels(count: usize) -> Self {
        if count == 1 { Self::MultiLabel } else { Self::SingleLabel }
    }
}

/// What number a label's score is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScoreUnit {
    /// The logit as the head says it: no zero and, with several labels, no meaning by itself.
    Logit,
    /// The label's probability p, in [0, 1]: what the DPO paper calls the reward.
    #[default]
    Probability,
    /// `ln p / (1 - p)` in nats: as good as p for ranking, and it still tells texts apart whose p rounds
    /// to 1.
    LogOdds,
}

impl ScoreUnit {
    /// The problem with asking for this unit, if there is one: a regression has no probabilities.
    pub(super) fn problem(self, problem_type: ProblemType) -> Option<Problem> {
        let possible = self == Self::Logit || problem_type != ProblemType::Regression;
        let expected = "logit: problem_type is regression, which has no probabilities";
        Problem::unless(possible, "unit", format!("{self:?}"), expected)
    }

    /// The score of `label` from the logits of all labels.
    pub(super) fn score(self, logits: &[f32], label: usize, problem_type: ProblemType) -> f32 {
        let z = f64::from(logits[label]);
        let log_odds = match problem_type {
            ProblemType::MultiLabel | ProblemType::Regression => z,
            ProblemType::SingleLabel => {
                let others = || logits.iter().enumerate().filter(|(i, _)| *i != label);
                let top = others().map(|(_, &z)| f64::from(z)).fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = others().map(|(_, &z)| (f64::from(z) - top).exp()).sum();
                z - top - sum.ln()
            }
        };
        let score = match self {
            Self::Logit => z,
            Self::Probability => 1.0 / (1.0 + (-log_odds).exp()),
            Self::LogOdds => log_odds,
        };
        score as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(found: f32, want: f64) {
        assert!((f64::from(found) - want).abs() < 1e-6, "{found} is not {want}");
    }

    #[test]
    fn probabilities_are_a_softmax_or_a_sigmoid() {
        // e^z = 1, 2 and 5: probabilities 1/8, 2/8 and 5/8, odds 1/7, 2/6 and 5/3.
        let logits = [0.0, 2.0_f32.ln(), 5.0_f32.ln()];
        let single = |unit: ScoreUnit, label| unit.score(&logits, label, ProblemType::SingleLabel);
        close(single(ScoreUnit::Probability, 0), 0.125);
        close(single(ScoreUnit::Probability, 2), 0.625);
        close(single(ScoreUnit::LogOdds, 1), (2.0_f64 / 6.0).ln());
        close(single(ScoreUnit::LogOdds, 2), (5.0_f64 / 3.0).ln());
        close(single(ScoreUnit::Logit, 1), 2.0_f64.ln());
        // By itself the second label has p = 2/3.
        close(ScoreUnit::Probability.score(&logits, 1, ProblemType::MultiLabel), 2.0 / 3.0);
        close(ScoreUnit::LogOdds.score(&logits, 1, ProblemType::MultiLabel), 2.0_f64.ln());
    }

    #[test]
    fn log_odds_tell_apart_what_probabilities_do_not() {
        let of = |unit: ScoreUnit, z: f32| unit.score(&[-z, z], 1, ProblemType::SingleLabel);
        assert!(of(ScoreUnit::Probability, 30.0).total_cmp(&of(ScoreUnit::Probability, 40.0)).is_eq());
        close(of(ScoreUnit::LogOdds, 40.0) - of(ScoreUnit::LogOdds, 30.0), 20.0);
        assert!(of(ScoreUnit::Probability, -1e30).total_cmp(&0.0).is_eq());
    }

    #[test]
    fn a_regression_has_no_probabilities() {
        assert!(ScoreUnit::Logit.problem(ProblemType::Regression).is_none());
        assert!(ScoreUnit::LogOdds.problem(ProblemType::MultiLabel).is_none());
        let problem = ScoreUnit::Probability.problem(ProblemType::Regression).unwrap();
        assert!(problem.to_string().contains("regression"));
    }
}
