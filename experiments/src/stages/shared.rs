//! Stages 3 to 6: prompts, reference samples, preference pairs, reward model.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context as _, Result};
use burn::tensor::Device;
use imdb::preferences::{self, label, sample};
use imdb::{Evaluator, Prompts, Sample};
use lm::files::{Precision, load_policy};
use lm::{Normalization, Policy, ReferencePolicy, Sequence, Stream, Tokenizer};
use reward_model::{NormalizedRewardModel, RewardModelTrainer};
use serde_json::json;

use crate::exit::BadInput;
use crate::folder::{Folder, read_json, write_json};
use crate::preset::{Preset, PromptSet};
use crate::stages::{Context, Finished, ground_truth};

const PROMPTS: &str = "prompts.json";
const PAIRS: &str = "preferences.jsonl";
const RESPONSES: &str = "responses.json";
const LOGPROBS: &str = "reference_logprobs.json";
const SCORE_UNIT: &str = "score_normalization.json";

/// Reference samples are written to the output folder itself: the ceilings are drawn from them.
pub const REFERENCE_SCORES: &str = "reference_scores.csv";

/// The reference's own responses in the evaluation, beside the samples of the runs.
pub const REFERENCE_SAMPLES: &str = "reference_samples.jsonl";

/// Samples of an evaluation that are kept.
const KEPT_SAMPLES: usize = 24;

/// Responses that scores are normalised on, from the reference.
const NORMALIZATION_SAMPLES: usize = 1000;

/// The policy and tokenizer of the finished reference stage.
pub fn reference(context: &Context<'_>) -> Result<(Policy, Tokenizer)> {
    let dir = context.folder.stage("reference");
    Ok(load_policy(&dir, context.plan.preset.temperature, context.device)?)
}

/// Stage 3: three sets of prompts that share no review.
pub fn prompts(context: &Context<'_>) -> Result<Finished> {
    context.stage("prompts", &context.plan.keys.prompts, |dir| {
        let preset = &context.plan.preset;
        let (policy, tokenizer) = reference(context)?;
        let reviews = context.reviews()?;
        let prompts = if reviews.train.is_empty() {
            preset.prompts.from_model(&policy, &tokenizer, preset.data_seed)?
        } else {
            preset.prompts.from_reviews(&reviews.train, &reviews.test, &tokenizer, preset.data_seed)?
        };
        check_room(preset, policy.model().shape().context)?;
        write_json(&dir.join(PROMPTS), &prompts)?;
        let notes = json!({
            "train": prompts.train.len(),
            "tune": prompts.tune.len(),
            "evaluate": prompts.evaluate.len(),
            "evaluate_also_in_train": prompts.overlap(),
        });
        Ok((0, notes))
    })
}

/// Refuses responses that do not fit the reference model's context.
fn check_room(preset: &Preset, context: usize) -> Result<()> {
    let needed = 1 + preset.prompts.max_tokens + preset.sampling.max_new_tokens;
    if needed > context {
        let found = format!("1 + prompts.max_tokens + sampling.max_new_tokens = {needed}");
        return Err(
            BadInput(format!("{found}: the reference model has a context of {context} tokens")).into()
        );
    }
    Ok(())
}

/// The prompts of a finished stage.
pub fn read_prompts(dir: &Path) -> Result<Prompts> {
    read_json(&dir.join(PROMPTS))
}

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
        prompts: evaluation_prompts(preset, read_prompts(&folder.stage("prompts"))?),
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

/// Stage 4: many reference samples on the evaluation prompts, scored by r*: where the ceilings come from.
pub fn reference_samples(context: &Context<'_>) -> Result<Finished> {
    context.stage("reference-samples", &context.plan.keys.reference_samples, |_| {
        let preset = &context.plan.preset;
        let (policy, tokenizer) = reference(context)?;
        let evaluator = evaluator(preset, context.folder, &policy, &tokenizer)?;
        let own = evaluator.evaluate(&policy)?;
        write_samples(&context.folder.file(REFERENCE_SAMPLES), &own.samples)?;
        let prompts = evaluator.prompts;
        let m = preset.evaluation.reference_samples;
        let stream = Stream::new(preset.data_seed, "reference-samples");
        let samples = sample(&policy, &prompts, m, &preset.sampling, stream)?;
        let scores = evaluator.ground_truth.score(&samples)?;
        let path = context.folder.file(REFERENCE_SCORES);
        let mut csv = csv::Writer::from_path(&path).with_context(|| path.display().to_string())?;
        csv.write_record(["prompt", "sample", "score"])?;
        for (index, score) in scores.iter().enumerate() {
            csv.write_record([(index / m).to_string(), (index % m).to_string(), score.to_string()])?;
        }
        csv.flush()?;
        let mean = scores.iter().map(|&score| f64::from(score)).sum::<f64>() / scores.len() as f64;
        Ok((
            tokens(&samples),
            json!({ "prompts": prompts.len(), "samples_per_prompt": m, "mean_score": mean }),
        ))
    })
}

