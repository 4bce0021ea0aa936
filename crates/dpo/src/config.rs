//! The numbers of a preference run; nothing has a default.

use lm::{Config, Labels, OptimizerConfig, Problem, Sampling};
use serde::{Deserialize, Serialize};

/// What is minimised, as a function of the log-ratio difference
/// `h = log(pi(y_w|x) / pi_ref(y_w|x)) - log(pi(y_l|x) / pi_ref(y_l|x))` in nats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "lowercase", deny_unknown_fields)]
pub enum Loss {
    /// `-(1 - eps) log sigma(beta h) - eps log sigma(-beta h)`: DPO (Rafailov et al. 2023, equation 7) for
    /// eps = 0, conservative DPO (Mitchell 2023) for eps > 0.
    Sigmoid {
        /// eps, the probability that a label is flipped; 0 up to one half.
        label_smoothing: f64,
    },
    /// `(h - 1 / (2 beta))^2`: IPO (Azar et al. 2023, arXiv 2310.12036, equation 17, whose tau is beta here).
    ///
    /// `h` is made of sums over tokens, as the equation says. TRL divides each log-ratio by its number of
    /// tokens first, so its beta is not this one.
    // A struct variant without fields: serde lets unknown keys pass beside a unit variant.
    Ipo {},
    /// `max(0, 1 - beta h)`: the hinge loss of SLiC (Zhao et al. 2023, arXiv 2305.10425) on DPO's margin
    /// (Liu et al. 2023, arXiv 2309.06657, who call it hinge-norm). A pair whose margin has reached 1 no
    /// longer teaches anything.
    Hinge {},
    /// `-log pi(y_w|x) + alpha log pi(y_l|x)`: the baseline "Unlikelihood" of Rafailov et al. 2023 (section
    /// 6), which maximises the likelihood of chosen and minimises that of rejected responses.
    ///
    /// It is the likelihood of whole responses, sums over tokens as in DPO. Nothing bounds it below: it falls
    /// for ever as `pi(y_l|x)` vanishes, and policies degenerate if they train long enough. The token-level
    /// form of Welleck et al. 2019, `-sum log(1 - pi(y_t))`, is bounded and is another loss. Neither beta nor
    /// the reference enters it; both serve only its reported rewards.
    Unlikelihood {
        /// Weight of the rejected response; 0 to 1, and 0 is supervised fine-tuning on the chosen ones.
        alpha: f64,
    },
}

/// Everything that a run of [`DpoTrainer`](crate::DpoTrainer) needs beside its data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DpoConfig {
    /// What is minimised.
    pub loss: Loss,
    /// Strength of the pull towards the reference, in units of reward per nat: the `kl_coef` of PPO.
    pub beta: f64,
    /// Prompts per step, each with all its pairs: n responses to a prompt make n (n - 1) / 2 pairs, which say
    /// no more than the responses do.
    pub batch_prompts: usize,
    /// Optimiser steps in all; the learning-rate schedule spans them.
    pub steps: usize,
    /// The optimiser.
    pub optimizer: OptimizerConfig,
}

/// Everything that a run of [`OnlineDpoTrainer`](crate::OnlineDpoTrainer) needs beside its prompts and its
/// scorer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnlineDpoConfig {
    /// What is minimised.
    pub loss: Loss,
    /// Strength of the pull towards the reference, in units of reward per nat: the `kl_coef` of PPO.
    pub beta: f64,
    /// Prompts per step.
    pub batch_prompts: usize,
    /// Responses of the current policy to each of them; every two of them make a pair.
    pub responses_per_prompt: usize,
    /// Who wins a pair, by the scores of its responses.
    pub labels: Labels,
    /// Steps in all, one of the optimiser each; the learning-rate schedule spans them.
    pub steps: usize,
    /// How responses are drawn; the temperature belongs to the policy.
    pub sampling: Sampling,
    /// The optimiser.
    pub optimizer: OptimizerConfig,
}

impl OnlineDpoConfig {
    /// Passes of a response's token through a model: it is generated, scored by the reference and the scorer,
    /// and trained on. Ties and repeated responses make fewer.
    pub const PASSES_PER_TOKEN: usize = 4;
}

impl Loss {
    /// Whether a training step needs the reference's log-probs; the others serve only the reported rewards.
    pub fn uses_reference(&self) -> bool {
        match self {
            Self::Sigmoid { .. } | Self::Ipo {} | Self::Hinge {} => true,
            Self::Unlikelihood { .. } => false,
        }
    }
}

impl Config for Loss {
    fn problems(&self) -> Vec<Problem> {
        let problem = match *self {
            // Beyond one half the labels would mean their opposite.
            Self::Sigmoid { label_smoothing } => {
                let possible = (0.0..=0.5).contains(&label_smoothing);
                Problem::unless(possible, "label_smoothing", label_smoothing, "0 to 0.5")
            }
            Self::Ipo {} | Self::Hinge {} => None,
            Self::Unlikelihood { alpha } => {
                Problem::unless((0.0..=1.0).contains(&alpha), "alpha", alpha, "0 to 1")
            }
        };
        problem.into_iter().collect()
    }
}

impl Config for DpoConfig {
    fn problems(&self) -> Vec<Problem> {
        let mut problems = self.loss.problems_within("loss");
        problems.extend(Problem::unless_positive("beta", self.beta));
        problems.extend(Problem::unless_counted("batch_prompts", self.batch_prompts));
        problems.extend(Problem::unless_counted("steps", self.steps));
        problems.extend(self.optimizer.problems_within("optimizer"));
        problems
    }
}

impl Config for OnlineDpoConfig {
    fn problems(&self) -> Vec<Problem> {
        let responses = self.responses_per_prompt;
        let mut problems = self.loss.problems_within("loss");
        problems.extend(Problem::unless_positive("beta", self.beta));
        problems.extend(Problem::unless_counted("batch_prompts", self.batch_prompts));
        problems.extend(Problem::unless(responses >= 2, "responses_per_prompt", responses, "at least 2"));
        problems.extend(self.labels.problems_within("labels"));
        problems.extend(Problem::unless_counted("steps", self.steps));
        problems.extend(self.sampling.problems_within("sampling"));
        problems.extend(self.optimizer.problems_within("optimizer"));
        problems
    }
}
