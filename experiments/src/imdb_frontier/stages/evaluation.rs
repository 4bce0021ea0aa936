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
        responses_per_prompt: preset.evaluation.responses_per_prompt,
        reference: ReferencePolicy::new(policy),
        scorer,
        second_opinion,
        sampling: preset.sampling.clone(),
        stream: Stream::new(preset.data_seed, "evaluation"),
        tokenizer: tokenizer.clone(),
    })
}

/// Writes a response to each of the first prompts of an evaluation, for the report.
pub fn write_samples(path: &Path, evaluated: &[Sample], responses_per_prompt: usize) -> Result<()> {
    let first = evaluated.iter().step_by(responses_per_prompt).take(KEPT_SAMPLES);
    jsonl::write(path, first)
}
