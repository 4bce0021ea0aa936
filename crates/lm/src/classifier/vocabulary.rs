//! Tokenizers of encoders, trained on texts: for encoders of random weights.

use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainerBuilder};
use tokenizers::normalizers::bert::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::processors::roberta::RobertaProcessing;
use tokenizers::{
    AddedToken, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    Tokenizer,
};

use super::tokenizer::TextTokenizer;
use crate::LmError;
use crate::architecture::EncoderFamily;
use crate::problem::Problem;

/// Entries for special tokens and the alphabet that every vocabulary has room for.
const LEAST: usize = 300;
/// Most letters of `WordPiece`'s alphabet, the commonest ones; other texts' letters are unknown then.
const ALPHABET: usize = 120;

impl TextTokenizer {
    /// Trains the family's kind of tokenizer to at most `vocab_size` entries: `WordPiece` on lower-cased
    /// words for BERT and DistilBERT, byte-level BPE for RoBERTa, special tokens first.
    ///
    /// # Errors
    /// [`LmError::Config`] for fewer than 300 entries.
    pub fn train(family: EncoderFamily, texts: &[&str], vocab_size: usize) -> Result<Self, LmError> {
        if vocab_size < LEAST {
            return Err(Problem::new("vocab_size", vocab_size, format!("at least {LEAST}")).into());
        }
        let trained = match family {
            EncoderFamily::Bert | EncoderFamily::Distilbert => word_piece(texts, vocab_size),
            EncoderFamily::Roberta => byte_level(texts, vocab_size),
        };
        Self::made(trained.map_err(|error| LmError::Tokenizer(error.to_string()))?)
    }
}

fn special<const N: usize>(names: [&str; N]) -> Vec<AddedToken> {
    names.map(|name| AddedToken::from(name, true)).to_vec()
}

fn id(tokenizer: &Tokenizer, token: &str) -> (String, u32) {
    // Special tokens are the first entries of a vocabulary that is trained here.
    (token.to_owned(), tokenizer.token_to_id(token).unwrap_or_default())
}

fn word_piece(texts: &[&str], vocab_size: usize) -> tokenizers::Result<Tokenizer> {
    let special = special(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]);
    let mut trainer: TrainerWrapper = WordPieceTrainerBuilder::new()
        .vocab_size(vocab_size)
        .min_frequency(2)
        .show_progress(false)
        .limit_alphabet(ALPHABET)
        .special_tokens(special)
        .build()
        .into();
    let mut tokenizer = Tokenizer::new(ModelWrapper::from(WordPiece::default()));
    tokenizer.with_normalizer(Some(NormalizerWrapper::from(BertNormalizer::default())))?;
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::from(BertPreTokenizer)));
    tokenizer.train(&mut trainer, texts.iter())?;
    let processing = BertProcessing::new(id(&tokenizer, "[SEP]"), id(&tokenizer, "[CLS]"));
    tokenizer.with_post_processor(Some(PostProcessorWrapper::from(processing)));
    Ok(tokenizer)
}

fn byte_level(texts: &[&str], vocab_size: usize) -> tokenizers::Result<Tokenizer> {
    let mut trainer: TrainerWrapper = BpeTrainerBuilder::new()
        .vocab_size(vocab_size)
        .min_frequency(2)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(special(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]))
        .build()
        .into();
    let bytes = ByteLevel::default().add_prefix_space(false);
    let mut tokenizer = Tokenizer::new(ModelWrapper::from(BPE::default()));
    tokenizer
        .with_pre_tokenizer(Some(PreTokenizerWrapper::from(bytes)))
        .with_decoder(Some(DecoderWrapper::from(ByteLevel::default())));
    tokenizer.train(&mut trainer, texts.iter())?;
    let processing =
        RobertaProcessing::new(id(&tokenizer, "</s>"), id(&tokenizer, "<s>")).add_prefix_space(false);
    tokenizer.with_post_processor(Some(PostProcessorWrapper::from(processing)));
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::Truncation;

    #[test]
    fn texts_are_read_between_the_special_tokens_of_their_family() {
        let texts = ["The film was great, and the actors were great too"; 4];
        for (family, ends) in [
            (EncoderFamily::Bert, ["[CLS]", "[SEP]"]),
            (EncoderFamily::Distilbert, ["[CLS]", "[SEP]"]),
            (EncoderFamily::Roberta, ["<s>", "</s>"]),
        ] {
            let tokenizer = TextTokenizer::train(family, &texts, 320).unwrap();
            let dir = tempfile::tempdir().unwrap();
            tokenizer.save(&dir.path().join("tokenizer.json")).unwrap();
            let read = TextTokenizer::load(dir.path(), false).unwrap();
            let ids = read.encode("The film", 64, Truncation::Head).unwrap();
            assert_eq!(ids, tokenizer.encode("The film", 64, Truncation::Head).unwrap());
            let file = Tokenizer::from_file(dir.path().join("tokenizer.json")).unwrap();
            let [first, last] = ends.map(|token| file.token_to_id(token).unwrap());
            assert_eq!((ids[0], ids[ids.len() - 1]), (first, last), "{family:?}");
            // Both words were seen often enough to be entries.
            assert_eq!(ids.len(), 4, "{family:?}: {ids:?}");
            assert!(tokenizer.ids() <= 320);
        }
        assert!(TextTokenizer::train(EncoderFamily::Bert, &texts, 100).is_err());
    }
}
