//! Stage 5: preference pairs, the reference's log-probabilities of them, and the unit of the true score.

use std::path::Path;

use anyhow::Result;
use feedback::preferences::label;
use feedback::sampling::sample;
use feedback::{ComparedResponses, HeldOutPairs, Preferences, comparisons, jsonl};
use lm::{DistinctResponses, Normalization, PreferencePair, ReferencePolicy, Sequence, Stream};
use serde_json::{Value, json};

use crate::exit::BadInput;
use crate::imdb_frontier::plan::{COMPARISONS, HELD_OUT_RESPONSES, preferences_of};
use crate::imdb_frontier::stages::context::Context;
use crate::imdb_frontier::stages::{classifier, prompts, reference};
use crate::study::folder::{read_json, write_json};
use crate::study::stages::Finished;

/// Pairs as text, for people and other programs.
const LISTED: &str = "preferences.jsonl";
const RESPONSES: &str = "responses.json";
/// Of the distinct responses of the training pairs, in the order of their first pairs.
const LOGPROBS: &str = "reference_logprobs.json";
const SCORE_UNIT: &str = "score_normalization.json";
const HELD_OUT: &str = "held_out.json";

/// Responses that scores are normalised on, from the reference.
const NORMALIZATION_SAMPLES: usize = 1000;

/// Pairs of a prompt that are written as text: all of those of four responses.
const LISTED_OF_PROMPT: usize = 6;

pub fn stage(context: &Context<'_>, seed: u64) -> Result<Finished> {
    context.stage(&preferences_of(seed), |dir| {
        let preset = &context.plan.preset;
        let (policy, tokenizer) = reference::read(context)?;
        let (scorer, _) = classifier::scorers(context.folder, preset, &tokenizer, context.device)?;
        let prompts = prompts::read(&context.folder.stage("prompts"))?.train;
        let stream = Stream::new(seed, "preferences");
        let n = preset.preferences.responses_per_prompt;
        let responses = sample(&policy, &prompts, n, &preset.sampling, stream.child(0))?;
        let preferences = label(&responses, &scorer, &preset.preferences, stream.child(1))?;
        comparisons::write(&dir.join(COMPARISONS), &preferences)?;
        jsonl::write(&dir.join(LISTED), &preferences, &tokenizer, LISTED_OF_PROMPT)?;
        let reference = ReferencePolicy::new(&policy);
        let distinct = DistinctResponses::of(&preferences.train_pairs()).sequences;
        write_json(&dir.join(LOGPROBS), &reference.score_sequences(&distinct)?)?;
        let held_out = HeldOutPairs::new(&reference, &preferences.validation, HELD_OUT_RESPONSES)?;
        write_json(&dir.join(HELD_OUT), &held_out)?;
        let some = &responses[..responses.len().min(NORMALIZATION_SAMPLES)];
        write_json(&dir.join(RESPONSES), &some)?;
        Normalization::measure(&scorer, some)?.write(&dir.join(SCORE_UNIT))?;
        Ok((2 * tokens(&responses), notes(&preferences)))
    })
}

fn notes(preferences: &Preferences) -> Value {
    let pairs = |prompts: &[ComparedResponses]| prompts.iter().map(|of| of.pairs.len()).sum::<usize>();
    let train = pairs(&preferences.train);
    let gaps = || preferences.train.iter().flat_map(ComparedResponses::score_gaps);
    json!({
        "train": train,
        "train_responses": preferences.train.iter().map(|of| of.responses.len()).sum::<usize>(),
        "validation": pairs(&preferences.validation),
        "ties_dropped": preferences.ties,
        "labels_against_score": gaps().filter(|gap| *gap < 0.0).count(),
        "mean_score_gap": gaps().map(f64::from).sum::<f64>() / train as f64,
    })
}

fn tokens(sequences: &[Sequence]) -> u64 {
    sequences.iter().map(|sequence| sequence.len() as u64).sum()
}

/// The training pairs of a finished stage, with the reference's log-probabilities.
pub fn read_pairs(dir: &Path) -> Result<(Vec<PreferencePair>, dpo::ReferenceLogProbs)> {
    let pairs = comparisons::read(&dir.join(COMPARISONS))?.train_pairs();
    let path = dir.join(LOGPROBS);
    let logprobs: Vec<f64> = read_json(&path)?;
    let distinct = DistinctResponses::of(&pairs);
    let (found, expected) = (logprobs.len(), distinct.sequences.len());
    if found != expected {
        let found = format!("{}: found {found} numbers", path.display());
        return Err(BadInput(format!("{found}, expected {expected}, one per distinct response")).into());
    }
    let (chosen, rejected) = distinct.spread(&logprobs);
    Ok((pairs, dpo::ReferenceLogProbs { chosen, rejected }))
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
