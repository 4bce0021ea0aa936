//! `experiments score`: scores of responses that are written down.

use std::path::PathBuf;

use anyhow::Result;
use feedback::records::{ResponseRecord, read_responses};
use feedback::{Estimate, ProgramLimits, ProgramScorer, TextScorer};
use lm::ScoreUnit;
use lm::files::ModelFolder;
use serde::Serialize;

use super::training::sections::{ClassifierSettings, ScorerSettings};
use super::training::source::{classifier, reward_model_of, sequence_of};
use super::training::start::refuse;
use crate::cli::own_data::{ScoreOptions, ScorerOptions};
use crate::exit::Outcome;
use crate::jsonl::Output;

/// What is borne from a program, as in the configurations that ship.
const TIMEOUT: f64 = 120.0;
const RESTARTS: usize = 3;
/// The label of a classifier, likewise.
const LABEL: &str = "1";

/// Parameters of a small encoder, by which `auto` chooses a device before the model is read.
const SMALL_ENCODER: usize = 22_000_000;

/// A line of the output.
#[derive(Serialize)]
struct Line {
    prompt: String,
    response: String,
    score: f32,
}

/// `experiments score`.
pub fn run(options: &ScoreOptions) -> Result<Outcome> {
    let settings = settings(&options.scorer)?;
    let responses = read_responses(&options.responses)?;
    let out = Output::open(&options.out)?;
    let scores = scores(&settings, &responses, options)?;
    let values: Vec<f64> = scores.iter().copied().map(f64::from).collect();
    let Estimate { mean, se } = Estimate::of(&values);
    tracing::info!("{} responses: mean score {mean:.4}, standard error {se:.4}", values.len());
    let line = |(ResponseRecord { prompt, response, .. }, score)| Line { prompt, response, score };
    out.write(responses.into_iter().zip(scores).map(line))?;
    Ok(Outcome::Done)
}

/// The scorer that flags name.
pub fn settings(options: &ScorerOptions) -> Result<ScorerSettings> {
    let text = |path: &Option<PathBuf>| {
        path.as_deref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let settings = ScorerSettings {
        reward_model: text(&options.reward_model),
        classifier: ClassifierSettings {
            folder: text(&options.classifier),
            label: options.label.clone().unwrap_or_else(|| LABEL.to_owned()),
            unit: ScoreUnit::Probability,
        },
        command: options.scorer_command.clone().unwrap_or_default(),
        program: ProgramLimits { timeout: options.scorer_timeout.unwrap_or(TIMEOUT), restarts: RESTARTS },
    };
    settings.required().map_or(Ok(()), |problem| Err(refuse(&problem)))?;
    Ok(settings)
}

fn scores(
    settings: &ScorerSettings,
    responses: &[ResponseRecord],
    options: &ScoreOptions,
) -> Result<Vec<f32>> {
    let Some(dir) = &options.scorer.reward_model else {
        let text = |record: &ResponseRecord| (record.prompt.clone(), record.response.clone());
        let texts: Vec<(String, String)> = responses.iter().map(text).collect();
        if settings.classifier.folder.is_empty() {
            return Ok(ProgramScorer::new(settings.command.clone(), settings.program)?.score(&texts)?);
        }
        let device = options.device.open(SMALL_ENCODER)?.device;
        return Ok(classifier(&settings.classifier, &device)?.score(&texts)?);
    };
    let folder = ModelFolder::open(dir, options.base_model.as_deref())?;
    let device = options.device.open(folder.config()?.parameters())?.device;
    let (model, tokenizer) = reward_model_of(dir, &folder, &device)?;
    let sequence =
        |record: &ResponseRecord| sequence_of(&tokenizer, &record.prompt, &record.response, record.ended);
    let sequences = responses.iter().map(sequence).collect::<Result<Vec<_>, _>>()?;
    Ok(model.score(&sequences)?)
}
