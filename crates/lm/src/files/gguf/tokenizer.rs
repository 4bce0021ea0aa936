//! The byte-level BPE that a GGUF file's metadata describe.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::header::Header;
use super::metadata::Metadata;
use crate::LmError;
use crate::tokenizer::{Named, SpecialTokens, Tokenizer};

const MODEL: &str = "tokenizer.ggml.model";
const SPLIT: &str = "tokenizer.ggml.pre";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";

/// Tokens that are never part of a text, such as the end.
const CONTROL: u64 = 3;
/// Tokens that texts spell, kept whole.
const USER_DEFINED: u64 = 4;
/// Ids that only make the vocabulary a round number.
const UNUSED: u64 = 5;

/// The tokenizer for a model with `rows` in its embedding.
///
/// # Errors
/// [`LmError::File`] with the key that is missing or damaged, or that describes another kind of tokenizer.
pub(super) fn tokenizer(header: &Header, rows: usize) -> Result<Tokenizer, LmError> {
    let metadata = &header.metadata;
    let kind = metadata.required(MODEL, metadata.text(MODEL)?)?;
    if kind != "gpt2" {
        return Err(metadata.refuse(MODEL, &format!("{kind:?}"), "\"gpt2\", a byte-level BPE"));
    }
    let splits = splits(metadata)?;
    let all = metadata.required(TOKENS, metadata.texts(TOKENS)?)?;
    let types = metadata.counts(TYPES)?.unwrap_or_else(|| vec![1; all.len()]);
    for (key, count) in [(TOKENS, all.len()), (TYPES, types.len())] {
        if count != rows {
            let expected = format!("{rows}, one for each row of token_embd.weight");
            return Err(metadata.refuse(key, &format!("an array of {count}"), expected));
        }
    }
    let used = types.iter().rposition(|&kind| kind != UNUSED).map_or(0, |last| last + 1);
    let tokens = &all[..used];
    let mut vocabulary = BTreeMap::new();
    for (id, token) in tokens.iter().enumerate() {
        if let Some(first) = vocabulary.insert(*token, id) {
            let found = format!("the token {token:?} at {first} and at {id}");
            return Err(metadata.refuse(TOKENS, &found, "each token once"));
        }
    }
    let merges = merges(metadata, &vocabulary)?;
    let added: Vec<Value> = tokens
        .iter()
        .zip(&types)
        .enumerate()
        .filter(|(_, (_, kind))| matches!(**kind, CONTROL | USER_DEFINED))
        .map(|(id, (token, kind))| added(id, token, *kind == CONTROL))
        .collect();
    let json = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": splits },
        "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": vocabulary,
            "merges": merges,
        },
    });
    let special = |key: &str| -> Result<_, LmError> {
        let key = format!("tokenizer.ggml.{key}_token_id");
        match metadata.count(&key)? {
            None => Ok(None),
            Some(id) if id < used => Ok(Some((Named::Id(id as u32), header.path.clone()))),
            Some(id) => Err(metadata.refuse(&key, &id.to_string(), format!("an id below {used}"))),
        }
    };
    let special = SpecialTokens { begin: special("bos")?, end: special("eos")?, pad: special("padding")? };
    let template = metadata.text("tokenizer.chat_template")?.map(str::to_owned);
    let tokenizer = Tokenizer::parse(json.to_string().into_bytes(), &header.path, &special)?;
    Ok(tokenizer.with_chat_template(template))
}

/// How texts are cut into words before merges: `tokenizers`' form of what llama.cpp calls by these names.
fn splits(metadata: &Metadata) -> Result<Value, LmError> {
    let bytes = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    });
    let digits = json!({ "type": "Digits", "individual_digits": true });
    match metadata.required(SPLIT, metadata.text(SPLIT)?)? {
        "gpt-2" => Ok(json!([bytes])),
        "smollm" | "starcoder" | "refact" | "codeshell" => Ok(json!([digits, bytes])),
        other => {
            let expected = "\"gpt-2\", \"smollm\", \"starcoder\", \"refact\" or \"codeshell\"";
            Err(metadata.refuse(SPLIT, &format!("{other:?}"), expected))
        }
    }
}

/// The merges, each of which makes a token of two.
fn merges<'a>(
    metadata: &'a Metadata,
    vocabulary: &BTreeMap<&str, usize>,
) -> Result<Vec<[&'a str; 2]>, LmError> {
    let merges = metadata.required(MERGES, metadata.texts(MERGES)?)?;
    let pair = |(index, merge): (usize, &'a str)| {
        let pair = merge.split_once(' ').filter(|(left, right)| {
            let whole = format!("{left}{right}");
            [left, right, whole.as_str()].iter().all(|token| vocabulary.contains_key(*token))
        });
        pair.map(|(left, right)| [left, right]).ok_or_else(|| {
            let found = format!("{merge:?} at {index}");
            metadata.refuse(MERGES, &found, "two tokens that together are one")
        })
    };
    merges.into_iter().enumerate().map(pair).collect()
}

fn added(id: usize, token: &str, special: bool) -> Value {
    json!({
        "id": id,
        "content": token,
        "single_word": false,
        "lstrip": false,
        "rstrip": false,
        "normalized": false,
        "special": special,
    })
}
