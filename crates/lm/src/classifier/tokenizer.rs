//! The tokenizer of an encoder: it puts special tokens around a text, and reads a part of one that is too
//! long.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer,
};

use crate::LmError;
use crate::tokenizer::caught;

/// The largest file of a tokenizer that is read: crafted files can make the parser panic.
const MAX_FILE_BYTES: u64 = 32 << 20;

/// Which tokens of a text are read where it has more than fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Truncation {
    /// The first ones, as `transformers` does.
    #[default]
    Head,
    /// The first and the last, a quarter of them from the head: a review tends to say at its end what it
    /// thinks (Sun et al. 2019, who found this the best of their ways to cut).
    Ends,
}

/// Text to token ids, special tokens around them.
///
/// A text that spells a special token is still a text: `[SEP]` is read as three signs and a word.
/// `transformers` does so with `split_special_tokens=True`.
#[derive(Clone)]
pub struct TextTokenizer {
    inner: Tokenizer,
}

impl std::fmt::Debug for TextTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let size = self.inner.get_vocab_size(true);
        f.debug_struct("TextTokenizer").field("vocab_size", &size).finish_non_exhaustive()
    }
}

impl TextTokenizer {
    /// Reads a folder's `tokenizer.json`, `WordPiece` or BPE; where there is none, `vocab.json` and
    /// `merges.txt` as RoBERTa has them. `add_prefix_space` holds for the latter.
    ///
    /// The truncation and the padding that a `tokenizer.json` asks for are left out, as
    /// `transformers` leaves them out.
    ///
    /// # Errors
    /// If files are missing or damaged, or the tokenizer puts no special token around a text.
    pub fn load(dir: &Path, add_prefix_space: bool) -> Result<Self, LmError> {
        let [json, vocab, merges] = ["tokenizer.json", "vocab.json", "merges.txt"].map(|name| dir.join(name));
        if !json.exists() && vocab.exists() && merges.exists() {
            return Self::checked(roberta(&vocab, &merges, add_prefix_space)?, &vocab);
        }
        let bytes = read(&json)?;
        let parsed = caught(|| Tokenizer::from_bytes(&bytes))
            .map_err(|found| LmError::file(&json, found, "a tokenizer.json"))?;
        Self::checked(parsed, &json)
    }

    /// Of a tokenizer that was made here.
    pub(super) fn made(inner: Tokenizer) -> Result<Self, LmError> {
        Self::checked(inner, Path::new("tokenizer.json"))
    }

    fn checked(mut inner: Tokenizer, path: &Path) -> Result<Self, LmError> {
        let wrong = |error: tokenizers::Error| LmError::file(path, error.to_string(), "a tokenizer");
        inner.with_truncation(None).map_err(wrong)?;
        inner.with_padding(None);
        inner.set_encode_special_tokens(true);
        let tokenizer = Self { inner };
        // The head reads the state of the first token, which even an empty text must have.
        let empty = caught(|| tokenizer.inner.encode_fast("", true))
            .map_err(|found| LmError::file(path, found, "a tokenizer that can read a text"))?;
        if empty.is_empty() {
            let expected = "a post-processor that puts a token such as [CLS] or <s> before a text";
            return Err(LmError::file(path, "a tokenizer without one", expected));
        }
        Ok(tokenizer)
    }

    /// Writes a `tokenizer.json`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), LmError> {
        let json = self.inner.to_string(true).map_err(|error| LmError::Tokenizer(error.to_string()))?;
        std::fs::write(path, json + "\n").map_err(|error| LmError::io(path, error))
    }

    /// The ids of a text, special tokens included: at most `longest`, but for special tokens
    /// that are more than that.
    ///
    /// # Errors
    /// [`LmError::Tokenizer`] if the text cannot be read.
    pub fn encode(&self, text: &str, longest: usize, truncation: Truncation) -> Result<Vec<u32>, LmError> {
        let encoding = caught(|| self.inner.encode_fast(text, true)).map_err(LmError::Tokenizer)?;
        let (ids, special) = (encoding.get_ids(), encoding.get_special_tokens_mask());
        if ids.len() <= longest {
            return Ok(ids.to_vec());
        }
        let before = special.iter().take_while(|&&special| special == 1).count();
        let after = special[before..].iter().rev().take_while(|&&special| special == 1).count();
        let content = before..ids.len() - after;
        let room = longest.saturating_sub(before + after);
        let head = match truncation {
            Truncation::Head => room,
            Truncation::Ends => room.div_ceil(4),
        };
        let first = &ids[content.start..content.start + head];
        let last = &ids[content.end - (room - head)..content.end];
        Ok([&ids[..before], first, last, &ids[content.end..]].concat())
    }

    /// One more than the largest id.
    pub fn ids(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1)
    }

    /// Whether there is such a token.
    pub fn has(&self, token: &str) -> bool {
        self.inner.token_to_id(token).is_some()
    }
}

/// RoBERTa's tokenizer from OpenAI's two files, as `transformers` makes it of them.
fn roberta(vocab: &Path, merges: &Path, add_prefix_space: bool) -> Result<Tokenizer, LmError> {
    for path in [vocab, merges] {
        check_size(path)?;
    }
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let bpe = caught(|| BPE::from_file(&text(vocab), &text(merges)).build()).map_err(|found| {
        LmError::file(vocab, found, "the vocabulary of a byte-level BPE beside its merges.txt")
    })?;
    let mut inner = Tokenizer::new(ModelWrapper::from(bpe));
    let id = |token: &str| {
        let found = inner.token_to_id(token).map(|id| (token.to_owned(), id));
        found.ok_or_else(|| LmError::file(vocab, format!("no token `{token}`"), "RoBERTa's special tokens"))
    };
    let processing =
        RobertaProcessing::new(id("</s>")?, id("<s>")?).trim_offsets(true).add_prefix_space(add_prefix_space);
    let byte_level = ByteLevel::default().add_prefix_space(add_prefix_space);
    inner
        .with_pre_tokenizer(Some(PreTokenizerWrapper::from(byte_level)))
        .with_decoder(Some(DecoderWrapper::from(ByteLevel::default())))
        .with_post_processor(Some(PostProcessorWrapper::from(processing)));
    let special = ["<s>", "<pad>", "</s>", "<unk>"].map(|token| AddedToken::from(token, true));
    // The mask takes the space before it into itself.
    let mask = AddedToken::from("<mask>", true).lstrip(true);
    let added = special.into_iter().chain([mask]);
    let known: Vec<AddedToken> = added.filter(|token| inner.token_to_id(&token.content).is_some()).collect();
    inner.add_special_tokens(known).map_err(|error| LmError::Tokenizer(error.to_string()))?;
    Ok(inner)
}

fn check_size(path: &Path) -> Result<(), LmError> {
    let size = std::fs::metadata(path).map_err(|error| LmError::io(path, error))?.len();
    if size > MAX_FILE_BYTES {
        return Err(LmError::file(path, format!("{size} bytes"), format!("at most {MAX_FILE_BYTES}")));
    }
    Ok(())
}

fn read(path: &PathBuf) -> Result<Vec<u8>, LmError> {
    check_size(path)?;
    std::fs::read(path).map_err(|error| LmError::io(path, error))
}
