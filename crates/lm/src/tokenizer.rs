//! Byte-level BPE, trained here or read from a Hugging Face `tokenizer.json`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer, PreTokenizerWrapper, Trainer,
};

use crate::LmError;
use crate::problem::Problem;

/// The token that begins every sequence and ends a finished one, as in GPT-2.
pub const END_TOKEN: &str = "<|endoftext|>";
/// The padding token: apart from the end token, so that padding never hides a real end.
pub const PAD_TOKEN: &str = "<|pad|>";

/// The longest word in bytes that merges are learned from. Merges cost the square of a word's length, and nothing is
/// learned from a word that no language has.
const MAX_WORD_BYTES: usize = 256;

/// The largest `tokenizer.json` that is read: crafted files can make the parser panic.
const MAX_FILE_BYTES: u64 = 32 << 20;

/// Text to token ids and back.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    end: u32,
    pad: u32,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("vocab_size", &self.vocab_size()).finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Trains byte-level BPE (GPT-2's pre-tokenisation, no prefix space) to exactly `vocab_size` entries, the two
    /// special tokens among them, or to fewer when the texts hold fewer merges.
    ///
    /// Words of more than 256 bytes, runs of letters, digits, signs or spaces, teach no merges; a warning counts them.
    ///
    /// # Errors
    /// [`LmError::Config`] for fewer than 258 entries: the bytes and the special tokens.
    pub fn train(texts: &[&str], vocab_size: usize) -> Result<Self, LmError> {
        // 256 bytes and two special tokens are always there.
        if vocab_size < 258 {
            return Err(Problem::new("vocab_size", vocab_size, "at least 258").into());
        }
        let byte_level = ByteLevel::new(false, true, true);
        let mut trainer = BpeTrainerBuilder::new()
            .vocab_size(vocab_size)
            .min_frequency(2)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(vec![AddedToken::from(END_TOKEN, true), AddedToken::from(PAD_TOKEN, true)])
            .build();
        let failed = |error: tokenizers::Error| LmError::Tokenizer(error.to_string());
        let too_long = TooLong::default();
        trainer
            .feed(texts.iter(), |text| {
                let mut words = words(byte_level, text)?;
                words.retain(|word| !too_long.counts(word));
                Ok(words)
            })
            .map_err(failed)?;
        too_long.warn();
        let mut bpe = BPE::default();
        trainer.train(&mut bpe).map_err(failed)?;
        let mut inner = tokenizers::Tokenizer::new(ModelWrapper::from(bpe));
        inner
            .with_pre_tokenizer(Some(PreTokenizerWrapper::from(byte_level)))
            .with_decoder(Some(DecoderWrapper::from(byte_level)));
        inner
            .add_special_tokens([AddedToken::from(END_TOKEN, true), AddedToken::from(PAD_TOKEN, true)])
            .map_err(failed)?;
        Self::from_inner(inner).map_err(LmError::Tokenizer)
    }

    /// Reads a `tokenizer.json` of Hugging Face. A file without a padding token pads with its end token, which is
    /// safe here because masks come from lengths and never from ids.
    pub fn load(path: &Path) -> Result<Self, LmError> {
        let size = std::fs::metadata(path).map_err(|error| LmError::io(path, error))?.len();
        if size > MAX_FILE_BYTES {
            return Err(LmError::file(path, format!("{size} bytes"), format!("at most {MAX_FILE_BYTES}")));
        }
        let bytes = std::fs::read(path).map_err(|error| LmError::io(path, error))?;
        let parsed = catch_unwind(AssertUnwindSafe(|| tokenizers::Tokenizer::from_bytes(bytes)));
        let inner = match parsed {
            Ok(Ok(inner)) => inner,
            Ok(Err(error)) => return Err(LmError::file(path, error.to_string(), "a tokenizer.json")),
            Err(_) => {
                return Err(LmError::file(path, "a file that the parser cannot take", "a tokenizer.json"));
            }
        };
        Self::from_inner(inner).map_err(|found| LmError::file(path, found, format!("a token `{END_TOKEN}`")))
    }

    fn from_inner(mut inner: tokenizers::Tokenizer) -> Result<Self, String> {
        inner.with_truncation(None).map_err(|error| error.to_string())?;
        inner.with_padding(None);
        // A text that spells a special token is still a text: it must not end or pad a sequence.
        inner.set_encode_special_tokens(true);
        let end = inner.token_to_id(END_TOKEN).ok_or_else(|| "no end token".to_owned())?;
        let pad = inner.token_to_id(PAD_TOKEN).unwrap_or(end);
        Ok(Self { inner, end, pad })
    }

    /// Writes a `tokenizer.json` that `transformers.PreTrainedTokenizerFast` reads.
    pub fn save(&self, path: &Path) -> Result<(), LmError> {
        let json = self.inner.to_string(true).map_err(|error| LmError::Tokenizer(error.to_string()))?;
        std::fs::write(path, json + "\n").map_err(|error| LmError::io(path, error))
    }

    /// The ids of a text, without special tokens.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, LmError> {
        let encoding =
            self.inner.encode_fast(text, false).map_err(|error| LmError::Tokenizer(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The same tokenizer, to which a special token that a text spells is that token: for what a chat template wrote.
    #[must_use]
    pub fn reading_special_tokens(&self) -> Self {
        let mut inner = self.inner.clone();
        inner.set_encode_special_tokens(false);
        Self { inner, ..*self }
    }

    /// Whether another tokenizer is written as this one is, and so makes the same ids of every text.
    pub fn is_same(&self, other: &Self) -> bool {
        let [this, that] = [self, other].map(|tokenizer| tokenizer.inner.to_string(false).ok());
        this.is_some() && this == that
    }

    /// The ids of many texts, in the same order, on all cores.
    pub fn encode_batch(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>, LmError> {
        use rayon::prelude::*;
        texts.par_iter().map(|text| self.encode(text)).collect()
    }

    /// The text of ids; special tokens leave no trace.
    pub fn decode(&self, ids: &[u32]) -> Result<String, LmError> {
        self.inner.decode(ids, true).map_err(|error| LmError::Tokenizer(error.to_string()))
    }

    /// Number of ids, special tokens included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The id that begins every sequence and ends a finished one.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// The id that fills rows; no mask is ever derived from it.
    pub fn pad(&self) -> u32 {
        self.pad
    }
}

/// The words of a text, each byte a character of GPT-2's alphabet.
fn words(byte_level: ByteLevel, text: &str) -> tokenizers::Result<Vec<String>> {
    let mut split = PreTokenizedString::from(text);
    byte_level.pre_tokenize(&mut split)?;
    let splits = split.get_splits(OffsetReferential::Original, OffsetType::Byte);
    Ok(splits.into_iter().map(|(word, _, _)| word.to_owned()).collect())
}

/// Counts what is left out of training; texts are read on all cores.
#[derive(Default)]
struct TooLong {
    words: AtomicUsize,
    bytes: AtomicUsize,
}

impl TooLong {
    /// Whether a word is too long; it is counted if so.
    fn counts(&self, word: &str) -> bool {
        let bytes = word.chars().count();
        let too_long = bytes > MAX_WORD_BYTES;
        if too_long {
            self.words.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        too_long
    }

    fn warn(self) {
        let (words, bytes) = (self.words.into_inner(), self.bytes.into_inner());
        if words > 0 {
            tracing::warn!(
                "tokenizer: {words} words of more than {MAX_WORD_BYTES} bytes, {bytes} bytes in all, were left out \
                 of the training"
            );
        }
    }
}