fn tokens(sequences: &[Sequence]) -> u64 {
    sequences.iter().map(|sequence| sequence.len() as u64).sum()
}

/// Stage 5: preference pairs, the reference's log-probabilities of them, and the unit of the true score.
pub fn preferences(context: &Context<'_>) -> Result<Finished> {
    context.stage("preferences", &context.plan.keys.preferences, |dir| {
        let preset = &context.plan.preset;
        let (policy, tokenizer) = reference(context)?;
        let (scorer, _) = ground_truth::scorers(&context.folder.stage("ground-truth"), &tokenizer)?;
        let prompts = read_prompts(&context.folder.stage("prompts"))?.train;
        let stream = Stream::new(preset.data_seed, "preferences");
        let n = preset.preferences.responses_per_prompt;
        let responses = sample(&policy, &prompts, n, &preset.sampling, stream.child(0))?;
        let pairs = label(&responses, &scorer, &preset.preferences, stream.child(1))?;
        if pairs.train.is_empty() || pairs.validation.is_empty() {
            let found =
                format!("{} training and {} validation pairs", pairs.train.len(), pairs.validation.len());
            return Err(BadInput(format!("preferences: found {found}, expected some of both")).into());
        }
        preferences::write(&dir.join(PAIRS), &pairs, &tokenizer)?;
        let logprobs = dpo::ReferenceLogProbs::compute(&ReferencePolicy::new(&policy), &pairs.train_pairs())?;
        write_json(&dir.join(LOGPROBS), &logprobs)?;
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

/// The training pairs of a finished stage, with the reference's log-probabilities.
pub fn read_pairs(dir: &Path) -> Result<(Vec<lm::PreferencePair>, dpo::ReferenceLogProbs)> {
    Ok((preferences::read(&dir.join(PAIRS))?.train_pairs(), read_json(&dir.join(LOGPROBS))?))
}

/// Mean and standard deviation of r* on reference samples.
pub fn read_score_unit(dir: &Path) -> Result<Normalization> {
    Ok(Normalization::read(&dir.join(SCORE_UNIT))?)
}

/// Stage 6: the learned reward r_phi.
pub fn reward_model(context: &Context<'_>) -> Result<Finished> {
    context.stage("reward-model", &context.plan.keys.reward_model, |dir| {
        let preset = &context.plan.preset;
        let (policy, tokenizer) = reference(context)?;
        let source = context.folder.stage("preferences");
        let pairs = preferences::read(&source.join(PAIRS))?;
        let (train, validation) = (pairs.train_pairs(), pairs.validation_pairs());
        let config = preset.reward_model.clone();
        let steps = config.steps;
        let mut trainer = RewardModelTrainer::new(&policy, train, &validation, config, preset.data_seed)?;
        let mut task = context.progress.task("reward model", steps as u64);
        for step in 1..=steps {
            let metrics = trainer.step()?;
            let accuracy =
                metrics.iter().find(|(name, _)| *name == "accuracy").map_or(f64::NAN, |found| found.1);
            task.at(step as u64, steps as u64, &format!("accuracy {accuracy:.2}"));
        }
        let tokens = trainer.tokens();
        let best = trainer.finish();
        let held_out = best.validation;
        task.done(&format!("held-out accuracy {:.3}", held_out.accuracy));
        let samples: Vec<Sequence> = read_json(&source.join(RESPONSES))?;
        let normalized = best.normalize(&samples)?;
        normalized.save(dir, &tokenizer, Precision::F32)?;
        let notes = json!({ "held_out_accuracy": held_out.accuracy, "held_out_loss": held_out.loss });
        Ok((tokens, notes))
    })
}

/// The reward model of a finished stage.
pub fn read_reward_model(dir: &Path, device: &Device) -> Result<NormalizedRewardModel> {
    Ok(NormalizedRewardModel::load(dir, device)?)
}
