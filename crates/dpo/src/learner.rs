//! One step of a policy on preference pairs, wherever they come from.

use burn::module::Module;
use burn::tensor::Tensor;
use lm::sequences::to_vec;
use lm::{
    Activations, Batch, DistinctResponses, Gradients, LmError, Optimizer, OptimizerConfig, Policy,
    PreferencePair, ReferencePolicy, Segments, SequenceLogProbs, State, Update,
};

use crate::numbers::{floats, mean, share_positive};
use crate::{Loss, preference_loss};

/// A policy, which starts from the reference, with its loss and optimiser.
pub(crate) struct Learner {
    policy: Policy,
    optimizer: Optimizer,
    loss: Loss,
    beta: f64,
    pub(crate) activations: Activations,
}

/// Pairs of a step that pass the model together, at least one.
pub(crate) struct Part<'a> {
    pub(crate) pairs: Vec<&'a PreferencePair>,
    /// `log pi_ref` of their chosen and of their rejected responses in nats.
    pub(crate) reference: (Vec<f64>, Vec<f64>),
}

/// What was seen of pairs, an entry for each.
#[derive(Default)]
struct Seen {
    chosen_rewards: Vec<f32>,
    rejected_rewards: Vec<f32>,
    chosen_logprobs: Vec<f32>,
    rejected_logprobs: Vec<f32>,
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
        let (policy, loss, activations) = (reference.start().train(), loss.clone(), Activations::Kept);
        Ok(Self { policy, optimizer, loss, beta, activations })
    }

    /// The policy as it is now, without gradients.
    pub(crate) fn policy(&self) -> Policy {
        self.policy.valid()
    }

    /// One optimiser step on the pairs of at least one part; the parts pass the model one after another, and
    /// the loss is the mean over all of their pairs. `step` is the number of steps taken before.
    pub(crate) fn step(&mut self, parts: &[Part<'_>], step: usize) -> Result<Learned, LmError> {
        let count: usize = parts.iter().map(|part| part.pairs.len()).sum();
        let (mut gradients, mut seen) = (Gradients::default(), Seen::default());
        let (mut value, mut tokens) = (0.0, 0);
        for part in parts {
            let (mean, segments, of_part) = self.loss(part, &mut seen);
            // One part has all pairs: its mean is the loss to the bit.
            let share = part.pairs.len() as f64 / count as f64;
            let loss = if parts.len() == 1 { mean } else { mean * share };
            value += f64::from(to_vec(loss.clone())[0]);
            if !value.is_finite() {
                return Err(LmError::NotFinite { what: "the loss", value, step });
            }
            gradients.add(&self.policy, &loss, segments);
            tokens += of_part;
        }
        let Update { grad_norm, learning_rate } = self.optimizer.step_with(&mut self.policy, gradients)?;
        let rewards = seen.chosen_rewards.iter().zip(&seen.rejected_rewards);
        let margins: Vec<f32> = rewards.map(|(w, l)| w - l).collect();
        Ok(Learned {
            loss: value,
            chosen_reward: mean(&seen.chosen_rewards),
            rejected_reward: mean(&seen.rejected_rewards),
            accuracy: share_positive(&margins),
            margin: mean(&margins),
            chosen_logprob: mean(&seen.chosen_logprobs),
            rejected_logprob: mean(&seen.rejected_logprobs),
            grad_norm,
            learning_rate,
            tokens,
        })
    }

    /// The mean loss of a part's pairs and the tokens of its pass; what it saw is added to `seen`.
    fn loss(&self, part: &Part<'_>, seen: &mut Seen) -> (Tensor<1>, Segments, u64) {
        let device = self.policy.device();
        let ((chosen, rejected), segments, tokens) = self.logprobs(&part.pairs);
        seen.chosen_logprobs.extend(to_vec(chosen.0.clone()));
        seen.rejected_logprobs.extend(to_vec(rejected.0.clone()));
        let reference =
            [&part.reference.0, &part.reference.1].map(|side| SequenceLogProbs(floats(side, &device)));
        let probability: Vec<f64> = part.pairs.iter().map(|pair| f64::from(pair.probability)).collect();
        let probability = floats(&probability, &device);
        let out = preference_loss((chosen, rejected), reference.into(), probability, self.beta, &self.loss);
        seen.chosen_rewards.extend(to_vec(out.chosen_rewards));
        seen.rejected_rewards.extend(to_vec(out.rejected_rewards));
        (out.loss.mean(), segments, tokens)
    }

    /// Log-probs of the pairs, chosen and rejected, from one forward pass over their distinct responses; and
    /// the tokens of that pass.
    fn logprobs(&self, pairs: &[&PreferencePair]) -> ((SequenceLogProbs, SequenceLogProbs), Segments, u64) {
        let device = self.policy.device();
        let responses = DistinctResponses::of(pairs.iter().copied());
        let batch = Batch::new(&responses.sequences.iter().collect::<Vec<_>>(), &device);
        let (logprobs, segments) = self.policy.training_logprobs(&batch, self.activations);
        let SequenceLogProbs(unique) = logprobs.sum();
        let [chosen, rejected] = responses.paired(&unique).map(SequenceLogProbs);
        ((chosen, rejected), segments, batch.tokens() as u64)
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
        let (loss, beta, activations) = (self.loss.clone(), self.beta, self.activations);
        Ok(Self { policy, optimizer, loss, beta, activations })
    }
}
