//! Models in llama.cpp's GGUF files, versions 2 and 3, as Hugging Face folders: Llamas with tensors in F32,
//! F16, Q8_0, Q4_0 and Q4_1, and a byte-level BPE.
//!
//! The header is read and checked whole before a tensor is: every count against the bytes that are left,
//! every tensor against the file's end and against the other tensors.

mod blocks;
mod cursor;
mod header;
mod llama;
mod metadata;
mod tensors;
mod tokenizer;

use std::collections::BTreeMap;
use std::path::Path;

use self::header::Header;
use super::config::Head;
use super::write::Precision;
use crate::LmError;
use crate::architecture::DecoderConfig;

/// What [`import_gguf`] found.
#[derive(Debug)]
pub struct Imported {
    /// The model.
    pub config: DecoderConfig,
    /// How many tensors are stored in which type.
    pub types: BTreeMap<&'static str, usize>,
    /// The name that the file gives the model.
    pub name: Option<String>,
    /// The licence that the file names.
    pub license: Option<String>,
}

/// Writes the model of a GGUF file as a Hugging Face folder, with every weight widened to f32: what a
/// quantised type lost stays lost.
///
/// # Errors
/// [`LmError::File`] with the key and [`LmError::Tensor`] with the tensor that is damaged or that nothing
/// here computes, before anything is written; [`LmError::Io`] if a file cannot be read or written.
pub fn import_gguf(file: &Path, out: &Path) -> Result<Imported, LmError> {
    let header = Header::read(file)?;
    let config = llama::config(&header)?;
    let tokenizer = tokenizer::tokenizer(&header, config.vocab_size)?;
    let places = llama::places(&header, &config)?;
    let mut tensors = BTreeMap::new();
    let mut types = BTreeMap::new();
    for place in places {
        let values = header.values(place.tensor)?;
        *types.entry(place.tensor.kind.name()).or_insert(0) += 1;
        tensors.insert(place.name, place.order.undo(values));
    }
    let config = DecoderConfig::Llama(config);
    super::save(out, &tensors, (&config, Head::LanguageModel), &tokenizer, Precision::F32)?;
    let text = |key: &str| header.metadata.text(key).ok().flatten().map(str::to_owned);
    Ok(Imported { config, types, name: text("general.name"), license: text("general.license") })
}
