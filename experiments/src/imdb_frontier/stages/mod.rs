//! The stages that runs share: some all of them, some those of one seed. Each leaves its results in a folder
//! of the cache, and is done again only when something that it depends on has changed.

pub mod classifier;
pub mod context;
pub mod evaluation;
pub mod ground_truth;
pub mod preferences;
pub mod prompts;
pub mod reference;
pub mod reference_samples;
pub mod reward_model;

use anyhow::Result;

use crate::imdb_frontier::classifiers::Role;
use crate::study::stages::Finished;
use context::Context;

/// All stages in order; those of the pairs and the reward model once for each seed, so that the spread
/// between seeds holds theirs too.
pub fn all(context: &Context<'_>) -> Result<Vec<Finished>> {
    let mut finished =
        vec![reference::stage(context)?, ground_truth::stage(context)?, prompts::stage(context)?];
    for role in Role::ALL {
        finished.extend(classifier::stage(context, role)?);
    }
    finished.push(reference_samples::stage(context)?);
    for &seed in &context.plan.preset.seeds {
        finished.push(preferences::stage(context, seed)?);
        finished.push(reward_model::stage(context, seed)?);
    }
    Ok(finished)
}
