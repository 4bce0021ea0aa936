//! Models as Hugging Face folders: `config.json`, `model.safetensors` or its shards, `tokenizer.json`; and
//! adapters as folders of PEFT: `adapter_config.json`, `adapter_model.safetensors`.

mod adapter;
mod adapter_config;
mod config;
mod encoder;
mod folder;
mod gguf;
mod gpt2;
mod gptj;
mod keys;
mod layout;
mod llama;
mod parameters;
mod special;
mod weights;
mod write;

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use self::config::{Head, config_json};
pub use self::config::{parse_config, read_config};
pub use self::encoder::{load_classifier, load_encoder, read_encoder_config, save_classifier};
pub use self::folder::{ModelFolder, files_of, load_adapter, load_policy, load_scalar_model};
pub use self::gguf::{Imported, import_gguf};
use self::layout::{CONFIG_FILE, GENERATION_FILE, SCORE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE};
use self::parameters::values_of;
pub use self::special::load_tokenizer;
use self::weights::WEIGHTS_FILE;
pub use self::write::Precision;
pub(crate) use self::write::write;
use self::write::write_json;
use crate::LmError;
use crate::architecture::{Decoder, DecoderConfig, Shape};
use crate::parameters::Values;
use crate::policy::Policy;
use crate::problem::Problem;
use crate::scorer::ScalarModel;
use crate::sequences::to_vec;
use crate::tokenizer::Tokenizer;

/// Writes a policy as a causal language model with its tokenizer; `transformers.AutoModelForCausalLM` reads
/// the folder. Adapters are merged into the weights.
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
    let tensors = values_of(&policy.model().clone().merged());
    save(dir, &tensors, (&config, Head::LanguageModel), tokenizer, precision)
}

/// Writes a scalar model with its tokenizer; `transformers.AutoModelForSequenceClassification` reads the
/// folder, with one label. Adapters are merged into the weights.
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
    let mut tensors = values_of(&model.body().clone().merged());
    tensors.insert(SCORE.to_owned(), head_of(model));
    save(dir, &tensors, (&config, Head::Score), tokenizer, precision)
}

/// Writes the adapters of a policy with its tokenizer, without the weights beside which they were trained;
/// the classes of PEFT read the folder. `base` is the folder of these weights, or their name, as the
/// folder will remember it.
///
/// # Errors
/// [`LmError::Config`] if the policy has no adapters; else as [`save_policy`].
pub fn save_policy_adapter(
    dir: &Path,
    policy: &Policy,
    base: &str,
    tokenizer: &Tokenizer,
) -> Result<(), LmError> {
    save_adapter(dir, policy.model(), None, base, tokenizer)
}

/// Writes the adapters of a scalar model with its head and its tokenizer; see [`save_policy_adapter`].
///
/// # Errors
/// As there.
pub fn save_scalar_adapter(
    dir: &Path,
    model: &ScalarModel,
    base: &str,
    tokenizer: &Tokenizer,
) -> Result<(), LmError> {
    save_adapter(dir, model.body(), Some(head_of(model)), base, tokenizer)
}

fn head_of(model: &ScalarModel) -> Values {
    Values { shape: model.head().dims().to_vec(), values: to_vec(model.head()) }
}

fn save_adapter(
    dir: &Path,
    decoder: &Decoder,
    head: Option<Values>,
    base: &str,
    tokenizer: &Tokenizer,
) -> Result<(), LmError> {
    let shape = decoder.config().shape();
    check_vocabulary(tokenizer, shape)?;
    std::fs::create_dir_all(dir).map_err(|error| LmError::io(dir, error))?;
    adapter::save(dir, decoder, head, base)?;
    save_tokenizer(dir, tokenizer, shape)
}

fn save(
    dir: &Path,
    tensors: &BTreeMap<String, Values>,
    (config, head): (&DecoderConfig, Head),
    tokenizer: &Tokenizer,
    precision: Precision,
) -> Result<(), LmError> {
    let shape = config.shape();
    check_vocabulary(tokenizer, shape)?;
    std::fs::create_dir_all(dir).map_err(|error| LmError::io(dir, error))?;
    write(&dir.join(WEIGHTS_FILE), tensors, ("format", "pt"), precision)?;
    write_json(&dir.join(CONFIG_FILE), &config_json(config, head, tokenizer, precision))?;
    save_tokenizer(dir, tokenizer, shape)?;
    let generation = json!({
        "bos_token_id": tokenizer.begin(),
        "eos_token_id": tokenizer.end(),
        "pad_token_id": tokenizer.pad(),
    });
    write_json(&dir.join(GENERATION_FILE), &generation)
}

fn check_vocabulary(tokenizer: &Tokenizer, shape: Shape) -> Result<(), LmError> {
    let found = format!("{} for a tokenizer of {}", shape.vocabulary, tokenizer.vocab_size());
    let fits = tokenizer.vocab_size() <= shape.vocabulary;
    let problem = Problem::unless(fits, "vocab_size", found, "an embedding for every token");
    problem.map_or(Ok(()), |problem| Err(problem.into()))
}

fn save_tokenizer(dir: &Path, tokenizer: &Tokenizer, shape: Shape) -> Result<(), LmError> {
    tokenizer.save(&dir.join(TOKENIZER_FILE))?;
    let [begin, end, pad] =
        [tokenizer.begin(), tokenizer.end(), tokenizer.pad()].map(|id| tokenizer.token(id));
    let mut about = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": begin,
        "eos_token": end,
        "pad_token": pad,
        "model_max_length": shape.context,
        // By default there would be token types too, which GPT-2 and GPT-J add to their embeddings and
        // Llama refuses.
        "model_input_names": ["input_ids", "attention_mask"],
    });
    if let Some(template) = tokenizer.chat_template() {
        about["chat_template"] = template.into();
    }
    write_json(&dir.join(TOKENIZER_CONFIG_FILE), &about)
}
