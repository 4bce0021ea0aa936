//! One step of a policy on preference pairs, wherever they come from.

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use lm::sequences::to_vec;
use lm::{
    Batch, DistinctResponses, LmError, Optimizer, OptimizerConfig, Policy, PreferencePair, ReferencePolicy,
    SequenceLogProbs, State, Update,
};

use crate::numbers::{floats, mean, share_positive};
use crate::{Loss, preference_loss};

/// A policy, which starts from the reference, with its loss and optimiser.
pub(crate) struct Learner {
    policy: Policy,
    optimizer: Optimizer,
    loss: Loss,
    beta: f64,
}

/// What a step saw before its update. Of pairs, means over them.
pub(crate) struct Learned {
    pub(crate) loss: f64,
    pub(crate) chosen_reward: f64,
    pub(crate) rejected_reward: f64,
    pub(crate) accuracy: f64,
    pub(crate) margin: f64,
    pub(crate) chosen_logprob: f64,
    pub(crate) rejected_logprob: f64,
    pub(crate) grad_norm: f64,
    pub(crate) learning_rate: f64,
    /// Tokens of the distinct responses that were trained on, with their prompts.
    pub(crate) tokens: u64,
}

impl Learned {
    /// Of a step without pairs.
    pub(crate) const NOTHING: Self = Self {
        loss: f64::NAN,
        chosen_reward: f64::NAN,
        rejected_reward: f64::NAN,
        accuracy: f64::NAN,
        margin: f64::NAN,
        chosen_logprob: f64::NAN,
        rejected_logprob: f64::NAN,
        grad_norm: f64::NAN,
        learning_rate: f64::NAN,
        tokens: 0,
    };
}

impl Learner {
    /// A policy that will take `steps` steps.
    pub(crate) fn new(
        reference: &ReferencePolicy,
        (loss, beta): (&Loss, f64),
        optimizer: &OptimizerConfig,
        steps: usize,
    ) -> Result<Self, LmError> {
        let optimizer = Optimizer::new(optimizer, steps)?;
        Ok(Self { policy: reference.start().train(), optimizer, loss: loss.clone(), beta })
    }

    /// The policy as it is now, without gradients.
    pub(crate) fn policy(&self) -> Policy {
        self.policy.valid()
    }

    /// One optimiser step on at least one pair. `reference` holds `log pi_ref` of their chosen and of their rejected
    /// responses in nats, `step` the steps taken before.
    pub(crate) fn step(
        &mut self,
        pairs: &[&PreferencePair],
        reference: &(Vec<f64>, Vec<f64>),
        step: usize,
    ) -> Result<Learned, LmError> {
        let device = self.policy.device();
        let ((chosen, rejected), tokens) = self.logprobs(pairs);
        let logprobs = [&chosen, &rejected].map(|SequenceLogProbs(side)| mean(&to_vec(side.clone())));
        let reference = [&reference.0, &reference.1].map(|side| SequenceLogProbs(floats(side, &device)));
        let probability: Vec<f64> = pairs.iter().map(|pair| f64::from(pair.probability)).collect();
        let probability = floats(&probability, &device);
        let out = preference_loss((chosen, rejected), reference.into(), probability, self.beta, &self.loss);
        let rewards = [&out.chosen_rewards, &out.rejected_rewards].map(|side| to_vec(side.clone()));
        let margins: Vec<f32> = rewards[0].iter().zip(&rewards[1]).map(|(w, l)| w - l).collect();

        let loss = out.loss.mean();
        let value = f64::from(to_vec(loss.clone())[0]);
        if !value.is_finite() {
            return Err(LmError::NotFinite { what: "the loss", value, step });
        }
        let Update { grad_norm, learning_rate } = self.optimizer.step(&mut self.policy, &loss)?;
        Ok(Learned {
            loss: value,
            chosen_reward: mean(&rewards[0]),
            rejected_reward: mean(&rewards[1]),
            accuracy: share_positive(&margins),
            margin: mean(&margins),
            chosen_logprob: logprobs[0],
            rejected_logprob: logprobs[1],
            grad_norm,
            learning_rate,
            tokens,
        })
    }

    /// Log-probs of the pairs, chosen and rejected, from one forward pass over their distinct responses; and the tokens
    /// of that pass.
    fn logprobs(&self, pairs: &[&PreferencePair]) -> ((SequenceLogProbs, SequenceLogProbs), u64) {
        let device = self.policy.device();
        let responses = DistinctResponses::of(pairs.iter().copied());
        let batch = Batch::new(&responses.sequences.iter().collect::<Vec<_>>(), &device);
        let SequenceLogProbs(unique) = self.policy.logprobs(&batch).sum();
        let pick = |indices: &[usize]| {
            let indices: Vec<i32> = indices.iter().map(|&i| i as i32).collect();
            let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [pairs.len()]), &device);
            // Not `select`, whose gradient is one thread for all pairs on a GPU.
            SequenceLogProbs(unique.clone().gather(0, indices))
        };
        ((pick(&responses.chosen), pick(&responses.rejected)), batch.tokens() as u64)
    }

    /// Keeps weights and optimiser.
    pub(crate) fn save(&self, into: &mut State) {
        into.set_module("policy", self.policy.model());
        self.optimizer.save("optimizer", self.policy.model(), into);
    }

    /// This learner with the weights and the optimiser of a saved one.
    pub(crate) fn restored(&self, from: &State) -> Result<Self, LmError> {
        let policy = from.policy("policy", &self.policy)?.train();
        let optimizer = self.optimizer.restored("optimizer", policy.model(), from)?;
        Ok(Self { policy, optimizer, loss: self.loss.clone(), beta: self.beta })
    }
}
