//! Classifiers as Hugging Face folders: `config.json`, `model.safetensors` or its shards, and
//! the files of the tokenizer.

mod config;
mod names;
mod parameters;

use std::path::Path;

use burn::tensor::Device;
use serde_json::{Map, Value, json};

use super::layout::{CONFIG_FILE, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE};
use super::weights::{WEIGHTS_FILE, Weights};
use super::write::write_json;
use super::write::{Precision, write};
use crate::LmError;
use crate::architecture::{EncoderConfig, EncoderFamily};
use crate::classifier::{Classifier, Labelling, ProblemType, TextTokenizer, Truncation, Window};
use crate::random::Stream;

/// Reads the folder of a BERT, RoBERTa or DistilBERT with a classification head.
///
/// # Errors
/// If a file is missing or damaged, or a tensor is missing or misshapen.
pub fn load_classifier(dir: &Path, device: &Device) -> Result<Classifier, LmError> {
    let (config, labelling) = config::read(&dir.join(CONFIG_FILE))?;
    load(dir, (&config, labelling), None, device)
}

/// Reads `config.json` of an encoder's folder: its size, and its labels.
///
/// # Errors
/// If the file is missing, damaged, or of another architecture, or the size is impossible.
pub fn read_encoder_config(path: &Path) -> Result<(EncoderConfig, Labelling), LmError> {
    config::read(path)
}

/// Reads the folder of an encoder to fine-tune it for `labels`. A classification head that the folder has is
/// kept, if it has as many labels; where there is none, its matrices are drawn from N(0, 0.02²) and its
/// biases are zero. The pooler of a BERT without a head is kept.
///
/// # Errors
/// As [`load_classifier`], or if the head in the folder has another number of labels.
pub fn load_encoder(
    dir: &Path,
    labels: &[&str],
    stream: Stream,
    device: &Device,
) -> Result<Classifier, LmError> {
    let path = dir.join(CONFIG_FILE);
    let (config, found) = config::read(&path)?;
    let has_head = parameters::has_head(&Weights::open(dir)?, config.family);
    if has_head && found.labels.len() != labels.len() {
        let found = format!("a head of {} labels, {}", found.labels.len(), found.labels.join(", "));
        let expected = format!("{}, {}, or an encoder without a head", labels.len(), labels.join(", "));
        return Err(LmError::file(&path, found, expected));
    }
    let labels = labels.iter().map(|&label| label.to_owned()).collect();
    let labelling = Labelling { labels, problem_type: ProblemType::SingleLabel };
    load(dir, (&config, labelling), Some(stream), device)
}

fn load(
    dir: &Path,
    (config, labelling): (&EncoderConfig, Labelling),
    new_head: Option<Stream>,
    device: &Device,
) -> Result<Classifier, LmError> {
    let asked = TokenizerConfig::read(&dir.join(TOKENIZER_CONFIG_FILE))?;
    let tokenizer = TextTokenizer::load(dir, asked.add_prefix_space)?;
    if tokenizer.ids() > config.vocab_size {
        let found = format!("vocab_size = {} for ids up to {}", config.vocab_size, tokenizer.ids() - 1);
        return Err(LmError::file(&dir.join(CONFIG_FILE), found, "an embedding for every token"));
    }
    let tokens = asked.model_max_length.map_or(config.context(), |longest| longest.min(config.context()));
    let weights = Weights::open(dir)?;
    let model = parameters::read(&weights, config, labelling.labels.len(), new_head, device)?;
    let whole = Window { tokens: config.context(), truncation: Truncation::Head };
    Classifier::new(model, tokenizer, labelling, whole).with_window(Window { tokens, ..whole })
}

/// Writes a classifier as a folder that `transformers.AutoModelForSequenceClassification` and `AutoTokenizer`
/// read, or `transformers.pipeline("text-classification", FOLDER)`.
///
/// The tokenizer's `model_max_length` is the classifier's window; [`Truncation::Ends`] cannot be said there.
///
/// # Errors
/// If the folder cannot be written.
pub fn save_classifier(dir: &Path, classifier: &Classifier, precision: Precision) -> Result<(), LmError> {
    std::fs::create_dir_all(dir).map_err(|error| LmError::io(dir, error))?;
    let model_config = classifier.model().config();
    let tensors = parameters::values_of(classifier.model());
    write(&dir.join(WEIGHTS_FILE), &tensors, ("format", "pt"), precision)?;
    let json = config::write(model_config, classifier.labelling(), precision.torch_name());
    write_json(&dir.join(CONFIG_FILE), &json)?;
    classifier.tokenizer().save(&dir.join(TOKENIZER_FILE))?;
    write_json(&dir.join(TOKENIZER_CONFIG_FILE), &tokenizer_config(classifier, model_config.family))
}

/// What a classifier's `tokenizer_config.json` asks for.
struct TokenizerConfig {
    model_max_length: Option<usize>,
    add_prefix_space: bool,
}

impl TokenizerConfig {
    /// Reads the file; there need not be one.
    fn read(path: &Path) -> Result<Self, LmError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => "{}".to_owned(),
            Err(error) => return Err(LmError::io(path, error)),
        };
        let values: Map<String, Value> = serde_json::from_str(&text)
            .map_err(|error| LmError::file(path, error.to_string(), "a JSON object"))?;
        let longest = match values.get("model_max_length").filter(|value| !value.is_null()) {
            None => None,
            // Without a limit transformers writes 1e30.
            Some(value) => Some(value.as_f64().filter(|length| *length >= 1.0).ok_or_else(|| {
                LmError::file(path, format!("model_max_length = {value}"), "a positive number")
            })? as usize),
        };
        let add_prefix_space = values.get("add_prefix_space").and_then(Value::as_bool).unwrap_or(false);
        Ok(Self { model_max_length: longest, add_prefix_space })
    }
}

fn tokenizer_config(classifier: &Classifier, family: EncoderFamily) -> Value {
    let bert =
        [("cls_token", "[CLS]"), ("sep_token", "[SEP]"), ("pad_token", "[PAD]"), ("unk_token", "[UNK]")];
    let roberta =
        [("cls_token", "<s>"), ("sep_token", "</s>"), ("pad_token", "<pad>"), ("unk_token", "<unk>")];
    let (names, mask) = match family {
        EncoderFamily::Bert | EncoderFamily::Distilbert => (bert, "[MASK]"),
        EncoderFamily::Roberta => (roberta, "<mask>"),
    };
    let mut json = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": classifier.window().tokens,
        "model_input_names": match family {
            EncoderFamily::Bert => vec!["input_ids", "token_type_ids", "attention_mask"],
            EncoderFamily::Roberta | EncoderFamily::Distilbert => vec!["input_ids", "attention_mask"],
        },
        "clean_up_tokenization_spaces": false,
    });
    for (key, token) in names.into_iter().chain([("mask_token", mask)]) {
        if classifier.tokenizer().has(token) {
            json[key] = token.into();
        }
    }
    json
}
