//! `manifest.json` of win rates.

use serde::{Deserialize, Serialize};

use crate::study::manifest::Environment;
use crate::tldr::settings::Settings;

/// What was compared, with what, and how long it took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// running or done.
    pub status: String,
    /// What a response wins by, in place of the paper's better summary.
    pub wins_by: String,
    pub settings: Settings,
    /// Seeds of the policies.
    pub seeds: Vec<u64>,
    /// Where the reviews come from, as asked for.
    pub data: String,
    pub device: String,
    pub precision: String,
    pub environment: Environment,
    /// Names of the judges.
    pub judges: Vec<String>,
    /// Questions to each judge.
    pub questions: usize,
    /// Seconds of this call, work of earlier ones not included.
    pub seconds: f64,
}
