//! The algorithm.

use std::sync::Arc;
use std::time::Instant;

use burn::module::Module;
use lm::trainer::Epochs;
use lm::{
    Batch, Config, LmError, Metrics, Optimizer, Policy, PolicyTrainer, ReferencePolicy, ScalarModel, Scorer,
    Sequence, State, StepError, Stream, Trainer, masked,
};
use rand::seq::SliceRandom;

use crate::advantage::{Advantages, generalized_advantages, mean, shaped_rewards};
use crate::config::PpoConfig;
use crate::error::PpoError;
use crate::kl_controller::KlController;
use crate::loss::{PolicyNumbers, policy_loss, value_loss};
use crate::metrics::{MinibatchUpdate, Updates, metrics};
use crate::rollout::{Measures, Rollouts};

/// PPO at work: a policy, a value model apart from it, and what they learn from.
pub struct PpoTrainer {
    policy: Policy,
    value_model: ScalarModel,
    reference: ReferencePolicy,
    scorer: Arc<dyn Scorer>,
    prompts: Vec<Vec<u32>>,
    epochs: Epochs,
    kl: KlController,
    policy_optimizer: Optimizer,
    value_optimizer: Optimizer,
    config: PpoConfig,
    stream: Stream,
    step: usize,
    tokens: u64,
}

impl PpoTrainer {
    /// Starts from the reference policy and a value model. With a zero head on the body of the reference or of a reward
    /// model, the value model expects nothing of any state at first.
    ///
    /// `prompts` are the training prompts, begin token first. The KL coefficient is in units of the score: a
    /// [`lm::Standardized`] scorer makes it mean the same for every scorer.
    ///
    /// # Errors
    /// [`PpoError::Config`] with every impossible value, [`PpoError::NoPrompts`], or [`PpoError::Lm`] for a prompt that
    /// leaves no room for a response.
    pub fn new(
        reference: &ReferencePolicy,
        value_model: &ScalarModel,
        prompts: Vec<Vec<u32>>,
        scorer: Arc<dyn Scorer>,
        config: PpoConfig,
        seed: u64,
    ) -> Result<Self, PpoError> {
        config.check()?;
        if prompts.is_empty() {
            return Err(PpoError::NoPrompts);
        }
        let policy = reference.start();
        for shape in [policy.model().shape(), value_model.body().shape()] {
            let room = shape.context.saturating_sub(config.sampling.max_new_tokens);
            lm::sequences::check(&without_responses(&prompts), shape.vocabulary, room)?;
        }
        let stream = Stream::new(seed, "ppo");
        let total = config.optimizer_steps();
        Ok(Self {
            policy: policy.train(),
            value_model: value_model.valid().train(),
            reference: reference.clone(),
            scorer,
            epochs: Epochs::new(prompts.len(), stream.child(0)),
            prompts,
            kl: KlController::new(config.kl),
            policy_optimizer: Optimizer::new(&config.policy_optimizer, total)?,
            value_optimizer: Optimizer::new(&config.value_optimizer, total)?,
            config,
            stream,
            step: 0,
            tokens: 0,
        })
    }

    /// The value model as it is now, without gradients.
    pub fn value_model(&self) -> ScalarModel {
        self.value_model.valid()
    }

    fn iterate(&mut self) -> Result<Metrics, PpoError> {
        let rollouts = self.roll_out()?;
        let scores = self.penalized_scores(&rollouts);
        let kl_coef = self.kl.kl_coef();
        let mut rewards = shaped_rewards(&rollouts.logprobs, &rollouts.reference_logprobs, &scores, kl_coef);
        if self.config.scale_rewards {
            masked::scale_to_unit_variance(&mut rewards);
        }
        let mut targets =
            generalized_advantages(&rewards, &rollouts.values, self.config.gamma, self.config.gae_lambda);
        masked::whiten(&mut targets.advantages);
        let updates = self.update(&rollouts, &targets)?;

        self.kl.update(mean(&rollouts.log_ratios()), rollouts.len());
        self.step += 1;
        let passes = PpoConfig::passes_per_token(self.config.ppo_epochs);
        self.tokens += (rollouts.tokens() * passes) as u64;
        Ok(metrics(&rollouts, &scores, kl_coef, &targets, &updates, self.tokens))
    }

    fn roll_out(&mut self) -> Result<Rollouts, PpoError> {
        let samples = self.config.samples_per_prompt;
        let drawn = self.epochs.next(self.config.rollouts / samples);
        let prompts: Vec<Vec<u32>> =
            drawn.into_iter().flat_map(|i| std::iter::repeat_n(self.prompts[i].clone(), samples)).collect();
        // Without gradients: nothing of this may reach the autodiff device.
        let value_model = self.value_model.valid();
        let measures =
            Measures { reference: &self.reference, value_model: &value_model, scorer: self.scorer.as_ref() };
        let stream = self.stream.child(1).child(self.step as u64);
        Rollouts::collect(&self.policy.valid(), measures, &prompts, &self.config.sampling, stream)
    }

    /// Scores, less the penalty where the policy did not end its response.
    fn penalized_scores(&self, rollouts: &Rollouts) -> Vec<f64> {
        let penalty = |ended: bool| if ended { 0.0 } else { self.config.missing_end_penalty };
        rollouts.scores.iter().zip(&rollouts.ended).map(|(&score, &ended)| score - penalty(ended)).collect()
    }

