//! The evaluation that every run and the reference itself go through.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context as _, Result};
use imdb::{Evaluator, Prompts, Sample};
use lm::{Policy, ReferencePolicy, Stream, Tokenizer};

use crate::imdb_frontier::preset::{Preset, PromptSet};
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
pub fn write_samples(path: &Path, samples: &[Sample]) -> Result<()> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    let mut file = BufWriter::new(file);
    for sample in samples.iter().take(KEPT_SAMPLES) {
        serde_json::to_writer(&mut file, sample)?;
        file.write_all(b"\n")?;
    }
    file.flush().with_context(|| path.display().to_string())
}
