//! `config.json` of an encoder with a classification head.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::LmError;
use crate::architecture::{Activation, EncoderConfig, EncoderFamily};
use crate::classifier::{Labelling, ProblemType};
use crate::problem::Config;

/// A `config.json` and the file that it stands in.
struct Keys<'a> {
    path: &'a Path,
    values: Map<String, Value>,
}

/// Reads `config.json` and refuses what is not computed here.
///
/// # Errors
/// If the file is missing, damaged, or of another architecture, or the size is impossible.
pub(super) fn read(path: &Path) -> Result<(EncoderConfig, Labelling), LmError> {
    /// Far more than any configuration has, labels included.
    const MAX_FILE_BYTES: u64 = 16 << 20;
    let size = std::fs::metadata(path).map_err(|error| LmError::io(path, error))?.len();
    if size > MAX_FILE_BYTES {
        return Err(LmError::file(path, format!("{size} bytes"), format!("at most {MAX_FILE_BYTES}")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| LmError::io(path, error))?;
    let values = serde_json::from_str(&text)
        .map_err(|error| LmError::file(path, error.to_string(), "a JSON object"))?;
    let keys = Keys { path, values };
    let family = keys.family()?;
    keys.refuse_others(family)?;
    let config = keys.config(family)?;
    config.check()?;
    Ok((config, keys.labelling()?))
}

impl Keys<'_> {
    fn wrong(&self, key: &str, expected: impl Into<String>) -> LmError {
        let found = self.values.get(key).map_or("nothing".to_owned(), Value::to_string);
        LmError::file(self.path, format!("{key} = {found}"), expected)
    }

    /// A value that is there and not null.
    fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    fn family(&self) -> Result<EncoderFamily, LmError> {
        let name = self.get("model_type").and_then(Value::as_str).unwrap_or_default();
        let families = EncoderFamily::ALL.map(|family| format!("{:?}", family.name())).join(", ");
        EncoderFamily::ALL
            .into_iter()
            .find(|family| family.name() == name)
            .ok_or_else(|| self.wrong("model_type", families))
    }

    /// Refuses flags that change what is computed and are not computed here.
    fn refuse_others(&self, family: EncoderFamily) -> Result<(), LmError> {
        let fixed = [
            ("position_embedding_type", json!("absolute")),
            ("is_decoder", json!(false)),
            ("add_cross_attention", json!(false)),
            ("is_encoder_decoder", json!(false)),
            ("pruned_heads", json!({})),
        ];
        let distilbert = [("sinusoidal_pos_embds", json!(false))];
        let own = if family == EncoderFamily::Distilbert { &distilbert[..] } else { &[] };
        for (key, expected) in fixed.iter().chain(own) {
            if self.get(key).is_some_and(|found| found != expected) {
                return Err(self.wrong(key, expected.to_string()));
            }
        }
        Ok(())
    }

    fn count(&self, key: &str) -> Result<usize, LmError> {
        let count = self.get(key).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok());
        count.ok_or_else(|| self.wrong(key, "a whole number"))
    }

    fn count_or(&self, key: &str, default: usize) -> Result<usize, LmError> {
        if self.get(key).is_none() { Ok(default) } else { self.count(key) }
    }

    fn activation(&self, key: &str) -> Result<Activation, LmError> {
        let Some(value) = self.get(key) else { return Ok(Activation::Gelu) };
        let name = value.as_str().unwrap_or_default();
        let names = Activation::ALL.map(|activation| activation.names().join(", ")).join(", ");
        Activation::ALL
            .into_iter()
            .find(|activation| activation.names().contains(&name))
            .ok_or_else(|| self.wrong(key, format!("one of {names}")))
    }

    /// The size, under the keys of the family; what the family's class in transformers has a default for may
    /// be left out where files do leave it out.
    fn config(&self, family: EncoderFamily) -> Result<EncoderConfig, LmError> {
        let is_distil = family == EncoderFamily::Distilbert;
        let key = |bert: &'static str, distilbert: &'static str| if is_distil { distilbert } else { bert };
        let default_types = if family == EncoderFamily::Roberta { 1 } else { 2 };
        let epsilon = match self.get("layer_norm_eps").filter(|_| !is_distil) {
            None => 1e-12,
            Some(value) => value.as_f64().ok_or_else(|| self.wrong("layer_norm_eps", "a number"))?,
        };
        Ok(EncoderConfig {
            family,
            vocab_size: self.count("vocab_size")?,
            max_position_embeddings: self.count("max_position_embeddings")?,
            type_vocab_size: if is_distil { 0 } else { self.count_or("type_vocab_size", default_types)? },
            hidden_size: self.count(key("hidden_size", "dim"))?,
            intermediate_size: self.count(key("intermediate_size", "hidden_dim"))?,
            num_hidden_layers: self.count(key("num_hidden_layers", "n_layers"))?,
            num_attention_heads: self.count(key("num_attention_heads", "n_heads"))?,
            layer_norm_eps: epsilon,
            activation: self.activation(key("hidden_act", "activation"))?,
            pad_token_id: self.count_or("pad_token_id", usize::from(family == EncoderFamily::Roberta))?,
        })
    }

    /// `id2label`, or as many `LABEL_i` as `num_labels` says, or two.
    fn labelling(&self) -> Result<Labelling, LmError> {
        /// More labels than any classifier has.
        const MOST: usize = 100_000;
        let labels = if self.get("id2label").is_some() {
            self.id2label()?
        } else {
            let count = self.count_or("num_labels", 2)?;
            if !(1..=MOST).contains(&count) {
                return Err(self.wrong("num_labels", format!("1 to {MOST}")));
            }
            (0..count).map(|index| format!("LABEL_{index}")).collect()
        };
        let problem_type = match self.get("problem_type") {
            None => ProblemType::of_labels(labels.len()),
            Some(value) => ProblemType::ALL
                .into_iter()
                .find(|problem_type| value.as_str() == Some(problem_type.name()))
                .ok_or_else(|| {
                    let names = ProblemType::ALL.map(ProblemType::name).join(", ");
                    self.wrong("problem_type", format!("null or one of {names}"))
                })?,
        };
        Ok(Labelling { labels, problem_type })
    }

    fn id2label(&self) -> Result<Vec<String>, LmError> {
        let expected = "names of the labels under \"0\", \"1\" and so on";
        let wrong = || self.wrong("id2label", expected);
        let object = self.get("id2label").and_then(Value::as_object).ok_or_else(wrong)?;
        let name = |index: usize| object.get(&index.to_string()).and_then(Value::as_str);
        let labels: Option<Vec<String>> =
            (0..object.len()).map(|index| name(index).map(str::to_owned)).collect();
        labels.filter(|labels| !labels.is_empty()).ok_or_else(wrong)
    }
}

