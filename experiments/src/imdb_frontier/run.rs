//! One run of a sweep: a method's trainer, and the evaluations on its way.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::reward_model::NormalizedRewardModel;
use anyhow::{Context, Result};
use burn::tensor::Device;
use dpo::{DpoTrainer, OnlineDpoTrainer};
use feedback::{Evaluation, Evaluator, HeldOutPairs, Sample};
use frontier::{EvalRow, EvalWriter, PromptScore, PromptWriter};
use lm::files::{Precision, read_config, save_policy};
use lm::sft::{Corpus, SftTrainer};
use lm::{
    Normalization, Policy, PolicyTrainer, ReferencePolicy, ScalarModel, Scorer, Standardized, WorstCase,
};
use ppo::{KlControl, PpoTrainer, RlooTrainer};
use serde_json::json;
use training::{Loop, Observer, Progress};

use crate::cli::RunOptions;
use crate::exit::{BadInput, Outcome};
use crate::imdb_frontier::checkpoint::{Checkpoint, EVALS, METRICS, PROMPTS, Reached};
use crate::imdb_frontier::method::{Algorithm, RewardSource};
use crate::imdb_frontier::needs::Demand;
use crate::imdb_frontier::plan::{Plan, RunSpec, preferences_of, reward_model_of};
use crate::imdb_frontier::planned::Planned;
use crate::imdb_frontier::preset::Preset;
use crate::imdb_frontier::stages::{
    classifier, evaluation, preferences, prompts, reference_samples, reward_model,
};
use crate::imdb_frontier::work::Work;
use crate::study::folder::{Folder, Marker};
use crate::study::stages;
use crate::study::work::RunWork;

/// What a run needs from the stages.
struct Inputs {
    preset: Preset,
    policy: Policy,
    evaluator: Evaluator,
    /// The reference's own evaluation.
    reference: Evaluation,
    reward_model: Arc<NormalizedRewardModel>,
    train_prompts: Vec<Vec<u32>>,
    held_out: HeldOutPairs,
    /// The folder of the pairs of the run's seed.
    preferences: PathBuf,
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
    let kept = !options.keep_policy || policy_of(&folder, &run.name).is_dir();
    if kept && folder.finished_run(&run.name, &run.key).is_some() {
        tracing::info!("{}: finished before", run.name);
        return Ok(Outcome::Done);
    }
    stages::ready(&stages, run, &folder)?;
    let model = read_config(&folder.stage("reference").join("config.json"))?;
    let open = options.device.open(model.parameters())?;
    Demand::new(&plan.preset, !open.spec.is_cpu())?.check_run(spec, &open.facts)?;
    let device = open.device;
    let inputs = inputs(&plan, spec.seed, &folder, &device)?;
    let mut spec = spec.clone();
    resolve(&mut spec.algorithm, &folder, &inputs)?;
    let mut trainer = spec.policy.of(trainer(&spec, &folder, &inputs)?);
    let checkpoint = Checkpoint::new(&folder, run, Duration::from_secs(options.checkpoint_every));
    let reached = begin(&folder, run, &checkpoint, trainer.as_mut())?;
    let marker = train(trainer.as_mut(), (&spec, &run.key), &inputs, (checkpoint, reached))?;
    if options.keep_policy {
        let dir = policy_of(&folder, &run.name);
        std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        save_policy(&dir, &trainer.policy(), &inputs.evaluator.tokenizer, Precision::F32)?;
    }
    folder.finish_run(&run.name, &marker)?;
    Ok(Outcome::Done)
}

/// Goes on from the run's checkpoint, or begins it in an empty folder.
fn begin(
    folder: &Folder,
    run: &RunWork,
    checkpoint: &Checkpoint,
    trainer: &mut dyn PolicyTrainer,
) -> Result<Reached> {
    match checkpoint.resume(trainer) {
        Ok(Some(reached)) => {
            tracing::info!("{}: goes on from step {} of {}", run.name, reached.step, run.steps);
            return Ok(reached);
        }
        Ok(None) => {}
        Err(error) => {
            tracing::warn!("{} begins anew, as its checkpoint cannot be used; {error:#}", run.name);
        }
    }
    folder.begin_run(&run.name)?;
    Ok(Reached::START)
}

/// The folder of a run's last policy, if it was kept.
pub fn policy_of(folder: &Folder, run: &str) -> PathBuf {
    folder.run(run).join("policy")
}

/// Puts the coefficient of the optimum in the place of a target that names it.
fn resolve(algorithm: &mut Algorithm, folder: &Folder, inputs: &Inputs) -> Result<()> {
    let Some(control) = algorithm.kl_control() else { return Ok(()) };
    match *control {
        KlControl::Optimum { target_kl } => {
            let optimum = reference_samples::read_optimum(&folder.stage("reference-samples"))?;
            let unit = preferences::read_score_unit(&inputs.preferences)?;
            let kl_coef =
                optimum.kl_coef(target_kl, unit.sd()).map_err(|problem| BadInput(problem.to_string()))?;
            tracing::info!("kl_coef {kl_coef:.3}, the optimum's at {target_kl} nats");
            *control = KlControl::Fixed { kl_coef };
        }
        KlControl::Fixed { .. } | KlControl::Adaptive { .. } => {}
    }
    Ok(())
}

