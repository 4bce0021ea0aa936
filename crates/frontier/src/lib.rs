//! Statistics and figures of reward-KL points.
//!
//! The question is *who earns more reward at the same distance from the reference model*. A point is one
//! evaluation of one checkpoint: its mean true reward and its sequence KL from the reference, in nats. From
//! the [`Run`]s of a study this crate makes
//!
//! - an [`Analysis`]: the study with its prompts resampled, jointly for all policies and the reference;
//! - the upper [`Envelope`] of each method, the mean reward under it, and [`isotonic`] regression as the view
//!   that does not pick maxima, each with [`intervals`] over seeds and prompts together;
//! - paired comparisons of two methods, and what a reward [costs];
//! - the ceilings that no method can pass or that a cheap one reaches: the reweighted [`optimum`], best-of-n
//!   sampling ([`best_of_n`]) and the Bernoulli [`floor`] on the KL;
//! - the [`overoptimization`] curves of Gao et al.;
//! - [`ablation`]s: what a variation of a study changes;
//! - [`checks`] that the points themselves must pass;
//! - the [`Summary`] of all of it, the paper's [`claims`] tested by it, and the [`figures`].
//!
//! The crate knows no tensor, no model and no data set: it reads the records ([`EvalRow`], [`FrontierRow`],
//! [`PromptScore`]) that a run writes, and everything it returns is plain data.

pub mod ablation;
mod analysis;
pub mod best_of_n;
pub mod calibration;
pub mod checks;
pub mod claims;
pub mod costs;
mod envelope;
mod error;
pub mod figures;
pub mod floor;
pub mod intervals;
pub mod isotonic;
mod method;
pub mod optimum;
pub mod overoptimization;
pub mod paper;
mod prompts;
mod records;
mod resampling;
mod run;
mod samples;
mod summary;
mod table;

pub use analysis::{Analysis, curve_kls};
pub use costs::{MethodCost, MethodCosts};
pub use envelope::{Envelope, FIXED_KL_COEF, envelopes_by_seed, on_frontier, usable};
pub use error::Error;
pub use intervals::Estimate;
pub use method::Method;
pub use optimum::OptimumPoint;
pub use prompts::{PromptScore, PromptScores, PromptWriter, read_prompts};
pub use records::{EvalRow, EvalWriter, FrontierRow, read_evals, read_frontier, write_evals, write_frontier};
pub use resampling::Bootstrap;
pub use run::{Metrics, Run, read_runs};
pub use samples::{PromptSamples, Reference};
pub use summary::{
    AREA_LIMITS, Area, COMPARED, Comparison, Curves, KL_GRID, KlFor, MethodAt, MethodSummary, REWARD_GRID,
    RewardAt, Summary, summarise,
};
pub use table::{claims_table, markdown_table, percent};