/// The content of `config.json`.
pub(super) fn write(config: &EncoderConfig, labelling: &Labelling, torch_dtype: &str) -> Value {
    let numbered = || labelling.labels.iter().enumerate();
    let id2label: Map<String, Value> =
        numbered().map(|(index, label)| (index.to_string(), label.clone().into())).collect();
    let label2id: Map<String, Value> =
        numbered().map(|(index, label)| (label.clone(), index.into())).collect();
    let activation = config.activation.names()[0];
    let (class, mut json) = match config.family {
        EncoderFamily::Bert => ("BertForSequenceClassification", bert(config, activation)),
        EncoderFamily::Roberta => ("RobertaForSequenceClassification", bert(config, activation)),
        EncoderFamily::Distilbert => ("DistilBertForSequenceClassification", distilbert(config, activation)),
    };
    json["architectures"] = json!([class]);
    json["model_type"] = config.family.name().into();
    json["vocab_size"] = config.vocab_size.into();
    json["max_position_embeddings"] = config.max_position_embeddings.into();
    json["pad_token_id"] = config.pad_token_id.into();
    json["id2label"] = id2label.into();
    json["label2id"] = label2id.into();
    json["problem_type"] = labelling.problem_type.name().into();
    json["initializer_range"] = 0.02.into();
    json["torch_dtype"] = torch_dtype.into();
    json
}

fn bert(config: &EncoderConfig, activation: &str) -> Value {
    json!({
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "type_vocab_size": config.type_vocab_size,
        "layer_norm_eps": config.layer_norm_eps,
        "hidden_act": activation,
        "position_embedding_type": "absolute",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "classifier_dropout": 0.0,
    })
}

fn distilbert(config: &EncoderConfig, activation: &str) -> Value {
    json!({
        "dim": config.hidden_size,
        "hidden_dim": config.intermediate_size,
        "n_layers": config.num_hidden_layers,
        "n_heads": config.num_attention_heads,
        "activation": activation,
        "sinusoidal_pos_embds": false,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "seq_classif_dropout": 0.0,
    })
}
