//! Stage 6: the learned reward r_phi.

use std::path::Path;

use anyhow::Result;
use burn::tensor::Device;
use feedback::comparisons;
use lm::Trainer;
use lm::files::Precision;
use reward_model::{NormalizedRewardModel, RewardModelTrainer};
use serde_json::json;
use training::{Loop, Observer, Progress};

use crate::imdb_frontier::plan::{COMPARISONS, REWARD_MODEL_METRICS, preferences_of, reward_model_of};
use crate::imdb_frontier::stages::context::Context;
use crate::imdb_frontier::stages::preferences;
use crate::imdb_frontier::stages::reference;
use crate::progress::Task;
use crate::study::stages::Finished;

pub fn stage(context: &Context<'_>, seed: u64) -> Result<Finished> {
    context.stage(&reward_model_of(seed), |dir| {
        let preset = &context.plan.preset;
        let (policy, tokenizer) = reference::read(context)?;
        let source = context.folder.stage(&preferences_of(seed));
        let preferences = comparisons::read(&source.join(COMPARISONS))?;
        let (train, validation) = (preferences.train_pairs(), preferences.validation_pairs());
        drop(preferences);
        let config = preset.reward_model.clone();
        let steps = config.steps;
        let trainer = RewardModelTrainer::new(&policy, train, &validation, config, seed)?;
        let mut trainer = trainer.with_activations(preset.activations());
        let in_report = preset.seeds.iter().min() == Some(&seed);
        let metrics = if in_report {
            context.folder.file(REWARD_MODEL_METRICS)
        } else {
            dir.join(REWARD_MODEL_METRICS)
        };
        let plan = Loop { first: 0, steps, evaluate_every: 0, metrics: Some(&metrics) };
        let mut bar = Bar { task: context.progress.task("reward model", steps as u64), steps: steps as u64 };
        training::run(&mut trainer, &plan, &mut bar)?;
        let tokens = trainer.tokens();
        let best = trainer.finish();
        let held_out = best.validation;
        bar.task.done(&format!("held-out accuracy {:.3}", held_out.accuracy));
        let samples = preferences::read_responses(&source)?;
        let normalized = best.normalize(&samples)?;
        normalized.save(dir, &tokenizer, Precision::F32)?;
        let notes = json!({ "held_out_accuracy": held_out.accuracy, "held_out_loss": held_out.loss });
        Ok((tokens, notes))
    })
}

/// Shows how far the training is.
struct Bar {
    task: Task,
    steps: u64,
}

impl Observer<RewardModelTrainer> for Bar {
    type Error = anyhow::Error;

    /// The trainer validates by itself: it keeps the best model.
    fn evaluate(&mut self, _step: usize, _trainer: &RewardModelTrainer) -> Result<()> {
        Ok(())
    }

    fn progress(&mut self, progress: &Progress<'_>, _trainer: &RewardModelTrainer) -> Result<()> {
        let accuracy = progress.metric("accuracy");
        self.task.at(progress.step as u64, self.steps, &format!("accuracy {accuracy:.2}"));
        Ok(())
    }
}

/// The reward model of a finished stage.
pub fn read(dir: &Path, device: &Device) -> Result<NormalizedRewardModel> {
    Ok(NormalizedRewardModel::load(dir, device)?)
}
