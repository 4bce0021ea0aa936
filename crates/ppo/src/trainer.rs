//! The algorithm.

use std::sync::Arc;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use lm::trainer::Epochs;
use lm::{
    Activations, Batch, Config, Gradients, LmError, Metrics, Optimizer, Policy, PolicyTrainer, Problems,
    ReferencePolicy, ScalarModel, Scorer, Sequence, State, StepError, Stream, Trainer, Update, masked,
};
use rand::seq::SliceRandom;

use crate::advantage::{Advantages, generalized_advantages, mean, shaped_rewards};
use crate::config::PpoConfig;
use crate::error::PpoError;
use crate::kl_controller::KlController;
use crate::loss::{PolicyNumbers, policy_loss, value_loss};
use crate::metrics::{PolicyUpdate, Updates, ValueUpdate, metrics};
use crate::rollout::{Measures, Rollouts, penalized_scores};

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
    activations: Activations,
    stream: Stream,
    step: usize,
    tokens: u64,
}

impl PpoTrainer {
    /// Starts from the reference policy and a value model. With a zero head on the body of the reference or
    /// of a reward model, the value model expects nothing of any state at first.
    ///
    /// `prompts` are the training prompts, begin token first. The KL coefficient is in units of the score: a
    /// [`lm::Standardized`] scorer makes it mean the same for every scorer.
    ///
    /// # Errors
    /// [`PpoError::Config`] with every impossible value, [`PpoError::NoPrompts`], or [`PpoError::Lm`] for a
    /// prompt that leaves no room for a response.
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
            let longest = config.sampling.max_new_tokens;
            lm::sequences::check_prompts(&prompts, longest, shape.vocabulary, shape.context)?;
        }
        let stream = Stream::new(seed, "ppo");
        let kl = KlController::new(config.kl).map_err(Problems::from)?;
        Ok(Self {
            policy: policy.train(),
            value_model: value_model.valid().train(),
            reference: reference.clone(),
            scorer,
            epochs: Epochs::new(prompts.len(), stream.child(0)),
            prompts,
            kl,
            policy_optimizer: Optimizer::new(&config.policy_optimizer, config.policy_steps())?,
            value_optimizer: Optimizer::new(&config.value_optimizer, config.value_steps())?,
            config,
            activations: Activations::Kept,
            stream,
            step: 0,
            tokens: 0,
        })
    }

    /// The same with other care of the activations of both models: less memory or less time, and the same
    /// updates.
    #[must_use]
    pub fn with_activations(self, activations: Activations) -> Self {
        Self { activations, ..self }
    }

    /// The value model as it is now, without gradients.
    pub fn value_model(&self) -> ScalarModel {
        self.value_model.valid()
    }

    fn iterate(&mut self) -> Result<Metrics, PpoError> {
        let rollouts = self.roll_out()?;
        let scores = penalized_scores(&rollouts.responses, self.config.missing_end_penalty);
        let kl_coef = self.kl.kl_coef();
        let mut rewards = shaped_rewards(&rollouts.logprobs, &rollouts.reference_logprobs, &scores, kl_coef);
        if self.config.scale_rewards {
            masked::scale_to_unit_variance(&mut rewards);
        }
        let mut targets =
            generalized_advantages(&rewards, &rollouts.values, self.config.gamma, self.config.gae_lambda);
        masked::whiten(&mut targets.advantages);
        let updates = self.update(&rollouts, &targets)?;

        if self.step >= self.config.value_warmup {
            self.kl.update(mean(&rollouts.log_ratios()), rollouts.responses.len());
        }
        let passes = self.config.passes_per_token(self.step);
        self.step += 1;
        self.tokens += (rollouts.responses.tokens() * passes) as u64;
        Ok(metrics(&rollouts, &scores, kl_coef, &targets, &updates, self.tokens))
    }

    fn roll_out(&mut self) -> Result<Rollouts, PpoError> {
        let samples = self.config.samples_per_prompt;
        let drawn = self.epochs.next(self.config.rollouts / samples);
        let prompts: Vec<Vec<u32>> = drawn.into_iter().map(|index| self.prompts[index].clone()).collect();
        // Without gradients: nothing of this may reach the autodiff device.
        let value_model = self.value_model.valid();
        let measures =
            Measures { reference: &self.reference, value_model: &value_model, scorer: self.scorer.as_ref() };
        let stream = self.stream.child(1).child(self.step as u64);
        Rollouts::collect(&self.policy.valid(), measures, &prompts, samples, &self.config.sampling, stream)
    }

    /// Epochs of minibatches, reshuffled in each: first those of policy and value model, then those of the
    /// value model alone. Those of the policy are left out while the value model warms up.
    fn update(&mut self, rollouts: &Rollouts, targets: &Advantages) -> Result<Updates, PpoError> {
        let start = Instant::now();
        let stream = self.stream.child(2).child(self.step as u64);
        let mut order: Vec<usize> = (0..rollouts.responses.len()).collect();
        let mut updates = Updates::default();
        let policy_epochs = self.config.policy_epochs(self.step);
        for epoch in 0..self.config.ppo_epochs + self.config.value_epochs {
            order.sort_unstable();
            order.shuffle(&mut stream.child(epoch as u64).rng());
            for rows in order.chunks(self.config.minibatch_size) {
                let minibatch = self.minibatch(rollouts, rows);
                if epoch < policy_epochs {
                    let Some(update) = self.update_policy(&minibatch, rollouts, targets)? else {
                        updates.skipped += 1;
                        continue;
                    };
                    updates.policy.push(update);
                }
                updates.value.push(self.update_value_model(&minibatch, rollouts, targets)?);
            }
        }
        tracing::debug!(update_s = start.elapsed().as_secs_f64(), skipped = updates.skipped, "update");
        Ok(updates)
    }

    fn minibatch<'a>(&self, rollouts: &Rollouts, rows: &'a [usize]) -> Minibatch<'a> {
        let device = self.policy.device();
        let sequences: Vec<&Sequence> = rows.iter().map(|&i| &rollouts.responses.sequences[i]).collect();
        let batch = Batch::new(&sequences, &device);
        Minibatch { mask: batch.mask().tensor(&device), rows, batch, device }
    }

    /// One step of the policy, or none where the ratio guard says so.
    fn update_policy(
        &mut self,
        minibatch: &Minibatch<'_>,
        rollouts: &Rollouts,
        targets: &Advantages,
    ) -> Result<Option<PolicyUpdate>, PpoError> {
        let (logprobs, segments) = self.policy.training_logprobs(&minibatch.batch, self.activations);
        let out = policy_loss(
            logprobs.values(),
            minibatch.pad(&rollouts.logprobs),
            minibatch.pad(&targets.advantages),
            minibatch.mask.clone(),
            self.config.clip_range,
        );
        let numbers = out.numbers();
        // An infinite ratio is for the guard; only NaN, which compares with nothing, is an error.
        if numbers.mean_ratio.is_nan() {
            return Err(
                LmError::NotFinite { what: "the ratio", value: numbers.mean_ratio, step: self.step }.into()
            );
        }
        if self.is_out_of_range(&numbers) {
            // Only a backward pass frees a graph: without this one, all that were skipped
            // since the last would stay.
            drop(out.loss.backward());
            return Ok(None);
        }
        let gradients = Gradients::of(&self.policy, &out.loss, segments);
        let Update { grad_norm, learning_rate } =
            self.policy_optimizer.step_with(&mut self.policy, gradients)?;
        Ok(Some(PolicyUpdate { numbers, grad_norm, learning_rate }))
    }

    /// One step of the value model. It follows the policy's, whose graph is gone by then, so that
    /// one graph lives at a time.
    fn update_value_model(
        &mut self,
        minibatch: &Minibatch<'_>,
        rollouts: &Rollouts,
        targets: &Advantages,
    ) -> Result<ValueUpdate, PpoError> {
        let (values, segments) = self.value_model.training_values(&minibatch.batch, self.activations);
        let out = value_loss(
            values,
            minibatch.pad(&rollouts.values),
            minibatch.pad(&targets.returns),
            minibatch.mask.clone(),
            self.config.value_clip_range,
        );
        let numbers = out.numbers();
        let gradients = Gradients::of(&self.value_model, &out.loss, segments);
        let Update { grad_norm, .. } = self.value_optimizer.step_with(&mut self.value_model, gradients)?;
        Ok(ValueUpdate { numbers, grad_norm })
    }

    fn is_out_of_range(&self, policy: &PolicyNumbers) -> bool {
        let guard = self.config.ratio_guard;
        policy.mean_ratio > guard || policy.approx_kl > 0.5 * guard.ln().powi(2)
    }
}

