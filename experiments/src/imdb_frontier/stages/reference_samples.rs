//! Stage 4: many reference samples on the evaluation prompts, scored by r*: where the ceilings come from.

use std::path::Path;

use anyhow::{Context as _, Result};
use feedback::Evaluation;
use feedback::sampling::sample;
use frontier::PromptSamples;
use frontier::optimum::optimum_curve;
use lm::{Problem, Stream};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::imdb_frontier::plan::{OPTIMUM, REFERENCE_EVALUATION, REFERENCE_SAMPLES, REFERENCE_SCORES};
use crate::imdb_frontier::stages::context::Context;
use crate::imdb_frontier::stages::evaluation::{evaluator, write_samples};
use crate::imdb_frontier::stages::reference;
use crate::study::folder::{read_json, write_json};
use crate::study::stages::Finished;

/// Effective samples per prompt down to which a coefficient is read off. It takes less care than a ceiling:
/// an error of a tenth moves the KL that a run ends at, and nothing else.
const MIN_EFFECTIVE_SAMPLES: f64 = 3.0;

/// How strongly the optimum of the KL-regularised problem tilts the reference at each KL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Optimum {
    /// (KL in nats, lambda per unit of r*), both increasing: the optimum there is `pi_ref exp(lambda r*)`.
    points: Vec<(f64, f64)>,
}

impl Optimum {
    fn new(samples: &PromptSamples) -> Self {
        let curve = optimum_curve(samples, MIN_EFFECTIVE_SAMPLES);
        Self { points: curve.iter().map(|point| (point.sequence_kl, point.lambda)).collect() }
    }

    /// The KL coefficient at which the optimum is `target_kl` nats away, for scores in units of `sd` of r*:
    /// `1 / (lambda sd)`. A learned reward, in units of its own standard deviation, takes the same.
    ///
    /// # Errors
    /// A problem of `kl.target_kl` for a KL that the reference's samples do not reach.
    pub fn kl_coef(&self, target_kl: f64, sd: f64) -> Result<f64, Problem> {
        let after = self.points.partition_point(|point| point.0 < target_kl);
        let (Some(right), true) = (self.points.get(after), after > 0) else {
            let furthest = self.points.last().map_or(0.0, |point| point.0);
            let expected =
                format!("up to {furthest:.2} nats, as far as the reference's samples tell the optimum");
            return Err(Problem::new("kl.target_kl", target_kl, expected));
        };
        let left = self.points[after - 1];
        let share = (target_kl - left.0) / (right.0 - left.0);
        Ok(1.0 / ((left.1 + share * (right.1 - left.1)) * sd))
    }
}

/// The optimum of a finished stage.
pub fn read_optimum(dir: &Path) -> Result<Optimum> {
    read_json(&dir.join(OPTIMUM))
}

/// The evaluation of the reference, which is every run's at step 0.
pub fn read_evaluation(dir: &Path) -> Result<Evaluation> {
    read_json(&dir.join(REFERENCE_EVALUATION))
}

pub fn stage(context: &Context<'_>) -> Result<Finished> {
    context.stage("reference-samples", |dir| {
        let preset = &context.plan.preset;
        let (policy, tokenizer) = reference::read(context)?;
        let evaluator = evaluator(preset, context.folder, &policy, &tokenizer)?;
        let own = evaluator.evaluate(&policy)?;
        write_samples(&context.folder.file(REFERENCE_SAMPLES), &own.samples, evaluator.responses_per_prompt)?;
        write_json(&dir.join(REFERENCE_EVALUATION), &own)?;
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
        let by_prompt = scores.chunks(m).map(|of_prompt| of_prompt.iter().copied().map(f64::from).collect());
        write_json(&dir.join(OPTIMUM), &Optimum::new(&PromptSamples::new(by_prompt.collect())?))?;
        let mean = scores.iter().map(|&score| f64::from(score)).sum::<f64>() / scores.len() as f64;
        Ok((
            samples.iter().map(|sequence| sequence.len() as u64).sum(),
            json!({ "prompts": prompts.len(), "samples_per_prompt": m, "mean_score": mean }),
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For a normal reward of variance v the optimum at KL k has lambda = sqrt(2 k / v).
    #[test]
    fn the_coefficient_of_a_normal_reward() {
        // Quantiles of a logistic distribution, which is near enough to a normal one at a small tilt.
        let count = 4000;
        let quantile = |i: usize| {
            let p = (i as f64 + 0.5) / f64::from(count);
            (p / (1.0 - p)).ln() / 1.702
        };
        let scores: Vec<f64> = (0..count as usize).map(quantile).collect();
        let variance = scores.iter().map(|score| score * score).sum::<f64>() / scores.len() as f64;
        let optimum = Optimum::new(&PromptSamples::new(vec![scores.clone(), scores]).unwrap());
        let kl_coef = optimum.kl_coef(0.05, 0.5).unwrap();
        let expected = 1.0 / ((0.1 / variance).sqrt() * 0.5);
        assert!((kl_coef / expected - 1.0).abs() < 0.02, "{kl_coef}, expected {expected}");
        let refused = optimum.kl_coef(50.0, 0.5).unwrap_err().to_string();
        assert!(refused.starts_with("kl.target_kl: found 50, expected up to "), "{refused}");
    }
}
