//! The shipped reference scored and trained: forward pass, gradients, and a few steps of every algorithm.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use burn::module::Module;
use burn::tensor::Tensor;
use dpo::{DpoConfig, DpoTrainer, Loss, preference_loss};
use lm::optimizer::{Algorithm, Decay, Schedule};
use lm::sft::{Corpus, SftConfig, SftTrainer};
use lm::{
    Batch, Decoder, DecoderConfig, LmError, Metrics, OptimizerConfig, Policy, PolicyTrainer, ReferencePolicy,
    Sampling, ScalarModel, Scorer, Sequence, SequenceLogProbs, Stream, Trainer,
};
use ppo::loss::{policy_loss, value_loss};
use ppo::{KlControl, PpoConfig, PpoTrainer};
use reward_model::{RewardModelConfig, RewardModelTrainer};

use super::case::numbers;
use super::checks::{Checks, Measure, relative};
use super::model::{Models, gradient_error, gradients};

/// Steps of every training.
const STEPS: usize = 3;

pub fn check(checks: &mut Checks<'_>) -> Result<()> {
    checks.check("reference: score", score)?;
    checks.check("reference: gradient of DPO", |checks| gradient(checks, dpo_loss))?;
    checks.check("reference: gradient of PPO's policy", |checks| {
        gradient(checks, |policy, models| Ok(ppo_loss(policy, models)))
    })?;
    checks.check("reference: gradient of PPO's values", values_gradient)?;
    checks.check("training: SFT", sft)?;
    checks.check("training: DPO", dpo)?;
    checks.check("training: reward model", reward)?;
    checks.check("training: PPO", ppo)
}

fn score(checks: &Checks<'_>) -> Result<Vec<Measure>> {
    let models = Models::load(checks)?;
    let expected = checks.expected(|_| models.host.score(&models.sequences))?.concat();
    let found = models.device.score(&models.sequences)?.concat();
    Ok(vec![Measure::new("log-probs", relative(&found, &expected), checks.tolerance.values)])
}

type Gradients = (f64, BTreeMap<String, Vec<f32>>);

fn value_of(loss: &Tensor<1>) -> f64 {
    loss.clone().into_data().iter::<f64>().next().unwrap_or(f64::NAN)
}

fn gradient_measures(checks: &Checks<'_>, found: &Gradients, expected: &Gradients) -> Result<Vec<Measure>> {
    let loss = (found.0 - expected.0).abs() / expected.0.abs();
    Ok(vec![
        Measure::new("loss", loss, checks.tolerance.loss),
        Measure::new("gradients", gradient_error(&found.1, &expected.1)?, checks.tolerance.values),
    ])
}

fn gradient(
    checks: &Checks<'_>,
    loss: impl Fn(&Policy, &Models) -> Result<Tensor<1>>,
) -> Result<Vec<Measure>> {
    let models = Models::load(checks)?;
    let of = |policy: &Policy| -> Result<Gradients> {
        let policy = policy.clone().train();
        let loss = loss(&policy, &models)?;
        Ok((value_of(&loss), gradients(&policy, &loss)?))
    };
    let expected = checks.expected(|_| of(&models.host))?;
    gradient_measures(checks, &of(&models.device)?, &expected)
}

/// DPO's loss, with a reference that is not the policy: its log-probs are off by numbers of either sign.
fn dpo_loss(policy: &Policy, models: &Models) -> Result<Tensor<1>> {
    let pairs = models.pairs();
    let device = policy.device();
    let chosen = pairs.iter().map(lm::PreferencePair::chosen_sequence);
    let sequences: Vec<Sequence> =
        chosen.chain(pairs.iter().map(lm::PreferencePair::rejected_sequence)).collect();
    let batch = Batch::new(&sequences.iter().collect::<Vec<_>>(), &device);
    let SequenceLogProbs(all) = policy.logprobs(&batch).sum();
    let count = pairs.len();
    let reference: Vec<f32> = models
        .host
        .score(&sequences)?
        .iter()
        .zip(numbers(2 * count, "log-ratios"))
        .map(|(row, offset)| row.iter().sum::<f32>() + 5.0 * offset)
        .collect();
    let reference = Tensor::<1>::from_floats(reference.as_slice(), &device);
    let sides = |all: Tensor<1>| {
        let side = |range| SequenceLogProbs(all.clone().slice([range]));
        (side(0..count), side(count..2 * count))
    };
    let loss = Loss::Sigmoid { label_smoothing: 0.0 };
    let certain = Tensor::ones([count], &device);
    Ok(preference_loss(sides(all), sides(reference), certain, 0.1, &loss).loss.mean())
}