/// Some of an iteration's rollouts, on the device.
struct Minibatch<'a> {
    rows: &'a [usize],
    batch: Batch,
    mask: Tensor<2>,
    device: Device,
}

impl Minibatch<'_> {
    /// Its rows of a quantity of all rollouts, `[B, R]`.
    fn pad(&self, values: &[Vec<f32>]) -> Tensor<2> {
        let chosen: Vec<Vec<f32>> = self.rows.iter().map(|&i| values[i].clone()).collect();
        self.batch.mask().pad(&chosen, &self.device)
    }
}

impl Trainer for PpoTrainer {
    /// One iteration: rollouts, rewards, advantages, update.
    fn step(&mut self) -> Result<Metrics, StepError> {
        Ok(self.iterate()?)
    }

    /// Each token of a rollout, prompt included, counts once for every pass through a model: one when it is
    /// generated, four when policy, reference, value model and scorer read it, two (policy and value model)
    /// for each PPO epoch that trains on it, or one while the value model warms up, and one for each epoch of
    /// the value model alone; skipped minibatches included.
    fn tokens(&self) -> u64 {
        self.tokens
    }

    fn save(&self, into: &mut State) {
        into.set_trainer("ppo", self.step, self.tokens);
        into.set("kl_coef", self.kl.kl_coef());
        into.set_module("policy", self.policy.model());
        into.set_module("value_model", &self.value_model);
        self.policy_optimizer.save("policy_optimizer", self.policy.model(), into);
        self.value_optimizer.save("value_optimizer", &self.value_model, into);
        self.epochs.save(into);
    }

    fn restore(&mut self, from: &State) -> Result<(), LmError> {
        let (step, tokens) = from.trainer("ppo")?;
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
