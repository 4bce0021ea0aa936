//! The words that merges are learned from.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

/// The longest word in bytes that merges are learned from. Merges cost the square of a word's length, and
/// nothing is learned from a word that no language has.
const MAX_WORD_BYTES: usize = 256;

/// The words of a text, each byte a character of GPT-2's alphabet.
pub(super) fn words(byte_level: ByteLevel, text: &str) -> tokenizers::Result<Vec<String>> {
    let mut split = PreTokenizedString::from(text);
    byte_level.pre_tokenize(&mut split)?;
    let splits = split.get_splits(OffsetReferential::Original, OffsetType::Byte);
    Ok(splits.into_iter().map(|(word, _, _)| word.to_owned()).collect())
}

/// Counts what is left out of training; texts are read on all cores.
#[derive(Default)]
pub(super) struct TooLong {
    words: AtomicUsize,
    bytes: AtomicUsize,
}

impl TooLong {
    /// Whether a word is too long; it is counted if so.
    pub(super) fn counts(&self, word: &str) -> bool {
        let bytes = word.chars().count();
        let too_long = bytes > MAX_WORD_BYTES;
        if too_long {
            self.words.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        too_long
    }

    pub(super) fn warn(self) {
        let (words, bytes) = (self.words.into_inner(), self.bytes.into_inner());
        if words > 0 {
            tracing::warn!(
                "tokenizer: {words} words of more than {MAX_WORD_BYTES} bytes, {bytes} bytes in all, were left out \
                 of the training"
            );
        }
    }
}
