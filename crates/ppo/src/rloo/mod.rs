//! REINFORCE with a leave-one-out baseline (Ahmadian et al. 2024, arXiv 2402.14740; Kool et al. 2019).
//!
//! The aim is PPO's, `J(pi) = E_{y ~ pi} [r(x, y)] - kl_coef KL(pi || pi_ref)`, largest at
//! `pi* ∝ pi_ref exp(r / kl_coef)`. The whole response is one action, so there are no rewards of tokens, no
//! value model and nothing to clip. One iteration
//!
//! 1. lets the policy write k responses to each prompt and has a [`lm::Scorer`] score them,
//! 2. takes the penalty off: `R_i = score_i - kl_coef (log pi(y_i | x) - log pi_ref(y_i | x))`,
//! 3. compares each with the others of its prompt: `A_i = R_i - 1 / (k - 1) sum_{j != i} R_j`,
//! 4. takes one optimiser step on `L = -mean_i A_i log pi(y_i | x)`, on policy.

mod config;
pub mod loss;

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;
use lm::sequences::to_vec;
use lm::trainer::Epochs;
use lm::{
    Activations, Batch, Config, Gradients, LmError, Metrics, Optimizer, Policy, PolicyTrainer, Problems,
    ReferencePolicy, ScoredResponses, Scorer, Sequence, State, StepError, Stream, Trainer, Update,
};

pub use self::config::RlooConfig;
use self::loss::{leave_one_out_advantages, penalized_rewards, policy_gradient_loss};
use crate::advantage::mean;
use crate::error::PpoError;
use crate::kl_controller::KlController;
use crate::metrics::{Objective, objective};
use crate::rollout::{log_ratios, penalized_scores};

/// RLOO at work: a policy and what it learns from.
pub struct RlooTrainer {
    policy: Policy,
    reference: ReferencePolicy,
    scorer: Arc<dyn Scorer>,
    prompts: Vec<Vec<u32>>,
    epochs: Epochs,
    kl: KlController,
    optimizer: Optimizer,
    config: RlooConfig,
    activations: Activations,
    stream: Stream,
    step: usize,
    tokens: u64,
}

impl RlooTrainer {
    /// Starts from the reference policy. `prompts` are the training prompts, begin token first.
    /// The KL coefficient is in units of the score: a [`lm::Standardized`] scorer makes it mean
    /// the same for every scorer.
    ///
    /// # Errors
    /// [`PpoError::Config`] with every impossible value, [`PpoError::NoPrompts`], or [`PpoError::Lm`] for a
    /// prompt that leaves no room for a response.
    pub fn new(
        reference: &ReferencePolicy,
        prompts: Vec<Vec<u32>>,
        scorer: Arc<dyn Scorer>,
        config: RlooConfig,
        seed: u64,
    ) -> Result<Self, PpoError> {
        config.check()?;
        if prompts.is_empty() {
            return Err(PpoError::NoPrompts);
        }
        let policy = reference.start();
        let (shape, longest) = (policy.model().shape(), config.sampling.max_new_tokens);
        lm::sequences::check_prompts(&prompts, longest, shape.vocabulary, shape.context)?;
        let stream = Stream::new(seed, "rloo");
        Ok(Self {
            policy: policy.train(),
            reference: reference.clone(),
            scorer,
            epochs: Epochs::new(prompts.len(), stream.child(0)),
            prompts,
            kl: KlController::new(config.kl).map_err(Problems::from)?,
            optimizer: Optimizer::new(&config.optimizer, config.steps)?,
            config,
            activations: Activations::Kept,
            stream,
            step: 0,
            tokens: 0,
        })
    }

    /// The same with other care of the activations: less memory or less time, and the same update.
    #[must_use]
    pub fn with_activations(self, activations: Activations) -> Self {
        Self { activations, ..self }
    }

    fn iterate(&mut self) -> Result<Metrics, PpoError> {
        let responses = self.respond()?;
        let log_ratios = log_ratios(&responses.logprobs, &self.reference.score(&responses.sequences)?);
        let scores = penalized_scores(&responses, self.config.missing_end_penalty);
        let kl_coef = self.kl.kl_coef();
        let rewards = penalized_rewards(&scores, &log_ratios, kl_coef);
        let advantages = leave_one_out_advantages(&rewards, self.config.samples_per_prompt);
        let (loss, update) = self.update(&responses.sequences, &advantages)?;

        self.kl.update(mean(&log_ratios), responses.len());
        self.step += 1;
        self.tokens += (RlooConfig::PASSES_PER_TOKEN * responses.tokens()) as u64;
        Ok(self.metrics(
            &responses,
            Objective { log_ratios: &log_ratios, scores: &scores, kl_coef },
            loss,
            update,
        ))
    }

