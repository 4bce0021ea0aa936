//! Whole runs on a model and preference pairs from files, as a user of the library has them.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, anyhow};
use burn::tensor::Device;
use dpo::DpoTrainer;
use lm::{Policy, PreferencePair, ReferencePolicy, Tokenizer, Trainer};
use measure::Case;
use serde::Deserialize;

use super::{settings, steps};
use crate::exit::BadInput;

/// A line of a file of preference pairs; the columns are TRL's.
#[derive(Deserialize)]
struct Row {
    prompt: String,
    chosen: String,
    rejected: String,
}

fn open(case: &Case, device: &Device) -> Result<(Policy, Tokenizer)> {
    let model: PathBuf = case.get("model")?;
    Ok(lm::files::load_policy(&model, 1.0, device)?)
}

/// The first `count` rows of the file that the key `pairs` names.
fn rows(case: &Case, count: usize) -> Result<Vec<Row>> {
    let path: PathBuf = case.get("pairs")?;
    let refuse = |what: String| BadInput(format!("{}: {what}", path.display()));
    let text = std::fs::read_to_string(&path).map_err(|error| refuse(error.to_string()))?;
    let row = |(index, line)| {
        let wrong = |error| refuse(format!("line {}: {error}", index + 1));
        Ok(serde_json::from_str(line).map_err(wrong)?)
    };
    text.lines().enumerate().take(count).map(row).collect()
}

/// Steps of a trainer until there were as many as the case says, and until the device has done them.
fn train(trainer: &mut dyn Trainer, steps: usize, device: &Device) -> Result<()> {
    for _ in 0..steps {
        trainer.step().map_err(|error| anyhow!(error))?;
    }
    device.sync().map_err(|error| anyhow!("the device failed: {error}"))
}

/// DPO, the reference's log-probs of all pairs included. Tokens count every pair as if nothing were
/// shared, prompts included.
pub fn dpo(case: &Case, device: &Device) -> Result<()> {
    let (steps, batch) = (case.count("steps")?, case.count("batch")?);
    let config = settings::dpo(case.get("beta")?, batch, steps, case.get("lr")?);
    let rows = rows(case, steps * batch)?;
    let (policy, tokenizer) = open(case, device)?;
    let pair = |row: Row| -> Result<PreferencePair> {
        let prompt = [vec![tokenizer.begin()], tokenizer.encode(&row.prompt)?].concat();
        let (chosen, rejected) = (tokenizer.encode(&row.chosen)?, tokenizer.encode(&row.rejected)?);
        Ok(PreferencePair { prompt, chosen, rejected, probability: 1.0 })
    };
    let pairs: Vec<PreferencePair> = rows.into_iter().map(pair).collect::<Result<_>>()?;
    let tokens = pairs.iter().map(|p| 2 * p.prompt.len() + p.chosen.len() + p.rejected.len()).sum();
    let start = Instant::now();
    let mut trainer = DpoTrainer::new(&ReferencePolicy::new(&policy), pairs, config, 0)?;
    train(&mut trainer, steps, device)?;
    case.report(tokens, start.elapsed().as_secs_f64(), steps);
    Ok(())
}

/// PPO with prompts from the pairs, a reward model and a value model of the policy's shape; tokens
/// are those of the responses.
pub fn ppo(case: &Case, device: &Device) -> Result<()> {
    let config = settings::ppo(case, case.count("steps")?)?;
    let rows = rows(case, usize::MAX)?;
    let (policy, tokenizer) = open(case, device)?;
    let prompt = |row: &Row| Ok([vec![tokenizer.begin()], tokenizer.encode(&row.prompt)?].concat());
    let mut prompts: Vec<Vec<u32>> = rows.iter().map(prompt).collect::<Result<_>>()?;
    prompts.dedup();
    let (steps, response) = (config.steps, config.rollouts * config.sampling.max_new_tokens);
    let start = Instant::now();
    let mut trainer = steps::ppo_trainer(&policy, prompts, config)?;
    train(&mut trainer, steps, device)?;
    case.report(steps * response, start.elapsed().as_secs_f64(), steps);
    Ok(())
}
