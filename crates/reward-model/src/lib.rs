//! A reward model: from preference pairs, a number that says how good a response is.
//!
//! Under the Bradley-Terry model a response is preferred with probability `sigma(r(x, y_w) - r(x, y_l))`. The
//! reward model `r_phi` is the language model's body with one output at the last token, trained by maximum
//! likelihood (Christiano et al. 2017; Ziegler et al. 2019; Rafailov et al. 2023, equation 2):
//!
//! `loss = -E[log sigma(r_phi(x, y_w) - r_phi(x, y_l))]`
//!
//! The likelihood does not change when a constant is added to the scores of one prompt, so the scores have
//! no zero of their own: [`RewardModel::normalize`] gives them mean 0 and standard deviation 1 on samples of
//! the reference. What comes out, [`NormalizedRewardModel`], is an [`lm::Scorer`], and reinforcement
//! learning sees no more of it.
//!
//! What this crate refuses to know: where the pairs come from, what the preferences mean, and which algorithm
//! will maximise the score.

mod config;
mod error;
mod loss;
mod model;
mod trainer;

pub use config::RewardModelConfig;
pub use error::RewardModelError;
pub use loss::{RewardLoss, reward_loss};
pub use model::{NormalizedRewardModel, RewardModel, Validation};
pub use trainer::RewardModelTrainer;
