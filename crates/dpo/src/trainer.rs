//! The algorithm: draw pairs, compare policy and reference, step.

use std::num::NonZeroUsize;
use std::ops::Range;

use lm::trainer::{Epochs, StepError};
use lm::{
    Activations, Config, DistinctResponses, LmError, Metrics, Policy, PolicyTrainer, PreferencePair,
    ReferencePolicy, State, Stream, Trainer, by_prompt,
};

use crate::learner::{Learner, Part};
use crate::reference::check_pairs;
use crate::{DpoConfig, DpoError, ReferenceLogProbs};

/// Trains a policy, which starts from the reference, on preference pairs. Pairs with the same prompt that
/// follow each other are drawn together.
pub struct DpoTrainer {
    learner: Learner,
    data: Data,
    config: DpoConfig,
    /// Batches of a step.
    accumulated: NonZeroUsize,
    epochs: Epochs,
    step: usize,
    tokens: u64,
}

impl DpoTrainer {
    /// Scores all pairs under the reference, once, and starts a policy from it.
    ///
    /// # Errors
    /// [`DpoError::Config`] with every impossible value, [`DpoError::NoPairs`], or [`DpoError::Pair`] for a
    /// pair that does not fit the model.
    pub fn new(
        reference: &ReferencePolicy,
        pairs: Vec<PreferencePair>,
        config: DpoConfig,
        seed: u64,
    ) -> Result<Self, DpoError> {
        // Scoring may take minutes, so the configuration is checked first.
        config.check()?;
        let logprobs = ReferenceLogProbs::compute(reference, &pairs)?;
        let scored = DistinctResponses::of(&pairs).tokens();
        let mut trainer = Self::with_reference_logprobs(reference, logprobs, pairs, config, seed)?;
        trainer.tokens = scored;
        Ok(trainer)
    }

    /// Starts a policy from the reference, whose log-probs of the pairs are known already; their
    /// tokens are not counted again.
    ///
    /// # Errors
    /// As [`DpoTrainer::new`], and [`DpoError::Reference`] for log-probs of other pairs.
    pub fn with_reference_logprobs(
        reference: &ReferencePolicy,
        logprobs: ReferenceLogProbs,
        pairs: Vec<PreferencePair>,
        config: DpoConfig,
        seed: u64,
    ) -> Result<Self, DpoError> {
        config.check()?;
        check_pairs(&reference.start(), &pairs)?;
        logprobs.check(pairs.len())?;
        let data = Data { reference: logprobs, prompts: by_prompt(&pairs), pairs };
        Ok(Self {
            learner: Learner::new(reference, (&config.loss, config.beta), &config.optimizer, config.steps)?,
            epochs: Epochs::new(data.prompts.len(), Stream::new(seed, "dpo")),
            data,
            config,
            accumulated: NonZeroUsize::MIN,
            step: 0,
            tokens: 0,
        })
    }

    /// The same with so many batches in a step, one after another in memory: its update is that of one
    /// batch of all their pairs.
    #[must_use]
    pub fn accumulating(self, batches: NonZeroUsize) -> Self {
        Self { accumulated: batches, ..self }
    }

    /// The same with other care of the activations: less memory or less time, and the same update.
    #[must_use]
    pub fn with_activations(mut self, activations: Activations) -> Self {
        self.learner.activations = activations;
        self
    }
}

/// What is learned from.
struct Data {
    pairs: Vec<PreferencePair>,
    reference: ReferenceLogProbs,
    /// Of each prompt, its pairs.
    prompts: Vec<Range<usize>>,
}

impl Data {
    /// The pairs of some prompts, with what the reference says of them.
    fn part(&self, prompts: &[usize]) -> Part<'_> {
        let drawn: Vec<usize> = prompts.iter().flat_map(|&prompt| self.prompts[prompt].clone()).collect();
        let pick = |side: &[f64]| drawn.iter().map(|&index| side[index]).collect();
        Part {
            pairs: drawn.iter().map(|&index| &self.pairs[index]).collect(),
            reference: (pick(&self.reference.chosen), pick(&self.reference.rejected)),
        }
    }
}

impl Trainer for DpoTrainer {
    fn step(&mut self) -> Result<Metrics, StepError> {
        let batch = self.config.batch_prompts;
        let drawn = self.epochs.next(batch.saturating_mul(self.accumulated.get()));
        let parts: Vec<Part<'_>> = drawn.chunks(batch).map(|prompts| self.data.part(prompts)).collect();
        let learned = self.learner.step(&parts, self.step)?;
        self.step += 1;
        self.tokens += learned.tokens;
        Ok(vec![
            ("loss", learned.loss),
            ("rewards/chosen", learned.chosen_reward),
            ("rewards/rejected", learned.rejected_reward),
            ("rewards/accuracies", learned.accuracy),
            ("rewards/margins", learned.margin),
            ("logps/chosen", learned.chosen_logprob),
            ("logps/rejected", learned.rejected_logprob),
            ("grad_norm", learned.grad_norm),
            ("learning_rate", learned.learning_rate),
            ("num_tokens", self.tokens as f64),
        ])
    }

    /// Each token of a step's distinct responses counts once, and so does each prompt token for
    /// each of them; where [`DpoTrainer::new`] scored the pairs under the reference, so do the
    /// tokens of all distinct responses.
    fn tokens(&self) -> u64 {
        self.tokens
    }

    fn save(&self, into: &mut State) {
        into.set_trainer("dpo", self.step, self.tokens);
        self.learner.save(into);
        self.epochs.save(into);
    }

    fn restore(&mut self, from: &State) -> Result<(), LmError> {
        let (step, tokens) = from.trainer("dpo")?;
        let (learner, epochs) = (self.learner.restored(from)?, self.epochs.restored(from)?);
        (self.learner, self.epochs, self.step, self.tokens) = (learner, epochs, step, tokens);
        Ok(())
    }
}

impl PolicyTrainer for DpoTrainer {
    fn policy(&self) -> Policy {
        self.learner.policy()
    }
}