fn inputs(plan: &Plan, seed: u64, folder: &Folder, device: &Device) -> Result<Inputs> {
    let preset = &plan.preset;
    let (policy, tokenizer) = lm::files::load_policy(&folder.stage("reference"), preset.temperature, device)?;
    let train_prompts = prompts::read(&folder.stage("prompts"))?.train;
    let evaluator = evaluation::evaluator(preset, folder, &policy, &tokenizer)?;
    let reference = reference_samples::read_evaluation(&folder.stage("reference-samples"))?;
    let reward_model = Arc::new(reward_model::read(&folder.stage(&reward_model_of(seed)), device)?);
    let preferences = folder.stage(&preferences_of(seed));
    let held_out = preferences::read_held_out(&preferences)?;
    Ok(Inputs {
        preset: preset.clone(),
        policy,
        evaluator,
        reference,
        reward_model,
        train_prompts,
        held_out,
        preferences,
    })
}

/// The trainer of a run.
fn trainer(spec: &RunSpec, folder: &Folder, inputs: &Inputs) -> Result<Box<dyn PolicyTrainer>> {
    let reference = ReferencePolicy::new(&inputs.policy);
    let activations = inputs.preset.activations();
    let pairs = || preferences::read_pairs(&inputs.preferences);
    let prompts = || inputs.train_prompts.clone();
    match &spec.algorithm {
        Algorithm::Dpo(config) => {
            let (pairs, logprobs) = pairs()?;
            let trainer =
                DpoTrainer::with_reference_logprobs(&reference, logprobs, pairs, config.clone(), spec.seed)?;
            Ok(Box::new(trainer.with_activations(activations)))
        }
        Algorithm::OnlineDpo { config, scorer } => {
            let scorer = scorer_of(*scorer, folder, inputs)?;
            let trainer = OnlineDpoTrainer::new(&reference, prompts(), scorer, config.clone(), spec.seed)?;
            Ok(Box::new(trainer.with_activations(activations)))
        }
        Algorithm::Ppo { config, scorer } => {
            let scorer = scorer_of(*scorer, folder, inputs)?;
            let value_model = ScalarModel::with_zero_head(inputs.policy.model().clone());
            let config = config.as_ref().clone();
            let trainer = PpoTrainer::new(&reference, &value_model, prompts(), scorer, config, spec.seed)?;
            Ok(Box::new(trainer.with_activations(activations)))
        }
        Algorithm::Rloo { config, scorer } => {
            let scorer = scorer_of(*scorer, folder, inputs)?;
            let trainer = RlooTrainer::new(&reference, prompts(), scorer, config.clone(), spec.seed)?;
            Ok(Box::new(trainer.with_activations(activations)))
        }
        Algorithm::Sft(config) => {
            let chosen = pairs()?.0.iter().map(lm::PreferencePair::chosen_sequence).collect();
            let trainer = SftTrainer::new(&inputs.policy, Corpus::Responses(chosen), config, spec.seed)?;
            Ok(Box::new(trainer.with_activations(activations)))
        }
    }
}

/// What pays for rollouts, in standard deviations of its scores of the reference.
fn scorer_of(source: RewardSource, folder: &Folder, inputs: &Inputs) -> Result<Arc<dyn Scorer>> {
    let classifiers = || {
        let device = inputs.policy.device();
        classifier::scorers(folder, &inputs.preset, &inputs.evaluator.tokenizer, &device)
    };
    let preferences = &inputs.preferences;
    match source {
        RewardSource::RewardModel => Ok(inputs.reward_model.clone()),
        RewardSource::Truth => {
            let unit = preferences::read_score_unit(preferences)?;
            Ok(Arc::new(Standardized::new(classifiers()?.0, unit)))
        }
        RewardSource::WorstCase => {
            let second = classifiers()?.1;
            let unit = Normalization::measure(&second, &preferences::read_responses(preferences)?)?;
            let second = Arc::new(Standardized::new(second, unit));
            Ok(Arc::new(WorstCase::new(inputs.reward_model.clone(), vec![second])))
        }
    }
}

