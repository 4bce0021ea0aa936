//! Stage 3: three sets of prompts that share no review.

use std::path::Path;

use anyhow::Result;
use feedback::Prompts;
use serde_json::json;

use crate::exit::BadInput;
use crate::imdb_frontier::preset::Preset;
use crate::imdb_frontier::stages::context::Context;
use crate::imdb_frontier::stages::reference;
use crate::study::folder::{read_json, write_json};
use crate::study::stages::Finished;

const PROMPTS: &str = "prompts.json";

pub fn stage(context: &Context<'_>) -> Result<Finished> {
    context.stage("prompts", |dir| {
        let preset = &context.plan.preset;
        let (policy, tokenizer) = reference::read(context)?;
        let reviews = context.reviews()?;
        let prompts = if reviews.train.is_empty() {
            preset.prompts.from_model(&policy, &tokenizer, preset.data_seed)?
        } else {
            preset.prompts.from_reviews(&reviews.train, &reviews.test, &tokenizer, preset.data_seed)?
        };
        check_room(preset, policy.model().shape().context)?;
        write_json(&dir.join(PROMPTS), &prompts)?;
        let notes = json!({
            "train": prompts.train.len(),
            "tune": prompts.tune.len(),
            "evaluate": prompts.evaluate.len(),
            "evaluate_also_in_train": prompts.overlap(),
        });
        Ok((0, notes))
    })
}

/// Refuses responses that do not fit the reference model's context.
fn check_room(preset: &Preset, context: usize) -> Result<()> {
    let needed = 1 + preset.prompts.max_tokens + preset.sampling.max_new_tokens;
    if needed > context {
        let found = format!("1 + prompts.max_tokens + sampling.max_new_tokens = {needed}");
        return Err(
            BadInput(format!("{found}: the reference model has a context of {context} tokens")).into()
        );
    }
    Ok(())
}

/// The prompts of a finished stage.
pub fn read(dir: &Path) -> Result<Prompts> {
    read_json(&dir.join(PROMPTS))
}
