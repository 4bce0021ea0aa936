//! Byte-level BPE, trained here or read from a Hugging Face `tokenizer.json`.

mod caught;
mod words;

use std::path::{Path, PathBuf};

use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, DecoderWrapper, ModelWrapper, PreTokenizerWrapper, Trainer};

pub(crate) use self::caught::caught;
use self::words::{TooLong, words};
use crate::LmError;
use crate::problem::Problem;

/// The token that begins every sequence and ends a finished one in GPT-2 and in what is trained here.
pub const END_TOKEN: &str = "<|endoftext|>";
/// The padding token: apart from the end token, so that padding never hides a real end.
pub const PAD_TOKEN: &str = "<|pad|>";

/// The largest `tokenizer.json` that is read: crafted files can make the parser panic.
const MAX_FILE_BYTES: u64 = 32 << 20;

/// A special token as a file names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// By its text.
    Text(String),
    /// By its id.
    Id(u32),
}

/// The special tokens that files beside a `tokenizer.json` name, each with the file that does.
#[derive(Clone, Debug, Default)]
pub struct SpecialTokens {
    /// What begins a sequence.
    pub begin: Option<(Named, PathBuf)>,
    /// What ends a response.
    pub end: Option<(Named, PathBuf)>,
    /// What fills rows.
    pub pad: Option<(Named, PathBuf)>,
}

/// The ids that begin a text and end it; one and the same in GPT-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// What stands before a text.
    pub begin: u32,
    /// What ends it.
    pub end: u32,
}

impl From<u32> for Ends {
    fn from(both: u32) -> Self {
        Self { begin: both, end: both }
    }
}

