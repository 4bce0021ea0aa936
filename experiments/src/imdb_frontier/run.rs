//! One run of a sweep: the only training loop, the same for every method.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ::reward_model::NormalizedRewardModel;
use anyhow::{Context, Result, anyhow};
use burn::tensor::Device;
use frontier::{EvalRow, EvalWriter, FIXED_KL_COEF, Method, PromptScore, PromptWriter};
use imdb::{Evaluation, Evaluator};
use lm::checkpoint::read_config;
use lm::sft::{Corpus, SftConfig, SftTrainer};
use lm::{Metrics, OptimizerConfig, Policy, ReferencePolicy, Scorer, Trainer};
use ppo::{KlControl, PpoTrainer, ScoreNormalization};
use serde_json::json;

use crate::cli::RunOptions;
use crate::exit::{BadInput, Outcome};
use crate::imdb_frontier::plan::{Plan, RunSpec};
use crate::imdb_frontier::planned::Planned;
use crate::imdb_frontier::stages::{evaluation, ground_truth, preferences, prompts, reward_model};
use crate::imdb_frontier::work::Work;
use crate::study::folder::{Folder, Marker};
use crate::study::stages;

/// What a run needs from the stages.
struct Inputs {
    policy: Policy,
    evaluator: Evaluator,
    reward_model: Arc<NormalizedRewardModel>,
    train_prompts: Vec<Vec<u32>>,
}

/// `experiments run OUT NAME`.
pub fn child(options: &RunOptions) -> Result<Outcome> {
    let (folder, planned) = Planned::read(&options.out)?;
    planned.refuse_other_precision(options.device.precision)?;
    let Work { plan, stages, runs } = planned.work()?;
    let of_name = (plan.run(&options.name), runs.iter().find(|run| run.name == options.name));
    let (Some(spec), Some(run)) = of_name else {
        return Err(
            BadInput(format!("{}: no run `{}` in the plan", options.out.display(), options.name)).into()
        );
    };
    let _lock = folder.lock_run(&run.name)?;
    if folder.finished_run(&run.name, &run.key).is_some() {
        tracing::info!("{}: finished before", run.name);
        return Ok(Outcome::Done);
    }
    stages::finished(&stages, &folder)?;
    let model = read_config(&folder.stage("reference").join("config.json"))?;
    let device = options.device.open(model.parameters())?.device;
    let inputs = inputs(&plan, &folder, &device)?;
    let mut trainer = trainer(&plan, spec, &folder, &inputs)?;
    let dir = folder.begin_run(&spec.name)?;
    let work = train(trainer.as_mut(), spec, &inputs, &dir)?;
    folder.finish_run(&run.name, &Marker { key: run.key.clone(), ..work })?;
    Ok(Outcome::Done)
}

fn inputs(plan: &Plan, folder: &Folder, device: &Device) -> Result<Inputs> {
    let preset = &plan.preset;
    let (policy, tokenizer) =
        lm::checkpoint::load_policy(&folder.stage("reference"), preset.temperature, device)?;
    let train_prompts = prompts::read(&folder.stage("prompts"))?.train;
    let evaluator = evaluation::evaluator(preset, folder, &policy, &tokenizer)?;
    // The reward model normalises its own scores.
    let reward_model = Arc::new(reward_model::read(&folder.stage("reward-model"), device)?);
    Ok(Inputs { policy, evaluator, reward_model, train_prompts })
}

/// The algorithm of a run.
fn trainer(plan: &Plan, spec: &RunSpec, folder: &Folder, inputs: &Inputs) -> Result<Box<dyn Trainer>> {
    let preset = &plan.preset;
    let reference = ReferencePolicy::new(&inputs.policy);
    let pairs = || preferences::read_pairs(&folder.stage("preferences"));
    let on_pairs = |config: dpo::DpoConfig| -> Result<Box<dyn Trainer>> {
        let (pairs, logprobs) = pairs()?;
        Ok(Box::new(dpo::DpoTrainer::with_reference_logprobs(
            &reference, logprobs, pairs, config, spec.seed,
        )?))
    };
    let kl = if spec.knob == FIXED_KL_COEF {
        KlControl::Fixed { kl_coef: spec.value }
    } else {
        preset.ppo.towards(spec.value)
    };
    let on_rollouts = |scorer: Arc<dyn Scorer>, unit: ScoreNormalization| -> Result<Box<dyn Trainer>> {
        Ok(Box::new(PpoTrainer::new(
            &reference,
            inputs.policy.model().clone(),
            inputs.train_prompts.clone(),
            scorer,
            unit,
            preset.ppo.config(kl, &preset.sampling),
            spec.seed,
        )?))
    };
    match spec.method {
        Method::DPO | Method::IPO | Method::CDPO => on_pairs(preset.dpo_config(spec.value)),
        Method::UNLIKELIHOOD => on_pairs(preset.unlikelihood_config(spec.value)),
        Method::PREFERRED_FT => {
            let sweep = &preset.preferred_ft;
            let chosen = pairs()?.0.iter().map(lm::PreferencePair::chosen_sequence).collect();
            let config = SftConfig {
                steps: sweep.steps,
                batch_size: sweep.batch_size,
                optimizer: OptimizerConfig { learning_rate: spec.value, ..sweep.optimizer.clone() },
            };
            Ok(Box::new(SftTrainer::new(&inputs.policy, Corpus::Responses(chosen), &config, spec.seed)?))
        }
        Method::PPO => on_rollouts(inputs.reward_model.clone(), ScoreNormalization::IDENTITY),
        Method::PPO_GT => {
            let (truth, _) =
                ground_truth::scorers(&folder.stage("ground-truth"), &inputs.evaluator.tokenizer)?;
            on_rollouts(Arc::new(truth), preferences::read_score_unit(&folder.stage("preferences"))?)
        }
        _ => Err(anyhow!("{} is not trained", spec.method.name())),
    }
}

