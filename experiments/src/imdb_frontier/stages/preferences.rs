//! Stage 5: preference pairs, the reference's log-probabilities of them, and the unit of the true score.

use std::path::Path;

use anyhow::Result;
use feedback::preferences::label;
use feedback::sampling::sample;
use feedback::{HeldOutPairs, jsonl};
use lm::{Normalization, ReferencePolicy, Sequence, Stream};
use serde_json::json;

use crate::imdb_frontier::plan::{HELD_OUT_RESPONSES, preferences_of};
use crate::imdb_frontier::stages::context::Context;
use crate::imdb_frontier::stages::{ground_truth, prompts, reference};
use crate::study::folder::{read_json, write_json};
use crate::study::stages::Finished;

pub const PAIRS: &str = "preferences.jsonl";
const RESPONSES: &str = "responses.json";
const LOGPROBS: &str = "reference_logprobs.json";
const SCORE_UNIT: &str = "score_normalization.json";
const HELD_OUT: &str = "held_out.json";

/// Responses that scores are normalised on, from the reference.
const NORMALIZATION_SAMPLES: usize = 1000;

pub fn stage(context: &Context<'_>, seed: u64) -> Result<Finished> {
    context.stage(&preferences_of(seed), |dir| {
        let preset = &context.plan.preset;
        let (policy, tokenizer) = reference::read(context)?;
        let (scorer, _) = ground_truth::scorers(&context.folder.stage("ground-truth"), &tokenizer)?;
        let prompts = prompts::read(&context.folder.stage("prompts"))?.train;
        let stream = Stream::new(seed, "preferences");
        let n = preset.preferences.responses_per_prompt;
        let responses = sample(&policy, &prompts, n, &preset.sampling, stream.child(0))?;
        let pairs = label(&responses, &scorer, &preset.preferences, stream.child(1))?;
        jsonl::write(&dir.join(PAIRS), &pairs, &tokenizer)?;
        let reference = ReferencePolicy::new(&policy);
        let logprobs = dpo::ReferenceLogProbs::compute(&reference, &pairs.train_pairs())?;
        write_json(&dir.join(LOGPROBS), &logprobs)?;
        let held_out = HeldOutPairs::new(&reference, &pairs.validation, HELD_OUT_RESPONSES)?;
        write_json(&dir.join(HELD_OUT), &held_out)?;
        let some = &responses[..responses.len().min(NORMALIZATION_SAMPLES)];
        write_json(&dir.join(RESPONSES), &some)?;
        Normalization::measure(&scorer, some)?.write(&dir.join(SCORE_UNIT))?;
        let gap: f64 =
            pairs.train.iter().map(|pair| f64::from(pair.chosen_score - pair.rejected_score)).sum();
        let notes = json!({
            "train": pairs.train.len(),
            "validation": pairs.validation.len(),
            "ties_dropped": pairs.ties,
            "labels_against_score": pairs.disagreements,
            "mean_score_gap": gap / pairs.train.len() as f64,
        });
        Ok((2 * tokens(&responses), notes))
    })
}

fn tokens(sequences: &[Sequence]) -> u64 {
    sequences.iter().map(|sequence| sequence.len() as u64).sum()
}

/// The training pairs of a finished stage, with the reference's log-probabilities.
pub fn read_pairs(dir: &Path) -> Result<(Vec<lm::PreferencePair>, dpo::ReferenceLogProbs)> {
    Ok((jsonl::read(&dir.join(PAIRS))?.train_pairs(), read_json(&dir.join(LOGPROBS))?))
}

/// The held-out pairs of a finished stage.
pub fn read_held_out(dir: &Path) -> Result<HeldOutPairs> {
    read_json(&dir.join(HELD_OUT))
}

/// Responses of the reference, which scores are standardised on.
pub fn read_responses(dir: &Path) -> Result<Vec<Sequence>> {
    read_json(&dir.join(RESPONSES))
}

/// Mean and standard deviation of r* on reference samples.
pub fn read_score_unit(dir: &Path) -> Result<Normalization> {
    Ok(Normalization::read(&dir.join(SCORE_UNIT))?)
}
