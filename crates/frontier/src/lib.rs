//! Statistics and figures of reward-KL points.
//!
//! The question is *who earns more reward at the same distance from the reference model*. A point is one
//! evaluation of one checkpoint: its mean true reward and its sequence KL from the reference, in nats. From
//! the [`Run`]s of a study this crate makes
//!
//! - an [`Analysis`]: the study with its prompts resampled, jointly for all policies and the reference;
//! - the upper [`Envelope`] of each method, cross-fitted, the mean reward under it, and
//!   [`isotonic`] regression as the view that does not pick maxima, each with [`intervals`] over
//!   seeds and prompts together;
//! - paired comparisons of two methods, and what a reward [costs];
//! - the ceilings that no method can pass or that a cheap one reaches: the reweighted [`optimum`], what hard
//!   labels can tell of it, best-of-n sampling ([`best_of_n`]) and the Bernoulli [`floor`] on the KL;
//! - [`why`] methods differ, one part at a time, and the share that a policy's accuracy on pairs
//!   foretells (the [`law`]);
//! - the [`overoptimization`] curves of Gao et al.;
//! - [`ablation`]s: what a variation of a study changes;
//! - [win rates](win_rate) against texts that people wrote, by sampling temperature, and the
//!   [`agreement`] of judges;
//! - [`checks`] that the points themselves must pass;
//! - the [`Summary`] of all of it, the [`answer()`] in words, [`tables()`], the paper's [`claims`] tested by
//!   it, and the [`figures`];
//! - the [`published`] copy of a study: small, and enough to make all of this again.
//!
//! The crate knows no tensor, no model and no data set: it reads the records ([`EvalRow`], [`FrontierRow`],
//! [`PromptScore`]) that a run writes, and everything it returns is plain data.

mod error;
pub mod figures;
mod method;
mod records;
mod report;
mod statistics;

pub use error::Error;
pub use method::Method;
pub use records::{
    EvalRow, EvalWriter, FIXED_KL_COEF, FRONTIER, FrontierRow, JUDGEMENTS, Judgement, Metrics, Outcome,
    PromptSamples, PromptScore, PromptScores, PromptWriter, REFERENCE_METRICS, REFERENCE_SCORES, RESPONSES,
    REWARD_MODEL_METRICS, ResponsesRow, Run, TEMPERATURES, TemperatureRow, on_frontier, paper, published,
    read_evals, read_frontier, read_judgements, read_prompts, read_reference_scores, read_responses,
    read_runs, read_samples, read_stage_metrics, read_temperatures, usable, write_evals, write_frontier,
    write_judgements, write_reference_scores, write_responses, write_run, write_temperatures,
};
pub use report::{
    Answer, Table, agreement_table, answer, checks_table, claims, claims_table, interval_note, law_table,
    markdown_table, nats, percent, reasons, tables, why_tables, win_rate_answer, win_rate_claims,
    win_rate_tables,
};
pub use statistics::costs::{MethodCost, MethodCosts};
pub use statistics::intervals::Estimate;
pub use statistics::optimum::OptimumPoint;
pub use statistics::{
    AREA_LIMITS, Analysis, Area, Between, Bootstrap, COMPARED, CeilingAt, Comparison, Curves, Envelope,
    Halves, KL_GRID, KlFor, MethodAt, MethodSummary, REWARD_GRID, Reference, RewardAt, Summary, ablation,
    agreement, best_of_n, calibration, checks, costs, curve_kls, floor, intervals, isotonic, law, optimum,
    overoptimization, summarise, why, win_rate,
};