/// Steps the trainer to the end of its run and evaluates it on the way, at step 0 first.
fn train(trainer: &mut dyn Trainer, spec: &RunSpec, inputs: &Inputs, dir: &Path) -> Result<Marker> {
    let started = Instant::now();
    let mut evals = EvalWriter::create(dir.join("evals.csv"))?;
    let mut prompts = PromptWriter::create(dir.join("prompts.csv"))?;
    let mut metrics = MetricsWriter::create(&dir.join("metrics.csv"))?;
    let mut training = 0.0;
    let mut evaluate = |trainer: &dyn Trainer, step: usize| -> Result<Evaluation> {
        let evaluation = inputs.evaluator.evaluate(&trainer.policy())?;
        let learned = inputs.reward_model.score(&evaluation.sequences)?;
        evals.write(&row(spec, step, trainer.tokens(), &evaluation, &learned))?;
        let samples = evaluation.samples.iter();
        let scores = samples.map(|s| PromptScore { score: s.score, sequence_kl: s.sequence_kl });
        prompts.write(step as u64, scores)?;
        Ok(evaluation)
    };
    let mut last = evaluate(trainer, 0)?;
    for step in 1..=spec.steps {
        let before = Instant::now();
        let numbers = trainer.step().map_err(|error| anyhow!(error))?;
        training += before.elapsed().as_secs_f64();
        metrics.write(step, training, &numbers)?;
        if step.is_multiple_of(spec.evaluate_every) || step == spec.steps {
            last = evaluate(trainer, step)?;
        }
        say(step, spec.steps, &last)?;
    }
    evaluation::write_samples(&dir.join("samples.jsonl"), &last.samples)?;
    let seconds = started.elapsed().as_secs_f64();
    let notes = json!({
        "training_seconds": training,
        "final_score": last.score.mean,
        "final_sequence_kl": last.sequence_kl.mean,
    });
    Ok(Marker { key: spec.key.clone(), seconds, tokens: trainer.tokens(), notes })
}

/// An evaluation and the learned rewards of its responses as a row of `evals.csv`.
fn row(spec: &RunSpec, step: usize, tokens: u64, evaluation: &Evaluation, learned: &[f32]) -> EvalRow {
    EvalRow {
        method: spec.method,
        knob: spec.knob.to_owned(),
        value: spec.value,
        seed: spec.seed,
        step: step as u64,
        tokens,
        score: evaluation.score.mean,
        score_se: evaluation.score.se,
        judge: evaluation.judge.mean,
        judge_se: evaluation.judge.se,
        sequence_kl: evaluation.sequence_kl.mean,
        sequence_kl_se: evaluation.sequence_kl.se,
        k1: evaluation.k1.mean,
        k1_se: evaluation.k1.se,
        length: evaluation.length.mean,
        length_se: evaluation.length.se,
        learned: learned.iter().copied().map(f64::from).sum::<f64>() / learned.len() as f64,
        distinct_2: evaluation.distinct_2,
    }
}

/// Tells the parent process how far the run is: one line on standard output.
fn say(step: usize, steps: usize, last: &Evaluation) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{step} {steps} score {:.3} at {:.2} nats", last.score.mean, last.sequence_kl.mean)?;
    out.flush().context("standard output")
}

/// `metrics.csv`: step, seconds of training, and the trainer's own numbers.
struct MetricsWriter {
    csv: csv::Writer<std::fs::File>,
    columns: Vec<&'static str>,
}

impl MetricsWriter {
    fn create(path: &Path) -> Result<Self> {
        let csv = csv::Writer::from_path(path).with_context(|| path.display().to_string())?;
        Ok(Self { csv, columns: Vec::new() })
    }

    fn write(&mut self, step: usize, seconds: f64, numbers: &Metrics) -> Result<()> {
        if self.columns.is_empty() {
            self.columns = numbers.iter().map(|(name, _)| *name).collect();
            self.csv.write_record(["step", "seconds"].iter().chain(&self.columns))?;
        }
        let values = numbers.iter().map(|(_, value)| value.to_string());
        self.csv.write_record([step.to_string(), seconds.to_string()].into_iter().chain(values))?;
        self.csv.flush().context("metrics.csv")
    }
}
