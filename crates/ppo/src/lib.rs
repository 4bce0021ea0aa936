//! RLHF with proximal policy optimisation (Schulman et al. 2017; Ziegler et al. 2019; Ouyang et al. 2022).
//!
//! The aim is the KL-regularised reward that DPO solves in closed form:
//!
//! `J(pi) = E_{y ~ pi} [r(x, y)] - kl_coef KL(pi || pi_ref)`, largest at `pi* ∝ pi_ref exp(r / kl_coef)`,
//!
//! so `kl_coef` here and `beta` in DPO are the same number. PPO climbs J by sampling. One iteration
//!
//! 1. lets the policy write responses ([`rollout`]) and has a [`lm::Scorer`] score them,
//! 2. turns scores into rewards per token ([`advantage::shaped_rewards`]):
//!    `r_t = -kl_coef (log pi(y_t | s_t) - log pi_ref(y_t | s_t))`, plus the score at the last token,
//! 3. estimates how much better than expected each token was ([`advantage::generalized_advantages`]):
//!    `A_t = sum_k (gamma lambda)^k delta_{t+k}`, `delta_t = r_t + gamma V(s_{t+1}) - V(s_t)`,
//! 4. takes a few epochs of clipped steps ([`loss`]):
//!    `L = mean_t max(-A_t rho_t, -A_t clip(rho_t, 1 ± clip_range))`,
//!    `rho_t = pi(y_t | s_t) / pi_old(y_t | s_t)`, with the value model on the clipped square
//!    error to `A_t + V(s_t)`,
//! 5. and moves `kl_coef` towards a target KL, if it is asked to ([`kl_controller`]).
//!
//! The details that move results follow `OpenAI`'s lm-human-preferences and Huang et al. (2024), "The N+
//! implementation details of RLHF with PPO".
//!
//! [`rloo`] climbs the same J without a value model: it is here because it shares rollouts, penalty and
//! coefficient with PPO and differs in the estimate of the gradient only.
//!
//! What this crate refuses to know: what a score means and where it comes from (a ground truth and a learned
//! reward model are the same `&dyn Scorer`), where prompts come from, and the shape of the language model.

pub mod advantage;
pub mod config;
mod error;
pub mod kl_controller;
pub mod loss;
mod metrics;
pub mod rloo;
pub mod rollout;
pub mod trainer;

pub use config::{KlControl, PpoConfig};
pub use error::PpoError;
pub use kl_controller::KlController;
pub use rloo::{RlooConfig, RlooTrainer};
pub use trainer::PpoTrainer;