    fn respond(&mut self) -> Result<ScoredResponses, PpoError> {
        let samples = self.config.samples_per_prompt;
        let drawn = self.epochs.next(self.config.rollouts / samples);
        let prompts: Vec<Vec<u32>> = drawn.into_iter().map(|index| self.prompts[index].clone()).collect();
        let stream = self.stream.child(1).child(self.step as u64);
        let (sampling, scorer) = (&self.config.sampling, self.scorer.as_ref());
        Ok(ScoredResponses::draw(&self.policy.valid(), &prompts, samples, sampling, scorer, stream)?)
    }

    /// One optimiser step; the loss is that before it.
    fn update(&mut self, sequences: &[Sequence], advantages: &[f64]) -> Result<(f64, Update), PpoError> {
        let device = self.policy.device();
        let batch = Batch::new(&sequences.iter().collect::<Vec<_>>(), &device);
        let advantages: Vec<f32> = advantages.iter().map(|&advantage| advantage as f32).collect();
        let advantages = Tensor::from_floats(advantages.as_slice(), &device);
        let (logprobs, segments) = self.policy.training_logprobs(&batch, self.activations);
        let loss = policy_gradient_loss(logprobs.sum(), advantages);
        let value = f64::from(to_vec(loss.clone())[0]);
        if !value.is_finite() {
            return Err(LmError::NotFinite { what: "the loss", value, step: self.step }.into());
        }
        let gradients = Gradients::of(&self.policy, &loss, segments);
        Ok((value, self.optimizer.step_with(&mut self.policy, gradients)?))
    }

    /// TRL's names and order, then ours.
    fn metrics(
        &self,
        responses: &ScoredResponses,
        numbers: Objective<'_>,
        loss: f64,
        update: Update,
    ) -> Metrics {
        let lengths: Vec<f64> = responses.sequences.iter().map(|s| s.response.len() as f64).collect();
        let kl_coef = numbers.kl_coef;
        let mut metrics = objective(responses, numbers);
        metrics.extend([
            ("loss/policy_avg", loss),
            ("val/num_eos_tokens", responses.ended_count() as f64),
            ("objective/kl_coef", kl_coef),
            ("response_length", mean(&lengths)),
            ("policy/grad_norm", update.grad_norm),
            ("learning_rate", update.learning_rate),
            ("num_tokens", self.tokens as f64),
        ]);
        metrics
    }
}

impl Trainer for RlooTrainer {
    /// One iteration: responses, rewards, advantages, one optimiser step.
    fn step(&mut self) -> Result<Metrics, StepError> {
        Ok(self.iterate()?)
    }

    /// Each token of a rollout, prompt included, counts once for every pass through a model: when it is
    /// generated, when the reference and the scorer read it, and when the policy trains on it.
    fn tokens(&self) -> u64 {
        self.tokens
    }

    fn save(&self, into: &mut State) {
        into.set_trainer("rloo", self.step, self.tokens);
        into.set("kl_coef", self.kl.kl_coef());
        into.set_module("policy", self.policy.model());
        self.optimizer.save("optimizer", self.policy.model(), into);
        self.epochs.save(into);
    }

    fn restore(&mut self, from: &State) -> Result<(), LmError> {
        let (step, tokens) = from.trainer("rloo")?;
        let kl = self.kl.restored(from)?;
        let policy = from.policy("policy", &self.policy)?.train();
        let optimizer = self.optimizer.restored("optimizer", policy.model(), from)?;
        let epochs = self.epochs.restored(from)?;
        (self.policy, self.optimizer, self.epochs) = (policy, optimizer, epochs);
        (self.kl, self.step, self.tokens) = (kl, step, tokens);
        Ok(())
    }
}

impl PolicyTrainer for RlooTrainer {
    fn policy(&self) -> Policy {
        self.policy.valid()
    }
}
