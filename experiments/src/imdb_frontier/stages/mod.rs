//! The stages that all runs share. Each leaves its results in a folder of the cache, and is done again only when
//! something that it depends on has changed.

pub mod context;
pub mod evaluation;
pub mod ground_truth;
pub mod preferences;
pub mod prompts;
pub mod reference;
pub mod reference_samples;
pub mod reward_model;

use anyhow::Result;

use crate::study::stages::Finished;
use context::Context;

/// All stages in order.
pub fn all(context: &Context<'_>) -> Result<Vec<Finished>> {
    Ok(vec![
        reference::stage(context)?,
        ground_truth::stage(context)?,
        prompts::stage(context)?,
        reference_samples::stage(context)?,
        preferences::stage(context)?,
        reward_model::stage(context)?,
    ])
}
