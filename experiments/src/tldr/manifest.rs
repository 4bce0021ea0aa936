//! `manifest.json` of win rates.

use feedback::judge::{EndpointConfig, Spent};
use serde::{Deserialize, Serialize};

use crate::study::manifest::Environment;
use crate::tldr::posts::PostData;
use crate::tldr::settings::{Policies, Settings};

/// What was compared, with what, and how long it took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// running or done.
    pub status: String,
    pub settings: Settings,
    /// Seeds of the policies.
    pub seeds: Vec<u64>,
    /// Where prompts and people's texts come from.
    pub data: String,
    pub device: String,
    pub precision: String,
    pub environment: Environment,
    /// Names of the judges.
    pub judges: Vec<String>,
    /// The endpoint that was asked, if one was, without its key.
    pub endpoint: Option<EndpointConfig>,
    /// Requests to it, tokens, and what they cost, earlier calls included.
    pub spent: Option<SpentRecord>,
    /// Questions to each judge.
    pub questions: usize,
    /// Seconds of this call, work of earlier ones not included.
    pub seconds: f64,
}

impl Manifest {
    /// Whether a program made the posts up.
    pub fn is_synthetic(&self) -> bool {
        match &self.settings.policies {
            Policies::Study(_) => false,
            Policies::Posts(posts) => matches!(posts.data, PostData::Synthetic { .. }),
        }
    }
}

/// What an endpoint has cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SpentRecord {
    pub requests: u64,
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub cost: Option<f64>,
}

impl From<Spent> for SpentRecord {
    fn from(spent: Spent) -> Self {
        let Spent { requests, tokens: (prompt_tokens, completion_tokens), cost } = spent;
        Self { requests, prompt_tokens, completion_tokens, cost }
    }
}
