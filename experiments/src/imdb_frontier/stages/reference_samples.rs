//! Stage 4: many reference samples on the evaluation prompts, scored by r*: where the ceilings come from.

use anyhow::{Context as _, Result};
use feedback::sampling::sample;
use lm::Stream;
use serde_json::json;

use crate::imdb_frontier::plan::{REFERENCE_SAMPLES, REFERENCE_SCORES};
use crate::imdb_frontier::stages::context::Context;
use crate::imdb_frontier::stages::evaluation::{evaluator, write_samples};
use crate::imdb_frontier::stages::reference;
use crate::study::stages::Finished;

pub fn stage(context: &Context<'_>) -> Result<Finished> {
    context.stage("reference-samples", |_| {
        let preset = &context.plan.preset;
        let (policy, tokenizer) = reference::read(context)?;
        let evaluator = evaluator(preset, context.folder, &policy, &tokenizer)?;
        let own = evaluator.evaluate(&policy)?;
        write_samples(&context.folder.file(REFERENCE_SAMPLES), &own.samples)?;
        let prompts = evaluator.prompts;
        let m = preset.evaluation.reference_samples;
        let stream = Stream::new(preset.data_seed, "reference-samples");
        let samples = sample(&policy, &prompts, m, &preset.sampling, stream)?;
        let scores = evaluator.scorer.score(&samples)?;
        let path = context.folder.file(REFERENCE_SCORES);
        let mut csv = csv::Writer::from_path(&path).with_context(|| path.display().to_string())?;
        csv.write_record(["prompt", "sample", "score"])?;
        for (index, score) in scores.iter().enumerate() {
            csv.write_record([(index / m).to_string(), (index % m).to_string(), score.to_string()])?;
        }
        csv.flush()?;
        let mean = scores.iter().map(|&score| f64::from(score)).sum::<f64>() / scores.len() as f64;
        Ok((
            samples.iter().map(|sequence| sequence.len() as u64).sum(),
            json!({ "prompts": prompts.len(), "samples_per_prompt": m, "mean_score": mean }),
        ))
    })
}
