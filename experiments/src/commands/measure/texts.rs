//! Encoders from a folder, on texts that are longer than what is read of them.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use burn::tensor::Device;
use lm::classifier::{Classifier, ClassifierTrainer, Truncation, Window};
use lm::files::load_encoder;
use lm::sft::SftConfig;
use lm::{LabelledText, Stream, Trainer};
use measure::Case;

use super::settings;

/// The encoder that the key `model` names, with a new head if it has none, reading `tokens` of a text.
fn encoder(case: &Case, device: &Device) -> Result<Classifier> {
    let (model, tokens): (PathBuf, usize) = (case.get("model")?, case.count("tokens")?);
    let encoder = load_encoder(&model, &["NEGATIVE", "POSITIVE"], Stream::new(0, "measure"), device)?;
    Ok(encoder.with_window(Window { tokens, truncation: Truncation::Head })?)
}

/// A text of at least so many tokens.
fn text(tokens: usize) -> String {
    "the film ".repeat(tokens)
}

/// Logits without gradients, read back; the tokenizer's time counts.
pub fn classify(case: &Case, device: &Device) -> Result<()> {
    let (texts, tokens) = (case.count("texts")?, case.count("tokens")?);
    let encoder = encoder(case, device)?;
    let text = text(tokens);
    case.measure(texts * tokens, || {
        encoder.logits(&vec![text.as_str(); texts])?;
        Ok(())
    })
}

/// Fine-tuning: forward, backward, clipping, AdamW.
pub fn train(case: &Case, device: &Device) -> Result<()> {
    let (texts, tokens) = (case.count("texts")?, case.count("tokens")?);
    let encoder = encoder(case, device)?;
    let examples = vec![LabelledText { text: text(tokens), label: 1 }; texts];
    let optimizer = settings::sft(texts).optimizer;
    let config = SftConfig { steps: 1000, batch_size: texts, optimizer };
    let mut trainer = ClassifierTrainer::new(&encoder, &examples, &config, 0)?;
    case.measure(texts * tokens, || {
        trainer.step().map_err(|error| anyhow!(error))?;
        device.sync().map_err(|error| anyhow!("the device failed: {error}"))
    })
}
