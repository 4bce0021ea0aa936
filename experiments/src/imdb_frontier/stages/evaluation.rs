//! The evaluation that every run and the reference itself go through.

use std::path::Path;

use anyhow::Result;
use feedback::{Evaluator, Sample};
use lm::{Policy, ReferencePolicy, Stream, Tokenizer};

use crate::imdb_frontier::preset::Preset;
use crate::imdb_frontier::stages::{classifier, prompts};
use crate::jsonl;
use crate::study::folder::Folder;

/// Samples of an evaluation that are kept.
const KEPT_SAMPLES: usize = 24;

/// The evaluation that every run and the reference itself go through.
pub fn evaluator(
    preset: &Preset,
    folder: &Folder,
    policy: &Policy,
    tokenizer: &Tokenizer,
) -> Result<Evaluator> {
    let (scorer, second_opinion) = classifier::scorers(folder, preset, tokenizer, &policy.device())?;
    Ok(Evaluator {
        prompts: prompts::read(&folder.stage("prompts"))?.held_out(preset.evaluation.on).to_vec(),
        reference: ReferencePolicy::new(policy),
        scorer,
        second_opinion,
        sampling: preset.sampling.clone(),
        stream: Stream::new(preset.data_seed, "evaluation"),
        tokenizer: tokenizer.clone(),
    })
}

/// Writes the first samples of an evaluation, for the report.
pub fn write_samples(path: &Path, evaluated: &[Sample]) -> Result<()> {
    jsonl::write(path, &evaluated[..evaluated.len().min(KEPT_SAMPLES)])
}
