//! Fine-tuning on labelled texts.

use burn::module::Module;
use burn::tensor::{Tensor, activation};

use super::model::{Classifier, TextBatch};
use super::score::ProblemType;
use crate::LmError;
use crate::architecture::EncoderClassifier;
use crate::optimizer::Optimizer;
use crate::problem::{Config, Problem};
use crate::random::Stream;
use crate::sequences::{integers, to_vec};
use crate::sft::SftConfig;
use crate::state::State;
use crate::trainer::{Epochs, Metrics, StepError, Trainer};

/// A text and the label that holds for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelledText {
    /// The text.
    pub text: String,
    /// The index of its label.
    pub label: usize,
}

/// Trains all parameters of a classifier by maximum likelihood.
///
/// `loss = - mean over texts of log softmax(logits)[label]`, in nats. There is no dropout.
pub struct ClassifierTrainer {
    classifier: Classifier,
    model: EncoderClassifier,
    texts: Vec<Vec<u32>>,
    labels: Vec<usize>,
    optimizer: Optimizer,
    epochs: Epochs,
    batch_size: usize,
    step: usize,
    tokens: u64,
}

impl ClassifierTrainer {
    /// Starts from `classifier`, which is left as it is; texts are cut to its window.
    ///
    /// # Errors
    /// [`LmError::Config`] with every impossible value, for a classifier of one label or of labels
    /// that do not exclude each other, or where there is no text; [`LmError::Sequence`] for a label
    /// that the classifier lacks.
    pub fn new(
        classifier: &Classifier,
        examples: &[LabelledText],
        config: &SftConfig,
        seed: u64,
    ) -> Result<Self, LmError> {
        config.check()?;
        let labelling = classifier.labelling();
        let count = labelling.labels.len();
        if labelling.problem_type != ProblemType::SingleLabel {
            let found = labelling.problem_type.name();
            return Err(Problem::new("problem_type", found, ProblemType::SingleLabel.name()).into());
        }
        if count < 2 {
            return Err(Problem::new("num_labels", count, "at least 2").into());
        }
        if examples.is_empty() {
            return Err(Problem::new("texts", "none", "at least one").into());
        }
        if let Some(index) = examples.iter().position(|example| example.label >= count) {
            let found = format!("label {}", examples[index].label);
            return Err(LmError::Sequence { index, found, expected: format!("a label below {count}") });
        }
        let texts: Vec<&str> = examples.iter().map(|example| example.text.as_str()).collect();
        Ok(Self {
            texts: classifier.encode(&texts)?,
            labels: examples.iter().map(|example| example.label).collect(),
            model: classifier.model().clone().train(),
            classifier: classifier.clone(),
            optimizer: Optimizer::new(&config.optimizer, config.steps)?,
            epochs: Epochs::new(examples.len(), Stream::new(seed, "classifier")),
            batch_size: config.batch_size,
            step: 0,
            tokens: 0,
        })
    }

    /// The classifier as it is now, without gradients.
    pub fn classifier(&self) -> Classifier {
        self.classifier.with_model(self.model.valid())
    }
}

impl Trainer for ClassifierTrainer {
    fn step(&mut self) -> Result<Metrics, StepError> {
        let drawn = self.epochs.next(self.batch_size);
        let device = self.model.device();
        let batch = TextBatch::new(drawn.iter().map(|&i| self.texts[i].as_slice()), &device);
        let logits = batch.logits(&self.model);
        let labels: Vec<usize> = drawn.iter().map(|&i| self.labels[i]).collect();
        let targets = integers(labels.iter().map(|&label| label as i32), &device).unsqueeze_dim(1);
        let logprobs: Tensor<2> = activation::log_softmax(logits.clone(), 1).gather(1, targets);
        let loss = logprobs.mean().neg();
        let value = f64::from(to_vec(loss.clone())[0]);
        if !value.is_finite() {
            return Err(LmError::NotFinite { what: "the loss", value, step: self.step }.into());
        }
        let update = self.optimizer.step(&mut self.model, &loss)?;
        self.step += 1;
        self.tokens += batch.rows() as u64;
        let [_, count] = logits.dims();
        let logits = to_vec(logits.inner());
        let right = logits.chunks_exact(count).zip(&labels).filter(|(row, label)| best(row) == **label);
        Ok(vec![
            ("loss", value),
            ("accuracy", right.count() as f64 / labels.len() as f64),
            ("learning_rate", update.learning_rate),
            ("grad_norm", update.grad_norm),
            ("num_tokens", self.tokens as f64),
        ])
    }

    /// Each token that was read in a step counts once, special tokens included.
    fn tokens(&self) -> u64 {
        self.tokens
    }

    fn save(&self, into: &mut State) {
        into.set_trainer("classifier", self.step, self.tokens);
        into.set_module("classifier", &self.model);
        self.optimizer.save("optimizer", &self.model, into);
        self.epochs.save(into);
    }

    fn restore(&mut self, from: &State) -> Result<(), LmError> {
        let (step, tokens) = from.trainer("classifier")?;
        let model = from.module("classifier", self.model.valid())?.train();
        let optimizer = self.optimizer.restored("optimizer", &model, from)?;
        let epochs = self.epochs.restored(from)?;
        (self.model, self.optimizer, self.epochs) = (model, optimizer, epochs);
        (self.step, self.tokens) = (step, tokens);
        Ok(())
    }
}

/// The index of the largest logit, the first of equals.
fn best(logits: &[f32]) -> usize {
    (1..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best })
}