/// Steps the trainer to the end of its run and evaluates it on the way.
fn train(
    trainer: &mut dyn PolicyTrainer,
    (spec, key): (&RunSpec, &str),
    inputs: &Inputs,
    (checkpoint, reached): (Checkpoint, Reached),
) -> Result<Marker> {
    let dir = checkpoint.dir().to_owned();
    let metrics = dir.join(METRICS);
    let plan = Loop {
        first: reached.step,
        steps: spec.algorithm.steps(),
        evaluate_every: spec.evaluate_every,
        metrics: Some(&metrics),
    };
    let (evals, prompts) = (dir.join(EVALS), dir.join(PROMPTS));
    let (evals, prompts) = if reached.step == 0 {
        (EvalWriter::create(evals)?, PromptWriter::create(prompts)?)
    } else {
        (EvalWriter::append(evals)?, PromptWriter::append(prompts)?)
    };
    let mut evaluations = Evaluations {
        evals,
        prompts,
        samples: dir.join("samples.jsonl"),
        spec,
        inputs,
        checkpoint,
        before: reached.seconds,
        started: Instant::now(),
        reached,
        training_seconds: 0.0,
    };
    training::run(trainer, &plan, &mut evaluations)?;
    let notes = json!({
        "algorithm": spec.algorithm,
        "training_seconds": evaluations.training_seconds,
        "final_score": evaluations.reached.score,
        "final_sequence_kl": evaluations.reached.sequence_kl,
    });
    let seconds = evaluations.seconds();
    Ok(Marker { key: key.to_owned(), seconds, tokens: trainer.tokens(), notes })
}

/// Evaluates a run's policy, and tells the parent process how far the run is.
struct Evaluations<'a> {
    spec: &'a RunSpec,
    inputs: &'a Inputs,
    evals: EvalWriter,
    prompts: PromptWriter,
    /// Where the samples of the last evaluation go.
    samples: PathBuf,
    checkpoint: Checkpoint,
    /// Seconds that the run had taken when this process went on with it, and when that was.
    before: f64,
    started: Instant,
    /// With what the last evaluation said.
    reached: Reached,
    training_seconds: f64,
}

impl Evaluations<'_> {
    fn seconds(&self) -> f64 {
        self.before + self.started.elapsed().as_secs_f64()
    }
}

impl<T: PolicyTrainer + ?Sized> Observer<T> for Evaluations<'_> {
    type Error = anyhow::Error;

    fn evaluate(&mut self, step: usize, trainer: &T) -> Result<()> {
        let Inputs { evaluator, reference, reward_model, held_out, .. } = self.inputs;
        // Every run starts from the reference, which is evaluated once for all of them.
        let (evaluation, pair_accuracy) = if step == 0 {
            (reference.clone(), held_out.accuracy_of_reference())
        } else {
            let policy = trainer.policy();
            (evaluator.evaluate(&policy)?, held_out.accuracy(&policy)?)
        };
        let learned = reward_model.score(&evaluation.sequences)?;
        let row = row(self.spec, (step, trainer.tokens()), &evaluation, &learned);
        self.evals.write(&EvalRow { pair_accuracy, ..row })?;
        let by_prompt = evaluation.samples.chunks(evaluator.responses_per_prompt);
        self.prompts.write(step as u64, by_prompt.map(prompt_score))?;
        if step == self.spec.algorithm.steps() {
            evaluation::write_samples(&self.samples, &evaluation.samples, evaluator.responses_per_prompt)?;
        }
        (self.reached.score, self.reached.sequence_kl) = (evaluation.score.mean, evaluation.sequence_kl.mean);
        Ok(())
    }

    /// A checkpoint when it is time for one, and one line on standard output.
    fn progress(&mut self, progress: &Progress<'_>, trainer: &T) -> Result<()> {
        self.training_seconds = progress.seconds;
        let (step, steps) = (progress.step, self.spec.algorithm.steps());
        self.reached = Reached { step, seconds: self.seconds(), ..self.reached };
        if step < steps {
            self.checkpoint.keep(trainer, &self.reached)?;
        }
        let Reached { score, sequence_kl, .. } = self.reached;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{step} {steps} score {score:.3} at {sequence_kl:.2} nats")?;
        out.flush().context("standard output")
    }
}

/// The means over the responses to one prompt.
fn prompt_score(samples: &[Sample]) -> PromptScore {
    let mean = |of: fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / samples.len() as f64;
    PromptScore { score: mean(|sample| sample.score), sequence_kl: mean(|sample| sample.sequence_kl) }
}

/// An evaluation and the learned rewards of its responses as a row of `evals.csv`.
fn row(spec: &RunSpec, (step, tokens): (usize, u64), evaluation: &Evaluation, learned: &[f32]) -> EvalRow {
    EvalRow {
        method: spec.method,
        knob: spec.knob.clone(),
        value: spec.value,
        seed: spec.seed,
        step: step as u64,
        tokens,
        score: evaluation.score.mean,
        score_se: evaluation.score.se,
        judge: evaluation.second_opinion.mean,
        judge_se: evaluation.second_opinion.se,
        sequence_kl: evaluation.sequence_kl.mean,
        sequence_kl_se: evaluation.sequence_kl.se,
        k1: evaluation.k1.mean,
        k1_se: evaluation.k1.se,
        length: evaluation.length.mean,
        length_se: evaluation.length.se,
        learned: learned.iter().copied().map(f64::from).sum::<f64>() / learned.len() as f64,
        distinct_2: evaluation.distinct_2,
        pair_accuracy: f64::NAN,
    }
}
