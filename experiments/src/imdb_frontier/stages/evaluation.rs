//! The evaluation that every run and the reference itself go through.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context as _, Result};
use feedback::{Evaluator, Sample};
use lm::{Policy, ReferencePolicy, Stream, Tokenizer};

use crate::imdb_frontier::preset::Preset;
use crate::imdb_frontier::stages::{ground_truth, prompts};
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
    let (scorer, second_opinion) = ground_truth::scorers(&folder.stage("ground-truth"), tokenizer)?;
    Ok(Evaluator {
        prompts: prompts::read(&folder.stage("prompts"))?.held_out(preset.evaluation.on).to_vec(),
        reference: ReferencePolicy::new(policy),
        scorer: Box::new(scorer),
        second_opinion: Box::new(second_opinion),
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