/// Numbers for every response token of the sequences, as rows.
fn rows(sequences: &[Sequence], purpose: &str) -> Vec<Vec<f32>> {
    let mut all =
        numbers(sequences.iter().map(|sequence| sequence.response.len()).sum(), purpose).into_iter();
    sequences.iter().map(|sequence| all.by_ref().take(sequence.response.len()).collect()).collect()
}

/// PPO's loss with ratios inside and outside the clip range, and advantages of either sign.
fn ppo_loss(policy: &Policy, models: &Models) -> Tensor<1> {
    let device = policy.device();
    let batch = Batch::new(&models.sequences.iter().collect::<Vec<_>>(), &device);
    let logprobs = policy.logprobs(&batch).values();
    let pad = |purpose| batch.mask().pad(&rows(&models.sequences, purpose), &device);
    let old = logprobs.clone().detach() + pad("old log-probs") * 0.2;
    policy_loss(logprobs, old, pad("advantages"), batch.mask().tensor(&device), 0.2).loss
}

fn values_gradient(checks: &Checks<'_>) -> Result<Vec<Measure>> {
    let models = Models::load(checks)?;
    let of = |policy: &Policy| -> Result<Gradients> {
        let model =
            ScalarModel::with_random_head(policy.model().clone(), Stream::new(0, "value head")).train();
        let device = model.device();
        let batch = Batch::new(&models.sequences.iter().collect::<Vec<_>>(), &device);
        let values = model.values(&batch);
        let pad = |purpose| batch.mask().pad(&rows(&models.sequences, purpose), &device);
        let old = values.clone().detach() + pad("old values") * 0.2;
        let loss = value_loss(values, old, pad("returns"), batch.mask().tensor(&device), 0.2).loss;
        Ok((value_of(&loss), gradients(&model, &loss)?))
    };
    let expected = checks.expected(|_| of(&models.host))?;
    gradient_measures(checks, &of(&models.device)?, &expected)
}

fn optimizer(algorithm: Algorithm) -> OptimizerConfig {
    OptimizerConfig {
        algorithm,
        learning_rate: 1e-4,
        schedule: Schedule { warmup_steps: 0, decay: Decay::Constant, floor: 1.0 },
        max_grad_norm: 1.0,
    }
}

const RMSPROP: Algorithm = Algorithm::Rmsprop { alpha: 0.99, epsilon: 1e-8 };
const ADAMW: Algorithm = Algorithm::Adamw { beta1: 0.9, beta2: 0.95, epsilon: 1e-8, weight_decay: 0.1 };

/// The metrics of a few steps.
fn steps<T: Trainer + ?Sized>(trainer: &mut T) -> Result<Vec<Metrics>> {
    (0..STEPS).map(|_| trainer.step().map_err(|error| anyhow!(error))).collect()
}

/// What a training said and did.
struct Trained {
    metrics: Vec<Metrics>,
    /// What the log-probs of fixed sequences changed by.
    change: Vec<f32>,
}

impl Trained {
    fn of(trainer: &mut dyn PolicyTrainer, sequences: &[Sequence]) -> Result<Self> {
        let logprobs = |trainer: &dyn PolicyTrainer| -> Result<Vec<f32>, LmError> {
            Ok(trainer.policy().score(sequences)?.concat())
        };
        let before = logprobs(trainer)?;
        let metrics = steps(trainer)?;
        let after = logprobs(trainer)?;
        Ok(Self { metrics, change: after.iter().zip(before).map(|(after, before)| after - before).collect() })
    }

    /// The named metrics of all steps together, and the change.
    fn measures(&self, expected: &Self, names: &[&str], checks: &Checks<'_>) -> Vec<Measure> {
        let mut measures: Vec<Measure> = names
            .iter()
            .map(|name| {
                let of = |trained: &Self| -> Vec<f32> {
                    let metric = |metrics: &Metrics| metrics.iter().find(|(key, _)| key == name).map(|m| m.1);
                    trained.metrics.iter().filter_map(metric).map(|value| value as f32).collect()
                };
                let (found, expected) = (of(self), of(expected));
                let error = if expected.len() == STEPS { relative(&found, &expected) } else { f64::INFINITY };
                Measure::new(*name, error, checks.tolerance.loss)
            })
            .collect();
        if !expected.change.is_empty() {
            let error = relative(&self.change, &expected.change);
            measures.push(Measure::new("change of log-probs", error, checks.tolerance.change));
        }
        measures
    }
}

