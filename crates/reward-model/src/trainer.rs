//! Maximum likelihood on preference pairs, with the best checkpoint on held-out pairs kept.

use std::num::NonZeroUsize;
use std::ops::Range;

use burn::module::Module;
use burn::tensor::Tensor;
use lm::sequences::{check, to_vec};
use lm::trainer::Epochs;
use lm::{
    Activations, Config, DistinctResponses, Gradients, LmError, Metrics, Optimizer, Policy, PreferencePair,
    ScalarModel, Scorer, Segments, State, StepError, Stream, Trainer, WholeBatch, by_prompt,
};

use crate::model::{RewardModel, Validation};
use crate::{RewardModelConfig, RewardModelError, reward_loss};

/// Trains a reward model step by step. Pairs with the same prompt that follow each other are drawn together.
pub struct RewardModelTrainer {
    model: ScalarModel,
    train: Vec<PreferencePair>,
    /// Of each prompt, its pairs.
    prompts: Vec<Range<usize>>,
    held_out: HeldOut,
    config: RewardModelConfig,
    /// Batches of a step.
    accumulated: NonZeroUsize,
    activations: Activations,
    optimizer: Optimizer,
    epochs: Epochs,
    best: RewardModel,
    latest: Validation,
    step: usize,
    tokens: u64,
}

impl RewardModelTrainer {
    /// Starts from the body of a policy, usually `pi_SFT`, and a random head drawn from the seed.
    ///
    /// # Errors
    /// [`RewardModelError::Config`] with every impossible value, [`RewardModelError::NoPairs`], or
    /// [`RewardModelError::Pair`] for a pair that does not fit the model.
    pub fn new(
        policy: &Policy,
        train: Vec<PreferencePair>,
        validation: &[PreferencePair],
        config: RewardModelConfig,
        seed: u64,
    ) -> Result<Self, RewardModelError> {
        let body = policy.valid().model().clone();
        let model = ScalarModel::with_random_head(body, Stream::new(seed, "reward-model-head"));
        Self::from_model(&model, train, validation, config, seed)
    }