    /// Epochs of minibatches, reshuffled in each.
    fn update(&mut self, rollouts: &Rollouts, targets: &Advantages) -> Result<Updates, PpoError> {
        let start = Instant::now();
        let stream = self.stream.child(2).child(self.step as u64);
        let mut order: Vec<usize> = (0..rollouts.len()).collect();
        let mut updates = Updates::default();
        for epoch in 0..self.config.ppo_epochs {
            order.sort_unstable();
            order.shuffle(&mut stream.child(epoch as u64).rng());
            for rows in order.chunks(self.config.minibatch_size) {
                match self.update_minibatch(rollouts, targets, rows)? {
                    Some(update) => updates.taken.push(update),
                    None => updates.skipped += 1,
                }
            }
        }
        tracing::debug!(update_s = start.elapsed().as_secs_f64(), skipped = updates.skipped, "update");
        Ok(updates)
    }

    /// One step of the policy and one of the value model, or none of either where the ratio guard says so. The two
    /// backward passes follow each other, so that one graph lives at a time.
    fn update_minibatch(
        &mut self,
        rollouts: &Rollouts,
        targets: &Advantages,
        rows: &[usize],
    ) -> Result<Option<MinibatchUpdate>, PpoError> {
        let device = self.policy.device();
        let sequences: Vec<&Sequence> = rows.iter().map(|&i| &rollouts.sequences[i]).collect();
        let batch = Batch::new(&sequences, &device);
        let mask = batch.mask().tensor(&device);
        let pad = |values: &[Vec<f32>]| {
            let chosen: Vec<Vec<f32>> = rows.iter().map(|&i| values[i].clone()).collect();
            batch.mask().pad(&chosen, &device)
        };

        let policy_loss = policy_loss(
            self.policy.logprobs(&batch).values(),
            pad(&rollouts.logprobs),
            pad(&targets.advantages),
            mask.clone(),
            self.config.clip_range,
        );
        let policy = policy_loss.numbers();
        // An infinite ratio is for the guard; only NaN, which compares with nothing, is an error.
        if policy.mean_ratio.is_nan() {
            return Err(
                LmError::NotFinite { what: "the ratio", value: policy.mean_ratio, step: self.step }.into()
            );
        }
        if self.is_out_of_range(&policy) {
            return Ok(None);
        }
        let policy_step = self.policy_optimizer.step(&mut self.policy, &policy_loss.loss)?;
        drop(policy_loss);

        let value_loss = value_loss(
            self.value_model.values(&batch),
            pad(&rollouts.values),
            pad(&targets.returns),
            mask,
            self.config.value_clip_range,
        );
        let value = value_loss.numbers();
        let value_step = self.value_optimizer.step(&mut self.value_model, &value_loss.loss)?;
        Ok(Some(MinibatchUpdate {
            policy,
            value,
            policy_grad_norm: policy_step.grad_norm,
            value_grad_norm: value_step.grad_norm,
            learning_rate: policy_step.learning_rate,
        }))
    }

    fn is_out_of_range(&self, policy: &PolicyNumbers) -> bool {
        let guard = self.config.ratio_guard;
        policy.mean_ratio > guard || policy.approx_kl > 0.5 * guard.ln().powi(2)
    }
}

impl Trainer for PpoTrainer {
    /// One iteration: rollouts, rewards, advantages, update.
    fn step(&mut self) -> Result<Metrics, StepError> {
        Ok(self.iterate()?)
    }

    /// Each token of a rollout, prompt included, counts once for every pass through a model: one when it is generated,
    /// four when policy, reference, value model and scorer read it, and two (policy and value model) for each PPO
    /// epoch that trains on it, skipped minibatches included.
    fn tokens(&self) -> u64 {
        self.tokens
    }

    fn save(&self, into: &mut State) {
        into.set("trainer", "ppo");
        into.set("step", self.step);
        into.set("tokens", self.tokens);
        into.set("kl_coef", self.kl.kl_coef());
        into.set_module("policy", self.policy.model());
        into.set_module("value_model", &self.value_model);
        self.policy_optimizer.save("policy_optimizer", self.policy.model(), into);
        self.value_optimizer.save("value_optimizer", &self.value_model, into);
        self.epochs.save(into);
    }

    fn restore(&mut self, from: &State) -> Result<(), LmError> {
        from.require("trainer", "ppo")?;
        let (step, tokens) = (from.get("step")?, from.get("tokens")?);
        let kl = self.kl.restored(from)?;
        let policy = from.policy("policy", &self.policy)?.train();
        let value_model = from.module("value_model", self.value_model.valid())?.train();
        let policy_optimizer = self.policy_optimizer.restored("policy_optimizer", policy.model(), from)?;
        let value_optimizer = self.value_optimizer.restored("value_optimizer", &value_model, from)?;
        let epochs = self.epochs.restored(from)?;
        (self.policy, self.policy_optimizer) = (policy, policy_optimizer);
        (self.value_model, self.value_optimizer) = (value_model, value_optimizer);
        (self.epochs, self.kl, self.step, self.tokens) = (epochs, kl, step, tokens);
        Ok(())
    }
}

impl PolicyTrainer for PpoTrainer {
    fn policy(&self) -> Policy {
        self.policy.valid()
    }
}

fn without_responses(prompts: &[Vec<u32>]) -> Vec<Sequence> {
    prompts.iter().map(|prompt| Sequence { prompt: prompt.clone(), response: Vec::new() }).collect()
}
