//! What a study leaves behind, as files and in memory.
//!
//! A study's own folder has `frontier.csv`, `reference_scores.csv` and, for each run, `runs/RUN/prompts.csv`
//! and `runs/RUN/metrics.csv`. Its [published](published) copy has one compressed table of each kind instead.

pub(crate) mod csv_file;
mod evals;
mod judgements;
mod metrics;
pub mod paper;
mod prompts;
pub mod published;
mod responses;
mod run;
mod samples;
mod study;
mod temperatures;

pub use evals::{
    EvalRow, EvalWriter, FIXED_KL_COEF, FrontierRow, on_frontier, read_evals, read_frontier, usable,
    write_evals, write_frontier,
};
pub use judgements::{JUDGEMENTS, Judgement, Outcome, read_judgements, write_judgements};
pub use metrics::Metrics;
pub use prompts::{PromptScore, PromptScores, PromptWriter, read_prompts};
pub use responses::{RESPONSES, ResponsesRow, read_responses, write_responses};
pub use run::Run;
pub use samples::{PromptSamples, read_reference_scores, write_reference_scores};
pub use study::{
    FRONTIER, REFERENCE_METRICS, REFERENCE_SCORES, REWARD_MODEL_METRICS, read_runs, read_samples,
    read_stage_metrics, write_run,
};
pub use temperatures::{TEMPERATURES, TemperatureRow, read_temperatures, write_temperatures};