/// Text to token ids and back.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    begin: u32,
    end: u32,
    pad: u32,
    chat_template: Option<String>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer").field("vocab_size", &self.vocab_size()).finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Trains byte-level BPE (GPT-2's pre-tokenisation, no prefix space) to exactly `vocab_size` entries, the
    /// two special tokens among them, or to fewer when the texts hold fewer merges.
    ///
    /// Words of more than 256 bytes, runs of letters, digits, signs or spaces, teach no
    /// merges; a warning counts them.
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
        Self::from_inner(inner, (None, None, None)).map_err(LmError::Tokenizer)
    }

    /// Reads a `tokenizer.json` of Hugging Face with GPT-2's special tokens, [`END_TOKEN`] and [`PAD_TOKEN`];
    /// a whole folder is read by [`load_tokenizer`](crate::files::load_tokenizer). A file without a padding
    /// token pads with its end token, which is safe here because masks come from lengths and never from ids.
    ///
    /// # Errors
    /// As [`Tokenizer::load_with`].
    pub fn load(path: &Path) -> Result<Self, LmError> {
        Self::load_with(path, &SpecialTokens::default())
    }

    /// Reads a `tokenizer.json` of Hugging Face with the special tokens that other files name. Where
    /// none is named, the end is [`END_TOKEN`], the begin is the end, and the padding is [`PAD_TOKEN`]
    /// or, without it, the end.
    ///
    /// # Errors
    /// If the file is missing, too large or damaged, an id below the largest has no token, or
    /// it lacks a special token.
    pub fn load_with(path: &Path, special: &SpecialTokens) -> Result<Self, LmError> {
        let size = std::fs::metadata(path).map_err(|error| LmError::io(path, error))?.len();
        if size > MAX_FILE_BYTES {
            return Err(LmError::file(path, format!("{size} bytes"), format!("at most {MAX_FILE_BYTES}")));
        }
        let bytes = std::fs::read(path).map_err(|error| LmError::io(path, error))?;
        Self::parse(bytes, path, special)
    }

    /// The content of a `tokenizer.json`; errors name `path`.
    pub(crate) fn parse(bytes: Vec<u8>, path: &Path, special: &SpecialTokens) -> Result<Self, LmError> {
        let inner = caught(|| tokenizers::Tokenizer::from_bytes(bytes))
            .map_err(|found| LmError::file(path, found, "a tokenizer.json"))?;
        let largest = inner.get_vocab(true).into_values().max();
        let (count, ids) = (inner.get_vocab_size(true), largest.map_or(0, |id| id as usize + 1));
        if count != ids {
            // An id without a token could be drawn, and would be no text.
            let found = format!("{count} tokens with ids up to {}", ids.saturating_sub(1));
            return Err(LmError::file(path, found, "a token for every id"));
        }
        let find = |named: &Option<(Named, PathBuf)>| match named {
            None => Ok(None),
            Some((named, source)) => id_of(&inner, named).map(Some).ok_or_else(|| {
                let name = match named {
                    Named::Text(text) => format!("`{text}`"),
                    Named::Id(id) => id.to_string(),
                };
                let expected = format!("a token of {}", path.display());
                LmError::file(source, format!("the special token {name}"), expected)
            }),
        };
        let (begin, end, pad) = (find(&special.begin)?, find(&special.end)?, find(&special.pad)?);
        Self::from_inner(inner, (begin, end, pad))
            .map_err(|found| LmError::file(path, found, format!("a token `{END_TOKEN}`")))
    }

    fn from_inner(
        mut inner: tokenizers::Tokenizer,
        (begin, end, pad): (Option<u32>, Option<u32>, Option<u32>),
    ) -> Result<Self, String> {
        inner.with_truncation(None).map_err(|error| error.to_string())?;
        inner.with_padding(None);
        // A text that spells a special token is still a text: it must not end or pad a sequence.
        inner.set_encode_special_tokens(true);
        let end = end.or_else(|| inner.token_to_id(END_TOKEN)).ok_or_else(|| "no end token".to_owned())?;
        let pad = pad.or_else(|| inner.token_to_id(PAD_TOKEN)).unwrap_or(end);
        Ok(Self { inner, begin: begin.unwrap_or(end), end, pad, chat_template: None })
    }

    /// The same tokenizer with the template that turns a conversation into a text.
    #[must_use]
    pub fn with_chat_template(self, chat_template: Option<String>) -> Self {
        Self { chat_template, ..self }
    }

    /// The template that turns a conversation into a text, as the model's folder has it.
    pub fn chat_template(&self) -> Option<&str> {
        self.chat_template.as_deref()
    }

    /// Writes a `tokenizer.json` that `transformers.PreTrainedTokenizerFast` reads.
    pub fn save(&self, path: &Path) -> Result<(), LmError> {
        let json = self.inner.to_string(true).map_err(|error| LmError::Tokenizer(error.to_string()))?;
        std::fs::write(path, json + "\n").map_err(|error| LmError::io(path, error))
    }

    /// The ids of a text, without special tokens.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, LmError> {
        let encoding = caught(|| self.inner.encode_fast(text, false)).map_err(LmError::Tokenizer)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The same tokenizer, to which a special token that a text spells is that token: for what a chat
    /// template wrote.
    #[must_use]
    pub fn reading_special_tokens(&self) -> Self {
        let mut inner = self.inner.clone();
        inner.set_encode_special_tokens(false);
        Self { inner, ..self.clone() }
    }

    /// Whether another tokenizer is written as this one is, and so makes the same ids of every
    /// text, with the same ends.
    pub fn is_same(&self, other: &Self) -> bool {
        let [this, that] = [self, other].map(|tokenizer| tokenizer.inner.to_string(false).ok());
        self.ends() == other.ends() && this.is_some() && this == that
    }

    /// The ids of many texts, in the same order, on all cores.
    pub fn encode_batch(&self, texts: &[&str]) -> Result<Vec<Vec<u32>>, LmError> {
        use rayon::prelude::*;
        texts.par_iter().map(|text| self.encode(text)).collect()
    }

    /// The text of ids; special tokens leave no trace.
    pub fn decode(&self, ids: &[u32]) -> Result<String, LmError> {
        caught(|| self.inner.decode(ids, true)).map_err(LmError::Tokenizer)
    }

    /// Number of ids, special tokens included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The text of one token, special or not, as the file spells it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The id that begins every sequence.
    pub fn begin(&self) -> u32 {
        self.begin
    }

    /// The id that ends a finished response.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// The ids that begin a text and end it.
    pub fn ends(&self) -> Ends {
        Ends { begin: self.begin, end: self.end }
    }

    /// The id that fills rows; no mask is ever derived from it.
    pub fn pad(&self) -> u32 {
        self.pad
    }
}

/// The id of a special token, if the vocabulary has it.
fn id_of(inner: &tokenizers::Tokenizer, named: &Named) -> Option<u32> {
    match named {
        Named::Text(text) => inner.token_to_id(text),
        Named::Id(id) => inner.id_to_token(*id).map(|_| *id),
    }
}
