//! Online DPO: the pairs are fresh, responses of the current policy that a scorer labels.

use std::sync::Arc;

use lm::trainer::{Epochs, StepError};
use lm::{
    Activations, Config, LmError, Metrics, Policy, PolicyTrainer, PreferencePair, ReferencePolicy,
    ScoredResponses, Scorer, State, Stream, Trainer,
};

use crate::learner::{Learned, Learner, Part};
use crate::{DpoError, OnlineDpoConfig};

/// Trains a policy, which starts from the reference, on pairs of its own responses (Guo et al.
/// 2024, arXiv 2402.04792).
///
/// A step draws `responses_per_prompt` responses to each of `batch_prompts` prompts from the current policy
/// pi, labels every two responses to a prompt by their scores, and takes one optimiser step on the mean over
/// these pairs of the loss that offline DPO minimises, for instance
///
/// `-log sigma(beta log(pi(y_w|x) / pi_ref(y_w|x)) - beta log(pi(y_l|x) / pi_ref(y_l|x)))`.
///
/// The gradient flows through the log-probs of the responses and not through their distribution, as in the
/// paper. So with labels of the Bradley-Terry model ([`Labels::BradleyTerry`](lm::Labels) or, without its
/// noise, [`Labels::Soft`](lm::Labels), at scale 1) the policy rests where offline DPO's does, at
/// `pi* ∝ pi_ref exp(r / beta)`: wherever the pairs come from, the loss of each pair is least there. What
/// changes is which pairs are learned from: those that the policy would write.
pub struct OnlineDpoTrainer {
    learner: Learner,
    reference: ReferencePolicy,
    scorer: Arc<dyn Scorer>,
    prompts: Vec<Vec<u32>>,
    epochs: Epochs,
    config: OnlineDpoConfig,
    stream: Stream,
    step: usize,
    tokens: u64,
}

impl OnlineDpoTrainer {
    /// Starts a policy from the reference. `prompts` are the training prompts, begin token first.
    ///
    /// # Errors
    /// [`DpoError::Config`] with every impossible value, [`DpoError::NoPrompts`], or [`DpoError::Lm`] for a
    /// prompt that leaves no room for a response.
    pub fn new(
        reference: &ReferencePolicy,
        prompts: Vec<Vec<u32>>,
        scorer: Arc<dyn Scorer>,
        config: OnlineDpoConfig,
        seed: u64,
    ) -> Result<Self, DpoError> {
        config.check()?;
        if prompts.is_empty() {
            return Err(DpoError::NoPrompts);
        }
        let (shape, longest) = (reference.start().model().shape(), config.sampling.max_new_tokens);
        lm::sequences::check_prompts(&prompts, longest, shape.vocabulary, shape.context)?;
        let stream = Stream::new(seed, "online-dpo");
        Ok(Self {
            learner: Learner::new(reference, (&config.loss, config.beta), &config.optimizer, config.steps)?,
            reference: reference.clone(),
            scorer,
            epochs: Epochs::new(prompts.len(), stream.child(0)),
            prompts,
            config,
            stream,
            step: 0,
            tokens: 0,
        })
    }

    /// The same with other care of the activations: less memory or less time, and the same update.
    #[must_use]
    pub fn with_activations(mut self, activations: Activations) -> Self {
        self.learner.activations = activations;
        self
    }

    fn draw(&mut self) -> Result<ScoredResponses, DpoError> {
        let drawn = self.epochs.next(self.config.batch_prompts);
        let prompts: Vec<Vec<u32>> = drawn.into_iter().map(|index| self.prompts[index].clone()).collect();
        let stream = self.stream.child(1).child(self.step as u64);
        let OnlineDpoConfig { responses_per_prompt, sampling, .. } = &self.config;
        let scorer = self.scorer.as_ref();
        Ok(ScoredResponses::draw(
            &self.learner.policy(),
            &prompts,
            *responses_per_prompt,
            sampling,
            scorer,
            stream,
        )?)
    }

    /// The pairs of every two responses to a prompt, ties dropped, and `log pi_ref` of their two sides.
    fn label(&self, drawn: &ScoredResponses, reference: &[f64]) -> Labelled {
        let n = self.config.responses_per_prompt;
        let scores: Vec<f32> = drawn.scores.iter().map(|&score| score as f32).collect();
        let stream = self.stream.child(2).child(self.step as u64);
        let mut labelled = Labelled::default();
        for (prompt, group) in drawn.sequences.chunks(n).enumerate() {
            let first = prompt * n;
            let comparisons =
                self.config.labels.compare(group, &scores[first..first + n], stream.child(prompt as u64));
            for comparison in comparisons {
                let (chosen, rejected) = (first + comparison.chosen, first + comparison.rejected);
                labelled.pairs.push(comparison.pair(group));
                labelled.reference.0.push(reference[chosen]);
                labelled.reference.1.push(reference[rejected]);
                labelled.score_margins.push(drawn.scores[chosen] - drawn.scores[rejected]);
            }
        }
        labelled
    }

