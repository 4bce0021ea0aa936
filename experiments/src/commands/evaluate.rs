//! `experiments evaluate`: a model beside the one that it was trained from, on the same prompts with
//! the same random numbers.

use std::io::Write;

use anyhow::{Context, Result};
use feedback::Estimate;
use lm::files::{ModelFolder, load_policy};
use lm::{Policy, Problem, ReferencePolicy, Stream};
use serde_json::{Value, json};

use super::generate::{prompts, room};
use super::score::settings;
use super::training::measure::{PolicyMeasure, Responses};
use super::training::source::scorer;
use super::training::start::{Start, refuse};
use crate::cli::Format;
use crate::cli::own_data::EvaluateOptions;
use crate::exit::{BadInput, Outcome};

/// `experiments evaluate`.
pub fn run(options: &EvaluateOptions) -> Result<Outcome> {
    let settings = settings(&options.scorer)?;
    let temperature = Problem::unless_positive("--temperature", options.temperature);
    temperature.map_or(Ok(()), |problem| Err(refuse(&problem)))?;
    let folder = ModelFolder::open(&options.model, options.base_model.as_deref())?;
    let (limits, sampling) = room(&options.sampling, &folder)?;
    let start = Start::of(&folder, options.temperature, &options.device)?;
    let reference = reference(options, &start)?;
    let prompts = prompts(&start, &options.prompts, &limits)?;
    let tokenizer = start.reader.tokenizer();
    let measure = PolicyMeasure {
        prompts: prompts.into_iter().map(|prompt| prompt.ids).collect(),
        reference: ReferencePolicy::new(&reference),
        scorer: scorer(&settings, tokenizer, &start.device)?,
        sampling,
        stream: Stream::new(options.sampling.seed, "evaluate"),
        tokenizer: tokenizer.clone(),
        samples: 0,
    };
    let found = Found::new(&measure.respond(&start.policy)?, &measure.respond(&reference)?)?;
    let text = match options.format {
        Format::Json => format!("{:#}\n", found.json()),
        Format::Text => found.text(),
    };
    std::io::stdout().lock().write_all(text.as_bytes()).context("standard output")?;
    Ok(Outcome::Done)
}

/// The reference, whose distributions must be over the same tokens as the model's.
fn reference(options: &EvaluateOptions, start: &Start) -> Result<Policy> {
    let (reference, tokenizer) = load_policy(&options.reference, options.temperature, &start.device)?;
    let [found, expected] = [&reference, &start.policy].map(|policy| policy.model().shape().vocabulary);
    if found == expected && tokenizer.is_same(start.reader.tokenizer()) {
        return Ok(reference);
    }
    let what = "its vocabulary or tokenizer is not the model's, and KL needs the same tokens";
    Err(BadInput(format!("--reference {}: {what}", options.reference.display())).into())
}

/// What was found, as means over prompts.
struct Found {
    prompts: usize,
    model: Estimate,
    reference: Estimate,
    /// Of each prompt, the model's score less the reference's.
    difference: Estimate,
    sequence_kl: Estimate,
    lengths: [Estimate; 2],
}

impl Found {
    fn new(model: &Responses, reference: &Responses) -> Result<Self> {
        let [ours, theirs] = [model, reference].map(|of| of.scores.as_deref().unwrap_or_default());
        let differences: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a - b).collect();
        let length = |of: &Responses| {
            let lengths: Vec<f64> = of.sequences.iter().map(|s| s.response.len() as f64).collect();
            Estimate::of(&lengths)
        };
        if differences.len() < 2 {
            return Err(BadInput("--prompts: found 1 prompt, expected at least 2".to_owned()).into());
        }
        Ok(Self {
            prompts: differences.len(),
            model: Estimate::of(ours),
            reference: Estimate::of(theirs),
            difference: Estimate::of(&differences),
            sequence_kl: Estimate::of(&model.sequence_kl),
            lengths: [length(model), length(reference)],
        })
    }

    fn text(&self) -> String {
        let [model, reference] = self.lengths;
        let rows = [
            ("score of the model", self.model),
            ("score of the reference", self.reference),
            ("difference, by prompt", self.difference),
            ("KL in nats per response", self.sequence_kl),
            ("tokens of the model", model),
            ("tokens of the reference", reference),
        ];
        let row = |(name, of): (&str, Estimate)| format!("{name:<26}{}\n", interval(of));
        let head = format!("{} prompts, one response each; means with 95% intervals\n", self.prompts);
        head + &rows.into_iter().map(row).collect::<String>()
    }

    fn json(&self) -> Value {
        let [model, reference] = self.lengths;
        json!({
            "prompts": self.prompts,
            "score": { "model": self.model, "reference": self.reference, "difference": self.difference },
            "sequence_kl": self.sequence_kl,
            "response_length": { "model": model, "reference": reference },
        })
    }
}

/// A mean with its 95% interval.
fn interval(Estimate { mean, se }: Estimate) -> String {
    format!("{mean:.3} [{:.3}, {:.3}]", mean - 1.96 * se, mean + 1.96 * se)
}
