//! The evaluation that every run and the reference itself go through.

use std::path::Path;

use anyhow::Result;
use imdb::{Evaluator, Prompts, Sample};
use lm::{Policy, ReferencePolicy, Stream, Tokenizer};

use crate::imdb_frontier::preset::{Preset, PromptSet};
use crate::imdb_frontier::samples;
use crate::imdb_frontier::stages::{ground_truth, prompts};
use crate::study::folder::Folder;

/// Samples of an evaluation that are kept.
const KEPT_SAMPLES: usize = 24;

/// The prompts that evaluations use.
fn evaluation_prompts(preset: &Preset, prompts: Prompts) -> Vec<Vec<u32>> {
    match preset.evaluation.on {
        PromptSet::Evaluate => prompts.evaluate,
        PromptSet::Tune => prompts.tune,
    }
}

/// The evaluation that every run and the reference itself go through.
pub fn evaluator(
    preset: &Preset,
    folder: &Folder,
    policy: &Policy,
    tokenizer: &Tokenizer,
) -> Result<Evaluator> {
    let (ground_truth, judge) = ground_truth::scorers(&folder.stage("ground-truth"), tokenizer)?;
    Ok(Evaluator {
        prompts: evaluation_prompts(preset, prompts::read(&folder.stage("prompts"))?),
        reference: ReferencePolicy::new(policy),
        ground_truth: Box::new(ground_truth),
        judge: Box::new(judge),
        sampling: preset.sampling.clone(),
        stream: Stream::new(preset.data_seed, "evaluation"),
        tokenizer: tokenizer.clone(),
    })
}

/// Writes the first samples of an evaluation, for the report.
pub fn write_samples(path: &Path, evaluated: &[Sample]) -> Result<()> {
    samples::write(path, &evaluated[..evaluated.len().min(KEPT_SAMPLES)])
}