    /// Starts from a model that has a head. Validates it as it is: the untrained model is the first
    /// checkpoint.
    ///
    /// # Errors
    /// As [`RewardModelTrainer::new`].
    pub fn from_model(
        model: &ScalarModel,
        train: Vec<PreferencePair>,
        validation: &[PreferencePair],
        config: RewardModelConfig,
        seed: u64,
    ) -> Result<Self, RewardModelError> {
        config.check()?;
        check_pairs(model, &train, "training")?;
        check_pairs(model, validation, "validation")?;
        let held_out = HeldOut::of(validation);
        let model = model.valid();
        let validation = evaluate(&model, &held_out, 0)?;
        let prompts = by_prompt(&train);
        Ok(Self {
            tokens: held_out.responses.tokens(),
            held_out,
            best: RewardModel { model: model.clone(), validation },
            latest: validation,
            model: model.train(),
            optimizer: Optimizer::new(&config.optimizer, config.steps)?,
            epochs: Epochs::new(prompts.len(), Stream::new(seed, "reward-model")),
            train,
            prompts,
            config,
            accumulated: NonZeroUsize::MIN,
            activations: Activations::Kept,
            step: 0,
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
    pub fn with_activations(self, activations: Activations) -> Self {
        Self { activations, ..self }
    }

    /// The latest validation of this trainer; a restored one begins with that of its best checkpoint.
    pub fn latest(&self) -> Validation {
        self.latest
    }

    /// The checkpoint with the lowest validation loss so far, the earlier one of equals.
    pub fn finish(self) -> RewardModel {
        self.best
    }

    /// Scores the held-out pairs and keeps the model if it is the best so far.
    fn validate(&mut self) -> Result<Validation, RewardModelError> {
        // Without gradients: `best` must not hold on to a graph.
        let model = self.model.valid();
        let validation = evaluate(&model, &self.held_out, self.step)?;
        self.tokens += self.held_out.responses.tokens();
        self.latest = validation;
        if validation.loss < self.best.validation.loss {
            self.best = RewardModel { model, validation };
        }
        Ok(validation)
    }

    /// The mean loss of some pairs, from one forward pass over their distinct responses, and what was seen of
    /// them.
    fn loss(&self, pairs: &[&PreferencePair]) -> (Tensor<1>, Segments, Seen) {
        let device = self.model.device();
        let responses = DistinctResponses::of(pairs.iter().copied());
        let batch = WholeBatch::new(&responses.sequences.iter().collect::<Vec<_>>(), &device);
        let (scores, segments) = self.model.training_scores(&batch, self.activations);
        let [chosen, rejected] = responses.paired(&scores);
        let scores = Tensor::cat(vec![chosen.clone(), rejected.clone()], 0);
        let probabilities: Vec<f32> = pairs.iter().map(|pair| pair.probability).collect();
        let out = reward_loss(chosen, rejected, Tensor::from_floats(probabilities.as_slice(), &device));
        let seen = Seen { margins: to_vec(out.margin), scores: to_vec(scores), tokens: batch.tokens() };
        (out.loss.mean(), segments, seen)
    }
}

/// What a step sees of its pairs before its update.
#[derive(Default)]
struct Seen {
    /// Of each pair.
    margins: Vec<f32>,
    /// Of the two responses of each pair.
    scores: Vec<f32>,
    tokens: usize,
}

impl Seen {
    fn extend(&mut self, other: Self) {
        self.margins.extend(other.margins);
        self.scores.extend(other.scores);
        self.tokens += other.tokens;
    }
}

impl Trainer for RewardModelTrainer {
    /// One optimiser step; every `evaluate_every` steps and after the last one also a validation, whose
    /// numbers are NaN at the other steps. Metrics have TRL's names.
    fn step(&mut self) -> Result<Metrics, StepError> {
        let batch = self.config.batch_prompts;
        let drawn = self.epochs.next(batch.saturating_mul(self.accumulated.get()));
        let pairs_of = |prompts: &[usize]| -> Vec<&PreferencePair> {
            prompts.iter().flat_map(|&prompt| &self.train[self.prompts[prompt].clone()]).collect()
        };
        let parts: Vec<Vec<&PreferencePair>> = drawn.chunks(batch).map(pairs_of).collect();
        let count: usize = parts.iter().map(Vec::len).sum();
        let (mut gradients, mut value, mut seen) = (Gradients::default(), 0.0, Seen::default());
        for part in &parts {
            let (mean, segments, of_part) = self.loss(part);
            // One batch has all pairs: its mean is the loss to the bit.
            let share = part.len() as f64 / count as f64;
            let loss = if parts.len() == 1 { mean } else { mean * share };
            value += f64::from(to_vec(loss.clone())[0]);
            if !value.is_finite() {
                return Err(LmError::NotFinite { what: "the loss", value, step: self.step }.into());
            }
            gradients.add(&self.model, &loss, segments);
            seen.extend(of_part);
        }
        let Seen { margins, scores, tokens } = seen;
        let update = self.optimizer.step_with(&mut self.model, gradients)?;
        self.step += 1;
        self.tokens += tokens as u64;
        let due = self.step.is_multiple_of(self.config.evaluate_every) || self.step == self.config.steps;
        let validation = if due { Some(self.validate()?) } else { None };
        Ok(vec![
            ("loss", value),
            ("accuracy", share_positive(&margins)),
            ("margin", mean(&margins)),
            ("mean_reward", mean(&scores)),
            ("min_reward", f64::from(scores.iter().copied().fold(f32::INFINITY, f32::min))),
            ("max_reward", f64::from(scores.iter().copied().fold(f32::NEG_INFINITY, f32::max))),
            ("grad_norm", update.grad_norm),
            ("learning_rate", update.learning_rate),
            ("eval_loss", validation.map_or(f64::NAN, |validation| validation.loss)),
            ("eval_accuracy", validation.map_or(f64::NAN, |validation| validation.accuracy)),
            ("num_tokens", self.tokens as f64),
        ])
    }

    /// Each token of a step's distinct responses with their prompts counts once; so do, for each validation
    /// and the one before the first step, those of the distinct held-out responses.
    fn tokens(&self) -> u64 {
        self.tokens
    }

    fn save(&self, into: &mut State) {
        into.set_trainer("reward-model", self.step, self.tokens);
        into.set_module("reward_model", &self.model);
        self.optimizer.save("optimizer", &self.model, into);
        self.epochs.save(into);
        let Validation { step, loss, accuracy, margin } = self.best.validation;
        into.set_module("best", &self.best.model);
        into.set("best/step", step);
        into.set("best/loss", loss);
        into.set("best/accuracy", accuracy);
        into.set("best/margin", margin);
    }

    fn restore(&mut self, from: &State) -> Result<(), LmError> {
        let (step, tokens) = from.trainer("reward-model")?;
        let model = from.module("reward_model", self.model.valid())?.train();
        let optimizer = self.optimizer.restored("optimizer", &model, from)?;
        let epochs = self.epochs.restored(from)?;
        let validation = Validation {
            step: from.count("best/step")?,
            loss: from.get("best/loss")?,
            accuracy: from.get("best/accuracy")?,
            margin: from.get("best/margin")?,
        };
        let best = RewardModel { model: from.module("best", self.best.model.clone())?, validation };
        (self.model, self.optimizer, self.epochs) = (model, optimizer, epochs);
        self.latest = best.validation;
        (self.best, self.step, self.tokens) = (best, step, tokens);
        Ok(())
    }
}

/// What the model is validated on.
struct HeldOut {
    responses: DistinctResponses,
    /// Of each pair, that its chosen response is the better one.
    probabilities: Vec<f32>,
}

impl HeldOut {
    fn of(pairs: &[PreferencePair]) -> Self {
        let probabilities = pairs.iter().map(|pair| pair.probability).collect();
        Self { responses: DistinctResponses::of(pairs), probabilities }
    }
}

/// Scores held-out pairs, each distinct response once.
fn evaluate(model: &ScalarModel, held_out: &HeldOut, step: usize) -> Result<Validation, LmError> {
    let (chosen, rejected) = held_out.responses.spread(&model.score(&held_out.responses.sequences)?);
    let device = model.device();
    let tensor = |values: &[f32]| Tensor::from_floats(values, &device);
    let out = reward_loss(tensor(&chosen), tensor(&rejected), tensor(&held_out.probabilities));
    let margins = to_vec(out.margin);
    let loss = mean(&to_vec(out.loss));
    if !loss.is_finite() {
        return Err(LmError::NotFinite { what: "the validation loss", value: loss, step });
    }
    Ok(Validation { step, loss, accuracy: share_positive(&margins), margin: mean(&margins) })
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64
}

fn share_positive(values: &[f32]) -> f64 {
    values.iter().filter(|&&value| value > 0.0).count() as f64 / values.len() as f64
}

/// Checks that every pair fits the model, and names the pair that does not. A response may be empty: the
/// prompt's last token then says the score.
fn check_pairs(
    model: &ScalarModel,
    pairs: &[PreferencePair],
    which: &'static str,
) -> Result<(), RewardModelError> {
    if pairs.is_empty() {
        return Err(RewardModelError::NoPairs { which });
    }
    let shape = model.body().shape();
    for (index, pair) in pairs.iter().enumerate() {
        if !pair.has_possible_probability() {
            return Err(RewardModelError::Probability { which, pair: index, found: pair.probability });
        }
        for (side, sequence) in [("chosen", pair.chosen_sequence()), ("rejected", pair.rejected_sequence())] {
            check(std::slice::from_ref(&sequence), shape.vocabulary, shape.context).map_err(|source| {
                RewardModelError::Pair { which, pair: index, side, source: Box::new(source) }
            })?;
        }
    }
    Ok(())
}
