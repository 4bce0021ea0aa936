//! Writes the logits of a model's folder as raw f32, for comparisons with other programs
//! (`scripts/reference/real_shape.py`):
//!
//! ```sh
//! cargo run -p lm --example logits -- FOLDER INPUT.json OUT
//! ```
//!
//! The input of a language model is `[{"prompt": [ids], "response": [ids]}, ...]`, with another prompt for
//! each, and the output the logits that predict the response tokens, all sequences in one batch. That of a
//! classifier is a list of texts.

use std::error::Error;
use std::path::Path;

use burn::tensor::Device;
use lm::sequences::to_vec;
use lm::{Batch, DeviceSpec, Sequence, files};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, input, out] = arguments.as_slice() else { return Err("FOLDER INPUT.json OUT".into()) };
    let folder = Path::new(folder);
    let input = std::fs::read(input)?;
    let device = DeviceSpec::CPU.open()?;
    let logits = match serde_json::from_slice::<Vec<String>>(&input) {
        Ok(texts) => of_texts(folder, &texts, &device)?,
        Err(_) => of_sequences(folder, &serde_json::from_slice::<Vec<Sequence>>(&input)?, &device)?,
    };
    std::fs::write(out, logits.iter().flat_map(|logit| logit.to_le_bytes()).collect::<Vec<u8>>())?;
    Ok(())
}

fn of_texts(folder: &Path, texts: &[String], device: &Device) -> Result<Vec<f32>, Box<dyn Error>> {
    let classifier = files::load_classifier(folder, device)?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    Ok(classifier.logits(&texts)?.concat())
}

fn of_sequences(folder: &Path, sequences: &[Sequence], device: &Device) -> Result<Vec<f32>, Box<dyn Error>> {
    let (policy, _) = files::load_policy(folder, 1.0, device)?;
    let batch = Batch::new(&sequences.iter().collect::<Vec<_>>(), device);
    let model = policy.model();
    let hidden = model.hidden(batch.fed(), None);
    let mut start = 0;
    let mut logits = Vec::new();
    for Sequence { prompt, response } in sequences {
        // The last token of a prompt predicts the first of its response; the last token of all is not fed.
        let first = start + prompt.len() - 1;
        start = first + response.len();
        logits.extend(to_vec(model.logits(hidden.clone().slice(first..start))));
    }
    Ok(logits)
}
