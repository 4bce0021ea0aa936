//! Direct preference optimisation: a policy learns from preference pairs, without a reward model and, unless
//! it is asked to, without sampling.
//!
//! The optimum of `E_pi[r(x, y)] - beta KL(pi || pi_ref)` is
//! `pi*(y | x) ∝ pi_ref(y | x) exp(r(x, y) / beta)`. Solved for the reward,
//! `r(x, y) = beta log(pi*(y | x) / pi_ref(y | x)) + beta log Z(x)`, and `Z(x)` cancels in the difference of
//! two responses to one prompt. So the Bradley-Terry likelihood of the preferences can be maximised in the
//! policy itself (Rafailov et al. 2023, arXiv 2305.18290, equation 7):
//!
//! `loss = -E[log sigma(beta log(pi(y_w|x) / pi_ref(y_w|x)) - beta log(pi(y_l|x) / pi_ref(y_l|x)))]`
//!
//! [`preference_loss`] is that equation and its relatives (cDPO, IPO, hinge, unlikelihood),
//! [`DpoTrainer`] the algorithm on pairs that are given, [`OnlineDpoTrainer`] the same on pairs that the
//! policy writes as it learns.
//!
//! What this crate refuses to know: where given pairs come from, who preferred what and why, which
//! architecture the policy has, and how good the policy is in the end.

mod config;
mod error;
mod evaluation;
mod learner;
mod loss;
mod numbers;
mod online;
mod reference;
mod trainer;

pub use config::{DpoConfig, Loss, OnlineDpoConfig};
pub use error::DpoError;
pub use evaluation::{Evaluation, evaluate};
pub use loss::{PreferenceLoss, preference_loss};
pub use online::OnlineDpoTrainer;
pub use reference::ReferenceLogProbs;
pub use trainer::DpoTrainer;
