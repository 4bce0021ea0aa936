//! The algorithm: draw pairs, compare policy and reference, step.

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use lm::sequences::to_vec;
use lm::trainer::{Epochs, StepError};
use lm::{
    Batch, Config, DistinctResponses, LmError, Metrics, Optimizer, Policy, PolicyTrainer, PreferencePair,
    ReferencePolicy, SequenceLogProbs, State, Stream, Trainer,
};

use crate::evaluation::{mean, share_positive};
use crate::reference::check_pairs;
use crate::{DpoConfig, DpoError, ReferenceLogProbs, preference_loss};

/// Trains a policy, which starts from the reference, on preference pairs.
pub struct DpoTrainer {
    policy: Policy,
    reference: ReferenceLogProbs,
    pairs: Vec<PreferencePair>,
    config: DpoConfig,
    optimizer: Optimizer,
    epochs: Epochs,
    step: usize,
    tokens: u64,
}

impl DpoTrainer {
    /// Scores all pairs under the reference, once, and starts a policy from it.
    ///
    /// # Errors
    /// [`DpoError::Config`] with every impossible value, [`DpoError::NoPairs`], or [`DpoError::Pair`] for a pair that
    /// does not fit the model.
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

    /// Starts a policy from the reference, whose log-probs of the pairs are known already; their tokens are not
    /// counted again.
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
        let policy = reference.start();
        check_pairs(&policy, &pairs)?;
        logprobs.check(pairs.len())?;
        Ok(Self {
            policy: policy.train(),
            reference: logprobs,
            optimizer: Optimizer::new(&config.optimizer, config.steps)?,
            epochs: Epochs::grouped(by_prompt(&pairs), Stream::new(seed, "dpo")),
            pairs,
            config,
            step: 0,
            tokens: 0,
        })
    }

    /// Log-probs of the drawn pairs, chosen and rejected, from one forward pass over their distinct responses; and
    /// the tokens of that pass.
    fn policy_logprobs(&self, drawn: &[usize]) -> ((SequenceLogProbs, SequenceLogProbs), u64) {
        let device = self.policy.device();
        let responses = DistinctResponses::of(drawn.iter().map(|&i| &self.pairs[i]));
        let batch = Batch::new(&responses.sequences.iter().collect::<Vec<_>>(), &device);
        let SequenceLogProbs(unique) = self.policy.logprobs(&batch).sum();
        let pick = |indices: &[usize]| {
            let indices: Vec<i32> = indices.iter().map(|&i| i as i32).collect();
            let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [drawn.len()]), &device);
            // Not `select`, whose gradient is one thread for all pairs on a GPU.
            SequenceLogProbs(unique.clone().gather(0, indices))
        };
        ((pick(&responses.chosen), pick(&responses.rejected)), batch.tokens() as u64)
    }

    /// The reference's log-probs of the drawn pairs, chosen and rejected.
    fn reference_logprobs(&self, drawn: &[usize]) -> (SequenceLogProbs, SequenceLogProbs) {
        let device = self.policy.device();
        let pick = |values: &[f64]| {
            let values: Vec<f32> = drawn.iter().map(|&i| values[i] as f32).collect();
            SequenceLogProbs(Tensor::from_data(TensorData::new(values, [drawn.len()]), &device))
        };
        (pick(&self.reference.chosen), pick(&self.reference.rejected))
    }
}

/// Runs of pairs with the same prompt, which often share responses: n responses to a prompt make n (n - 1) / 2
/// pairs. Drawn together, each response passes the model once for all its pairs.
fn by_prompt(pairs: &[PreferencePair]) -> Vec<Vec<usize>> {
    let indices: Vec<usize> = (0..pairs.len()).collect();
    indices.chunk_by(|&a, &b| pairs[a].prompt == pairs[b].prompt).map(<[usize]>::to_vec).collect()
}

impl Trainer for DpoTrainer {
    fn step(&mut self) -> Result<Metrics, StepError> {
        let drawn = self.epochs.next(self.config.batch_size);
        let ((chosen, rejected), tokens) = self.policy_logprobs(&drawn);
        let logps = [&chosen, &rejected].map(|SequenceLogProbs(side)| mean(&to_vec(side.clone())));
        let reference = self.reference_logprobs(&drawn);
        let out = preference_loss((chosen, rejected), reference, self.config.beta, &self.config.loss);
        let rewards = [&out.chosen_rewards, &out.rejected_rewards].map(|side| to_vec(side.clone()));
        let margins: Vec<f32> = rewards[0].iter().zip(&rewards[1]).map(|(w, l)| w - l).collect();

        let loss = out.loss.mean();
        let value = f64::from(to_vec(loss.clone())[0]);
        if !value.is_finite() {
            return Err(LmError::NotFinite { what: "the loss", value, step: self.step }.into());
        }
        let update = self.optimizer.step(&mut self.policy, &loss)?;
        self.step += 1;
        self.tokens += tokens;
        Ok(vec![
            ("loss", value),
            ("rewards/chosen", mean(&rewards[0])),
            ("rewards/rejected", mean(&rewards[1])),
            ("rewards/accuracies", share_positive(&margins)),
            ("rewards/margins", mean(&margins)),
            ("logps/chosen", logps[0]),
            ("logps/rejected", logps[1]),
            ("grad_norm", update.grad_norm),
            ("learning_rate", update.learning_rate),
            ("num_tokens", self.tokens as f64),
        ])
    }

    /// Each token of a step's distinct responses counts once, and so does each prompt token for each of them; where
    /// [`DpoTrainer::new`] scored the pairs under the reference, so do the tokens of all distinct responses.
    fn tokens(&self) -> u64 {
        self.tokens
    }

    fn save(&self, into: &mut State) {
        into.set("trainer", "dpo");
        into.set("step", self.step);
        into.set("tokens", self.tokens);
        into.set_module("policy", self.policy.model());
        self.optimizer.save("optimizer", self.policy.model(), into);
        self.epochs.save(into);
    }

    fn restore(&mut self, from: &State) -> Result<(), LmError> {
        from.require("trainer", "dpo")?;
        let (step, tokens) = (from.get("step")?, from.get("tokens")?);
        let policy = from.policy("policy", &self.policy)?.train();
        let optimizer = self.optimizer.restored("optimizer", policy.model(), from)?;
        let epochs = self.epochs.restored(from)?;
        (self.policy, self.optimizer, self.epochs) = (policy, optimizer, epochs);
        (self.step, self.tokens) = (step, tokens);
        Ok(())
    }
}

impl PolicyTrainer for DpoTrainer {
    fn policy(&self) -> Policy {
        self.policy.valid()
    }
}
