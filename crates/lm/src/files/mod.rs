//! Models as Hugging Face folders: `config.json`, `model.safetensors` or its shards, `tokenizer.json`.

mod config;
mod encoder;
mod gguf;
mod gpt2;
mod keys;
mod layout;
mod llama;
mod parameters;
mod special;
mod weights;
mod write;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde_json::{Value, json};

use self::config::{Head, config_json};
pub use self::config::{parse_config, read_config};
pub use self::encoder::{load_classifier, load_encoder, read_encoder_config, save_classifier};
pub use self::gguf::{Imported, import_gguf};
use self::layout::{CONFIG_FILE, GENERATION_FILE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE};
use self::parameters::{read_decoder, values_of};
pub use self::special::load_tokenizer;
use self::weights::{WEIGHTS_FILE, Weights};
pub use self::write::Precision;
pub(crate) use self::write::write;
use crate::LmError;
use crate::architecture::DecoderConfig;
use crate::parameters::Values;
use crate::policy::Policy;
use crate::problem::Problem;
use crate::scorer::ScalarModel;
use crate::sequences::to_vec;
use crate::tokenizer::Tokenizer;

/// The name of a scalar head's weights, in every family.
const SCORE: &str = "score.weight";

/// Writes a policy as a causal language model with its tokenizer; `transformers.AutoModelForCausalLM` reads the folder.
///
/// # Errors
/// If the folder cannot be written, or the tokenizer has more tokens than the model.
pub fn save_policy(
    dir: &Path,
    policy: &Policy,
    tokenizer: &Tokenizer,
    precision: Precision,
) -> Result<(), LmError> {
    let config = policy.model().config();
    let tensors = values_of(policy.model());
    save(dir, &tensors, (&config, Head::LanguageModel), tokenizer, precision)
}

/// Writes a scalar model with its tokenizer; `transformers.AutoModelForSequenceClassification` reads the folder, with one
/// label.
///
/// # Errors
/// As [`save_policy`].
pub fn save_scalar_model(
    dir: &Path,
    model: &ScalarModel,
    tokenizer: &Tokenizer,
    precision: Precision,
) -> Result<(), LmError> {
    let config = model.body().config();
    let mut tensors = values_of(model.body());
    let head = Values { shape: model.head().dims().to_vec(), values: to_vec(model.head()) };
    tensors.insert(SCORE.to_owned(), head);
    save(dir, &tensors, (&config, Head::Score), tokenizer, precision)
}

/// Reads the folder of a causal language model, ours or Hugging Face's own, and its tokenizer, whose special tokens
/// [`load_tokenizer`] finds.
///
/// A model may have rows in its embedding for ids beyond the tokenizer's, to make a round number. They are left out:
/// no token of that kind is ever drawn, and the probabilities of the others add up to 1 without them.
///
/// # Errors
/// If a file is missing or damaged, or a tensor is missing or misshapen.
pub fn load_policy(dir: &Path, temperature: f64, device: &Device) -> Result<(Policy, Tokenizer), LmError> {
    let tokenizer = load_tokenizer(dir)?;
    let config = read_config(&dir.join(CONFIG_FILE))?;
    let vocabulary = config.shape().vocabulary;
    if tokenizer.vocab_size() > vocabulary {
        return Err(LmError::file(
            &dir.join(TOKENIZER_FILE),
            format!("{} tokens", tokenizer.vocab_size()),
            format!("at most the model's vocab_size of {vocabulary}"),
        ));
    }
    let mut model = read_decoder(&Weights::open(dir)?, &config, Head::LanguageModel, device)?;
    if tokenizer.vocab_size() < vocabulary {
        model = model.with_vocabulary(tokenizer.vocab_size());
    }
    Ok((Policy::new(model, temperature, tokenizer.end())?, tokenizer))
}

/// Reads the folder of a sequence classifier with one label.
///
/// # Errors
/// As [`load_policy`].
pub fn load_scalar_model(dir: &Path, device: &Device) -> Result<ScalarModel, LmError> {
    let config = read_config(&dir.join(CONFIG_FILE))?;
    let weights = Weights::open(dir)?;
    let head = weights.find(&[SCORE], &[1, config.shape().width])?;
    let body = read_decoder(&weights, &config, Head::Score, device)?;
    Ok(ScalarModel::new(body, head.read()?))
}

/// The files that a folder's model is made of: configuration, tokenizer, weights, in this order.
///
/// # Errors
/// If the weights cannot be opened.
pub fn files_of(dir: &Path) -> Result<Vec<PathBuf>, LmError> {
    let mut files = vec![dir.join(CONFIG_FILE), dir.join(TOKENIZER_FILE)];
    files.extend(Weights::open(dir)?.paths());
    Ok(files)
}

fn save(
    dir: &Path,
    tensors: &BTreeMap<String, Values>,
    (config, head): (&DecoderConfig, Head),
    tokenizer: &Tokenizer,
    precision: Precision,
) -> Result<(), LmError> {
    let shape = config.shape();
    if tokenizer.vocab_size() > shape.vocabulary {
        let found = format!("{} for a tokenizer of {}", shape.vocabulary, tokenizer.vocab_size());
        return Err(Problem::new("vocab_size", found, "an embedding for every token").into());
    }
    std::fs::create_dir_all(dir).map_err(|error| LmError::io(dir, error))?;
    write(&dir.join(WEIGHTS_FILE), tensors, ("format", "pt"), precision)?;
    write_json(&dir.join(CONFIG_FILE), &config_json(config, head, tokenizer, precision))?;
    tokenizer.save(&dir.join(TOKENIZER_FILE))?;
    let [begin, end, pad] =
        [tokenizer.begin(), tokenizer.end(), tokenizer.pad()].map(|id| tokenizer.token(id));
    let mut about = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": begin,
        "eos_token": end,
        "pad_token": pad,
        "model_max_length": shape.context,
        // By default there would be token types too, which GPT-2 adds to its embeddings and Llama refuses.
        "model_input_names": ["input_ids", "attention_mask"],
    });
    if let Some(template) = tokenizer.chat_template() {
        about["chat_template"] = template.into();
    }
    write_json(&dir.join(TOKENIZER_CONFIG_FILE), &about)?;
    let generation = json!({
        "bos_token_id": tokenizer.begin(),
        "eos_token_id": tokenizer.end(),
        "pad_token_id": tokenizer.pad(),
    });
    write_json(&dir.join(GENERATION_FILE), &generation)
}

fn write_json(path: &Path, value: &Value) -> Result<(), LmError> {
    std::fs::write(path, format!("{value:#}\n")).map_err(|error| LmError::io(path, error))
}