/// Trains on the CPU and on the device.
fn compare(
    checks: &Checks<'_>,
    names: &[&str],
    train: impl Fn(&Policy, &Models) -> Result<Trained>,
) -> Result<Vec<Measure>> {
    let models = Models::load(checks)?;
    let expected = checks.expected(|_| train(&models.host, &models))?;
    Ok(train(&models.device, &models)?.measures(&expected, names, checks))
}

fn sft(checks: &Checks<'_>) -> Result<Vec<Measure>> {
    compare(checks, &["loss", "grad_norm"], |policy, models| {
        let config = SftConfig { steps: STEPS, batch_size: 8, optimizer: optimizer(ADAMW) };
        let corpus = Corpus::Responses(models.sequences.clone());
        Trained::of(&mut SftTrainer::new(policy, corpus, &config, 0)?, &models.sequences)
    })
}

fn dpo(checks: &Checks<'_>) -> Result<Vec<Measure>> {
    compare(checks, &["loss", "grad_norm", "rewards/chosen"], |policy, models| {
        let loss = Loss::Sigmoid { label_smoothing: 0.0 };
        let config =
            DpoConfig { loss, beta: 0.1, batch_prompts: 3, steps: STEPS, optimizer: optimizer(RMSPROP) };
        let mut trainer = DpoTrainer::new(&ReferencePolicy::new(policy), models.pairs(), config, 0)?;
        Trained::of(&mut trainer, &models.sequences)
    })
}

fn reward(checks: &Checks<'_>) -> Result<Vec<Measure>> {
    compare(checks, &["loss", "grad_norm", "eval_loss"], |policy, models| {
        let config = RewardModelConfig {
            batch_prompts: 3,
            steps: STEPS,
            evaluate_every: 1,
            optimizer: optimizer(ADAMW),
        };
        let pairs = models.pairs();
        let mut trainer = RewardModelTrainer::new(policy, pairs.clone(), &pairs[..5], config, 0)?;
        Ok(Trained { metrics: steps(&mut trainer)?, change: Vec::new() })
    })
}

/// The share of even tokens: a score that every token has a part in.
struct Even;

impl Scorer for Even {
    fn score(&self, sequences: &[Sequence]) -> Result<Vec<f32>, LmError> {
        let even = |s: &Sequence| s.response.iter().filter(|token| token.is_multiple_of(2)).count();
        Ok(sequences.iter().map(|s| even(s) as f32 / s.response.len().max(1) as f32).collect())
    }
}

/// On a small model with few tokens: one token drawn otherwise would make two trainings that cannot be
/// compared, and with few tokens there are few boundaries to be on the other side of.
fn ppo(checks: &Checks<'_>) -> Result<Vec<Measure>> {
    let shape = lm::Shape { vocabulary: 7, context: 16, width: 64, layers: 2, heads: 2 };
    let small = DecoderConfig::gpt2(shape);
    let train = |device: &burn::tensor::Device| -> Result<Trained> {
        let model = Decoder::random(&small, Stream::new(0, "small policy"), device)?;
        // GPT-2's initial weights leave a small model almost uniform, and a low temperature makes up for it.
        let policy = Policy::new(model.clone(), 0.2, 0)?;
        let prompts: Vec<Vec<u32>> = (1..7).map(|token| vec![0, token]).collect();
        let scorer = Arc::new(Even);
        let value_model = ScalarModel::with_zero_head(model);
        let reference = ReferencePolicy::new(&policy);
        let mut trainer =
            PpoTrainer::new(&reference, &value_model, prompts.clone(), scorer, ppo_config(), 0)?;
        let response = |prompt: &Vec<u32>| Sequence { prompt: prompt.clone(), response: vec![1, 2, 3] };
        Trained::of(&mut trainer, &prompts.iter().map(response).collect::<Vec<_>>())
    };
    let expected = checks.expected(train)?;
    let names =
        ["objective/scores", "loss/policy_avg", "loss/value_avg", "policy/grad_norm", "val/grad_norm"];
    Ok(train(&checks.device)?.measures(&expected, &names, checks))
}

fn ppo_config() -> PpoConfig {
    PpoConfig {
        steps: STEPS,
        rollouts: 12,
        samples_per_prompt: 2,
        value_warmup: 0,
        ppo_epochs: 2,
        value_epochs: 0,
        minibatch_size: 6,
        sampling: Sampling { max_new_tokens: 3, batch_size: 12 },
        kl: KlControl::Fixed { kl_coef: 0.05 },
        gamma: 1.0,
        gae_lambda: 0.95,
        clip_range: 0.2,
        value_clip_range: 0.2,
        scale_rewards: true,
        missing_end_penalty: 0.0,
        ratio_guard: 10.0,
        policy_optimizer: optimizer(ADAMW),
        value_optimizer: optimizer(ADAMW),
    }
}
