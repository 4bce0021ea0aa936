//! The classifier itself.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use rayon::prelude::*;

use super::score::{ProblemType, ScoreUnit};
use super::tokenizer::{TextTokenizer, Truncation};
use crate::LmError;
use crate::architecture::{EncoderClassifier, EncoderConfig};
use crate::batch::{Packing, Tokens};
use crate::device::{on_host, score_rows};
use crate::problem::Problem;
use crate::random::Stream;
use crate::sequences::{integers, to_vec};

/// The labels of a classifier and how they relate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelling {
    /// Their names, in the order of the logits; at least one.
    pub labels: Vec<String>,
    /// How they relate.
    pub problem_type: ProblemType,
}

/// How much of a text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Longest text in tokens, special tokens included.
    pub tokens: usize,
    /// Which tokens of a longer one.
    pub truncation: Truncation,
}

/// An encoder with a classification head, its tokenizer and its labels.
///
/// A text of more tokens than the window is cut. The window of a folder is as long as the model's
/// positions and the tokenizer's `model_max_length` allow, from the head of the text, as `transformers`
/// cuts with `truncation=True`.
#[derive(Clone, Debug)]
pub struct Classifier {
    model: EncoderClassifier,
    tokenizer: TextTokenizer,
    labelling: Labelling,
    window: Window,
}

impl Classifier {
    /// A classifier of its parts, which must fit each other.
    pub(crate) fn new(
        model: EncoderClassifier,
        tokenizer: TextTokenizer,
        labelling: Labelling,
        window: Window,
    ) -> Self {
        Self { model, tokenizer, labelling, window }
    }

    /// A classifier of random weights, which reads all of a text that its positions allow. The
    /// configuration's vocabulary is taken from the tokenizer.
    ///
    /// # Errors
    /// [`LmError::Config`] with every impossible number of the configuration.
    pub fn random(
        config: &EncoderConfig,
        tokenizer: TextTokenizer,
        labels: &[&str],
        stream: Stream,
        device: &Device,
    ) -> Result<Self, LmError> {
        let config = EncoderConfig { vocab_size: tokenizer.ids(), ..config.clone() };
        let model = EncoderClassifier::random(&config, labels.len(), stream, device)?;
        let labels = labels.iter().map(|&label| label.to_owned()).collect();
        let labelling = Labelling { labels, problem_type: ProblemType::SingleLabel };
        let window = Window { tokens: config.context(), truncation: Truncation::Head };
        Ok(Self::new(model, tokenizer, labelling, window))
    }

