//! Stage 1: pi_SFT, which is pi_ref.

use std::path::Path;

use anyhow::Result;
use lm::files::{Precision, load_policy, save_policy};
use lm::sft::{openings, perplexity};
use lm::{Policy, Tokenizer};
use serde_json::{Value, json};

use crate::imdb_frontier::plan::REFERENCE_METRICS;
use crate::imdb_frontier::reference::{
    HELD_OUT, ReferenceSource, SHIPPED, Trained, TrainingContext, fine_tune, folder, train,
};
use crate::imdb_frontier::reviews::spread;
use crate::imdb_frontier::stages::context::Context;
use crate::study::stages::Finished;

pub fn stage(context: &Context<'_>) -> Result<Finished> {
    let preset = &context.plan.preset;
    let temperature = preset.temperature;
    let training = TrainingContext {
        device: context.device,
        progress: context.progress,
        metrics: &context.folder.file(REFERENCE_METRICS),
        snapshots: None,
        activations: preset.activations(),
    };
    context.stage("reference", |dir| match &preset.reference {
        ReferenceSource::Train(config) => {
            let trained = train(config, context.reviews()?, temperature, &training)?;
            save_trained(dir, &trained, "trained")
        }
        ReferenceSource::FineTune(config) => {
            let trained = fine_tune(&preset.reference, config, context.reviews()?, temperature, &training)?;
            let start = config.folder.as_ref().map(|folder| folder.display().to_string());
            let start = start.unwrap_or_else(|| "random weights".to_owned());
            save_trained(dir, &trained, &format!("fine-tuned from {start}"))
        }
        ReferenceSource::Shipped | ReferenceSource::Folder(_) => {
            let source = folder(&preset.reference)?.unwrap_or_default();
            let (policy, tokenizer) = load_policy(&source, preset.temperature, context.device)?;
            save_policy(dir, &policy, &tokenizer, Precision::F32)?;
            let config = policy.model().config();
            let reviews = context.reviews()?;
            // A test split that is made of train reviews is made of what the shipped model was trained on.
            let seen = preset.reference == ReferenceSource::Shipped && reviews.counts.moved_to_test > 0;
            let texts = if seen { Vec::new() } else { spread(&reviews.test, HELD_OUT) };
            let held_out =
                openings(&tokenizer.encode_batch(&texts)?, config.shape().context, tokenizer.ends());
            let perplexity = if held_out.is_empty() { None } else { Some(perplexity(&policy, &held_out)?) };
            let tokens = held_out.iter().map(|sequence| sequence.len() as u64).sum();
            // The shipped model by its name, so that results do not depend on the machine.
            let shipped = preset.reference == ReferenceSource::Shipped;
            let shown = if shipped { SHIPPED.to_owned() } else { source.display().to_string() };
            Ok((
                tokens,
                json!({ "source": shown, "perplexity": perplexity, "parameters": config.parameters() }),
            ))
        }
    })
}

fn save_trained(dir: &Path, trained: &Trained, source: &str) -> Result<(u64, Value)> {
    save_policy(dir, &trained.policy, &trained.tokenizer, Precision::F32)?;
    let parameters = trained.policy.model().config().parameters();
    let notes = json!({ "source": source, "perplexity": trained.perplexity, "parameters": parameters });
    Ok((trained.tokens, notes))
}

/// The policy and tokenizer of the finished reference stage.
pub fn read(context: &Context<'_>) -> Result<(Policy, Tokenizer)> {
    let dir = context.folder.stage("reference");
    Ok(load_policy(&dir, context.plan.preset.temperature, context.device)?)
}