    fn iterate(&mut self) -> Result<Metrics, DpoError> {
        let drawn = self.draw()?;
        let reference = self.reference.score_sequences(&drawn.sequences)?;
        let labelled = self.label(&drawn, &reference);
        let learned = if labelled.pairs.is_empty() {
            Learned::NOTHING
        } else {
            let part = Part { pairs: labelled.pairs.iter().collect(), reference: labelled.reference.clone() };
            self.learner.step(&[part], self.step)?
        };
        self.step += 1;
        self.tokens += 3 * drawn.tokens() as u64 + learned.tokens;
        Ok(self.metrics(&drawn, &reference, &labelled, &learned))
    }

    /// TRL's names and order, then ours.
    fn metrics(
        &self,
        drawn: &ScoredResponses,
        reference: &[f64],
        labelled: &Labelled,
        learned: &Learned,
    ) -> Metrics {
        let logprobs: Vec<f64> =
            drawn.logprobs.iter().map(|row| row.iter().map(|&x| f64::from(x)).sum()).collect();
        let log_ratios: Vec<f64> = logprobs.iter().zip(reference).map(|(p, q)| p - q).collect();
        let lengths: Vec<f64> = drawn.sequences.iter().map(|s| s.response.len() as f64).collect();
        let (sequence_kl, score) = (mean(&log_ratios), mean(&drawn.scores));
        vec![
            // log pi(y | x) - log pi_ref(y | x), mean over responses, in nats
            ("objective/kl", sequence_kl),
            // -log pi(y | x), mean over responses: a sample estimate in nats
            ("objective/entropy", -mean(&logprobs)),
            ("objective/non_score_reward", -self.config.beta * sequence_kl),
            ("objective/rlhf_reward", score - self.config.beta * sequence_kl),
            // what the scorer says, and by how much chosen responses lead
            ("objective/scores", score),
            ("objective/scores_margin", mean(&labelled.score_margins)),
            ("rewards/chosen", learned.chosen_reward),
            ("rewards/rejected", learned.rejected_reward),
            ("rewards/accuracies", learned.accuracy),
            ("rewards/margins", learned.margin),
            ("logps/chosen", learned.chosen_logprob),
            ("logps/rejected", learned.rejected_logprob),
            ("val/contain_eos_token", drawn.ended_count() as f64 / drawn.len() as f64),
            ("beta", self.config.beta),
            ("loss", learned.loss),
            // pairs that were no ties
            ("pairs", labelled.pairs.len() as f64),
            ("response_length", mean(&lengths)),
            ("grad_norm", learned.grad_norm),
            ("learning_rate", learned.learning_rate),
            ("num_tokens", self.tokens as f64),
        ]
    }
}

/// Pairs of one step.
#[derive(Default)]
struct Labelled {
    pairs: Vec<PreferencePair>,
    /// `log pi_ref` of chosen and of rejected responses, in nats.
    reference: (Vec<f64>, Vec<f64>),
    /// How far the chosen response's score is ahead.
    score_margins: Vec<f64>,
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

impl Trainer for OnlineDpoTrainer {
    /// One step: responses, labels, update. Where all pairs are ties there is no update: the optimiser takes
    /// no step, and the numbers of pairs are `NaN`.
    fn step(&mut self) -> Result<Metrics, StepError> {
        Ok(self.iterate()?)
    }

    /// Each token of a response, its prompt included, counts once for every pass through a model: when it is
    /// generated, when the reference and the scorer read it, and when the policy trains on it, where
    /// responses that are the same or in no pair do not count.
    fn tokens(&self) -> u64 {
        self.tokens
    }

    fn save(&self, into: &mut State) {
        into.set_trainer("online-dpo", self.step, self.tokens);
        self.learner.save(into);
        self.epochs.save(into);
    }

    fn restore(&mut self, from: &State) -> Result<(), LmError> {
        let (step, tokens) = from.trainer("online-dpo")?;
        let (learner, epochs) = (self.learner.restored(from)?, self.epochs.restored(from)?);
        (self.learner, self.epochs, self.step, self.tokens) = (learner, epochs, step, tokens);
        Ok(())
    }
}

impl PolicyTrainer for OnlineDpoTrainer {
    fn policy(&self) -> Policy {
        self.learner.policy()
    }
}