    /// The weights.
    pub fn model(&self) -> &EncoderClassifier {
        &self.model
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// Its labels.
    pub fn labelling(&self) -> &Labelling {
        &self.labelling
    }

    /// How much of a text it reads.
    pub fn window(&self) -> Window {
        self.window
    }

    /// The device of the weights, with gradients if they train.
    pub fn device(&self) -> Device {
        self.model.device()
    }

    /// The same classifier with other weights.
    pub(super) fn with_model(&self, model: EncoderClassifier) -> Self {
        Self { model, ..self.clone() }
    }

    /// The same classifier, reading less of a long text.
    ///
    /// # Errors
    /// [`LmError::Config`] for a window that is longer than the model's context, or has no room for text
    /// beside the special tokens.
    pub fn with_window(&self, window: Window) -> Result<Self, LmError> {
        let special = self.tokenizer.encode("", usize::MAX, window.truncation)?.len();
        let possible = special + 1..=self.model.config().context();
        if !possible.contains(&window.tokens) {
            let expected = format!("{} to {}", possible.start(), possible.end());
            return Err(Problem::new("window", window.tokens, expected).into());
        }
        Ok(Self { window, ..self.clone() })
    }

    /// The index of a label: by its name (in any case, if no name is the same in every letter), by `LABEL_i`,
    /// or by its number, counted from 0.
    ///
    /// # Errors
    /// [`LmError::Config`] if there is no such label, or two are meant.
    pub fn label(&self, label: &str) -> Result<usize, LmError> {
        let labels = &self.labelling.labels;
        if let Some(index) = labels.iter().position(|name| name == label) {
            return Ok(index);
        }
        let mut alike = (0..labels.len()).filter(|&i| labels[i].eq_ignore_ascii_case(label));
        if let (Some(index), None) = (alike.next(), alike.next()) {
            return Ok(index);
        }
        let number = label.strip_prefix("LABEL_").unwrap_or(label);
        match number.parse() {
            Ok(index) if index < labels.len() => Ok(index),
            _ => {
                let expected = format!("one of {}, or its number, counted from 0", labels.join(", "));
                Err(Problem::new("label", label, expected).into())
            }
        }
    }

    /// Token ids of texts, special tokens included, cut to the window; on all cores.
    ///
    /// # Errors
    /// [`LmError::Tokenizer`] if a text cannot be read.
    pub fn encode(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>, LmError> {
        let Window { tokens, truncation } = self.window;
        texts.par_iter().map(|text| self.tokenizer.encode(text, tokens, truncation)).collect()
    }

    /// The logits of all labels for every text, without gradients, in the order of `texts`.
    ///
    /// Texts are computed without padding, those of about one length together, on the CPU on all cores.
    ///
    /// # Errors
    /// [`LmError::Tokenizer`] if a text cannot be read.
    pub fn logits(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, LmError> {
        Ok(self.logits_of(&self.encode(texts)?))
    }

    /// As [`Classifier::logits`], of token ids that [`Classifier::encode`] gave.
    pub fn logits_of(&self, texts: &[Vec<u32>]) -> Vec<Vec<f32>> {
        let model = self.model.valid();
        let device = model.device();
        let labels = self.labelling.labels.len();
        let logits = |group: &Vec<usize>| -> Vec<(usize, Vec<f32>)> {
            let batch = TextBatch::new(group.iter().map(|&i| texts[i].as_slice()), &device);
            let flat = to_vec(batch.logits(&model));
            group.iter().copied().zip(flat.chunks_exact(labels).map(<[f32]>::to_vec)).collect()
        };
        let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        let groups = groups(&lengths, score_rows(&device));
        let computed: Vec<Vec<(usize, Vec<f32>)>> = if on_host(&device) {
            groups.par_iter().map(logits).collect()
        } else {
            groups.iter().map(logits).collect()
        };
        let mut ordered = vec![Vec::new(); texts.len()];
        for (index, logits) in computed.into_iter().flatten() {
            ordered[index] = logits;
        }
        ordered
    }

    /// Refuses a unit that this classifier's labels do not have.
    ///
    /// # Errors
    /// [`LmError::Config`] for a probability of a regression.
    pub fn check_unit(&self, unit: ScoreUnit) -> Result<(), LmError> {
        unit.problem(self.labelling.problem_type).map_or(Ok(()), |problem| Err(problem.into()))
    }

    /// The score of one label for every text, in the order of `texts`.
    ///
    /// # Errors
    /// As [`Classifier::logits`] and [`Classifier::check_unit`].
    ///
    /// # Panics
    /// If there is no such label: [`Classifier::label`] says which there are.
    pub fn scores(&self, texts: &[&str], label: usize, unit: ScoreUnit) -> Result<Vec<f32>, LmError> {
        self.check_unit(unit)?;
        let logits = self.logits(texts)?;
        Ok(logits.iter().map(|logits| unit.score(logits, label, self.labelling.problem_type)).collect())
    }
}

/// Texts as the encoder is fed: their tokens one after another, without padding.
pub(super) struct TextBatch {
    tokens: Tokens,
    /// The row of each text's first token.
    first: Tensor<1, Int>,
}

impl TextBatch {
    pub(super) fn new<'a>(texts: impl Iterator<Item = &'a [u32]>, device: &Device) -> Self {
        let (mut ids, mut first, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
        for text in texts {
            first.push(ids.len() as i32);
            lengths.push((text.len(), Vec::new()));
            ids.extend_from_slice(text);
        }
        Self { tokens: Tokens::new(&ids, Packing::new(lengths), device), first: integers(first, device) }
    }

    /// Tokens fed.
    pub(super) fn rows(&self) -> usize {
        self.tokens.rows()
    }

    /// Logits `[B, labels]`.
    pub(super) fn logits(&self, model: &EncoderClassifier) -> Tensor<2> {
        model.logits(&self.tokens, &self.first)
    }
}

/// Groups of texts of about one length, shortest first, that are computed together: as many as come to
/// the tokens of `rows` short sequences, with the shorter ones padded to the longest, as devices
/// without packing compute them.
fn groups(lengths: &[usize], rows: usize) -> Vec<Vec<usize>> {
    /// Tokens of a short sequence.
    const SHORT: usize = 64;
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&i| (lengths[i], i));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for index in order {
        match groups.last_mut() {
            Some(group) if (group.len() + 1) * lengths[index] <= rows * SHORT => group.push(index),
            _ => groups.push(vec![index]),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hold_every_text_once_and_no_more_tokens_than_they_may() {
        let lengths: Vec<usize> = (0..50).map(|i| 1 + i * 7 % 40).chain([900, 3]).collect();
        let groups = groups(&lengths, 2);
        let mut seen: Vec<usize> = groups.concat();
        let of_groups = seen.clone();
        seen.sort_unstable();
        assert_eq!(seen, (0..52).collect::<Vec<_>>());
        assert!(of_groups.windows(2).all(|pair| lengths[pair[0]] <= lengths[pair[1]]));
        for group in &groups {
            let longest = group.iter().map(|&i| lengths[i]).max().unwrap();
            assert!(group.len() == 1 || group.len() * longest <= 128, "{group:?}");
        }
        assert_eq!(groups.last().unwrap(), &[50]);
    }
}
