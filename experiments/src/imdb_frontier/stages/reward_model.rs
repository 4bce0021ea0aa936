//! Stage 6: the learned reward r_phi.

use std::path::Path;

use anyhow::Result;
use burn::tensor::Device;
use imdb::preferences;
use lm::Sequence;
use lm::checkpoint::Precision;
use reward_model::{NormalizedRewardModel, RewardModelTrainer};
use serde_json::json;

use crate::imdb_frontier::stages::context::Context;
use crate::imdb_frontier::stages::preferences::{PAIRS, RESPONSES};
use crate::imdb_frontier::stages::reference;
use crate::study::folder::read_json;
use crate::study::stages::Finished;

pub fn stage(context: &Context<'_>) -> Result<Finished> {
    context.stage("reward-model", |dir| {
        let preset = &context.plan.preset;
        let (policy, tokenizer) = reference::read(context)?;
        let source = context.folder.stage("preferences");
        let pairs = preferences::read(&source.join(PAIRS))?;
        let (train, validation) = (pairs.train_pairs(), pairs.validation_pairs());
        let config = preset.reward_model.clone();
        let steps = config.steps;
        let mut trainer = RewardModelTrainer::new(&policy, train, &validation, config, preset.data_seed)?;
        let mut task = context.progress.task("reward model", steps as u64);
        for step in 1..=steps {
            let metrics = trainer.step()?;
            let accuracy =
                metrics.iter().find(|(name, _)| *name == "accuracy").map_or(f64::NAN, |found| found.1);
            task.at(step as u64, steps as u64, &format!("accuracy {accuracy:.2}"));
        }
        let tokens = trainer.tokens();
        let best = trainer.finish();
        let held_out = best.validation;
        task.done(&format!("held-out accuracy {:.3}", held_out.accuracy));
        let samples: Vec<Sequence> = read_json(&source.join(RESPONSES))?;
        let normalized = best.normalize(&samples)?;
        normalized.save(dir, &tokenizer, Precision::F32)?;
        let notes = json!({ "held_out_accuracy": held_out.accuracy, "held_out_loss": held_out.loss });
        Ok((tokens, notes))
    })
}

/// The reward model of a finished stage.
pub fn read(dir: &Path, device: &Device) -> Result<NormalizedRewardModel> {
    Ok(NormalizedRewardModel::load(dir, device)?)
}
