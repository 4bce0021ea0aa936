//! Byte-level BPE: every text comes back, special tokens stay apart, files survive.

use std::sync::LazyLock;
use std::time::Instant;

use lm::tokenizer::{END_TOKEN, PAD_TOKEN};
use lm::{Stream, Tokenizer};
use proptest::prelude::*;
use rand::RngExt;

const TEXTS: [&str; 3] = [
    "The harbour was quiet, and the film was quiet, and the end was quiet.",
    "It was not the worst film; it was not the best film either.",
    "Naïve café, naïve film. Naïve 😀 😀 😀.\n\nThe end.",
];

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::train(&TEXTS, 320).unwrap());

#[test]
fn the_vocabulary_is_as_large_as_asked_or_as_the_texts_allow() {
    assert_eq!(Tokenizer::train(&TEXTS, 280).unwrap().vocab_size(), 280);
    // No pair of bytes occurs twice: 256 bytes and two special tokens are all there is.
    assert_eq!(Tokenizer::train(&["abcdefg"], 300).unwrap().vocab_size(), 258);
    let message = Tokenizer::train(&TEXTS, 257).unwrap_err().to_string();
    assert_eq!(message, "vocab_size: found 257, expected at least 258");
}

#[test]
fn frequent_words_are_one_token() {
    let ids = TOKENIZER.encode(" film").unwrap();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert!(TOKENIZER.encode("zqxj").unwrap().len() == 4);
}

#[test]
fn texts_come_back() {
    for text in [
        "",
        " ",
        "a",
        "  two  spaces ",
        "line\nline\r\n\n\ttab",
        "Zoë 😀👩‍🚀 日本語 \u{0}\u{7f}",
        "don't: it's 10/10!",
    ] {
        let ids = TOKENIZER.encode(text).unwrap();
        assert_eq!(TOKENIZER.decode(&ids).unwrap(), text);
        assert!(ids.iter().all(|&id| (id as usize) < TOKENIZER.vocab_size()));
    }
}

proptest! {
    #[test]
    fn any_text_comes_back(text in ".{0,40}(\n|😀| )?[a-z é]{0,10}") {
        let ids = TOKENIZER.encode(&text).unwrap();
        prop_assert!(!ids.contains(&TOKENIZER.end()) && !ids.contains(&TOKENIZER.pad()));
        prop_assert_eq!(TOKENIZER.decode(&ids).unwrap(), text);
    }
}

#[test]
fn special_tokens_are_apart_and_leave_no_trace() {
    let (end, pad) = (TOKENIZER.end(), TOKENIZER.pad());
    assert_ne!(end, pad);
    let mut ids = vec![end];
    ids.extend(TOKENIZER.encode("The end.").unwrap());
    ids.extend([end, pad, pad]);
    assert_eq!(TOKENIZER.decode(&ids).unwrap(), "The end.");
}

#[test]
fn batches_are_the_texts_one_by_one() {
    let one_by_one: Vec<Vec<u32>> = TEXTS.iter().map(|text| TOKENIZER.encode(text).unwrap()).collect();
    assert_eq!(TOKENIZER.encode_batch(&TEXTS).unwrap(), one_by_one);
}

#[test]
fn training_repeats() {
    let again = Tokenizer::train(&TEXTS, 320).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.json"), folder.path().join("b.json"));
    TOKENIZER.save(&a).unwrap();
    again.save(&b).unwrap();
    assert!(std::fs::read(a).unwrap() == std::fs::read(b).unwrap());
}

/// One word of a million bytes, whose merges alone would take hours.
#[test]
fn words_that_no_language_has_take_no_time_and_teach_nothing() {
    let bytes = |from: u8, to: u8| -> String {
        let mut rng = Stream::new(5, "letters").rng();
        (0..1_000_000).map(|_| char::from(rng.random_range(from..=to))).collect()
    };
    let saved = |tokenizer: &Tokenizer| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        tokenizer.save(&path).unwrap();
        std::fs::read(path).unwrap()
    };
    let long = [bytes(b'a', b'z'), bytes(b'0', b'9'), bytes(b'!', b'/'), " ".repeat(1_000_000)];
    for word in &long {
        let started = Instant::now();
        let texts = [&TEXTS[..], &[word.as_str()]].concat();
        let tokenizer = Tokenizer::train(&texts, 320).unwrap();
        assert!(saved(&tokenizer) == saved(&TOKENIZER), "{}... changed the merges", &word[..20]);
        let ids = tokenizer.encode(word).unwrap();
        assert!(tokenizer.decode(&ids).unwrap() == *word, "{}... does not come back", &word[..20]);
        let seconds = started.elapsed().as_secs_f64();
        assert!(seconds < 20.0, "{}... took {seconds:.0} s", &word[..20]);
    }
}

/// The longest word that counts, and one byte more.
#[test]
fn long_words_are_learned_from_up_to_their_limit() {
    let learned = |length: usize| {
        let word = "ab".repeat(length).chars().take(length).collect::<String>();
        Tokenizer::train(&[&word], 300).unwrap().vocab_size()
    };
    assert!(learned(256) > 258);
    assert_eq!(learned(257), 258);
}

#[test]
fn files_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    TOKENIZER.save(&path).unwrap();
    let again = Tokenizer::load(&path).unwrap();
    assert_eq!(
        (again.vocab_size(), again.end(), again.pad()),
        (TOKENIZER.vocab_size(), TOKENIZER.end(), TOKENIZER.pad())
    );
    for text in TEXTS {
        assert_eq!(again.encode(text).unwrap(), TOKENIZER.encode(text).unwrap());
    }
}

#[test]
fn a_file_without_a_padding_token_pads_with_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    TOKENIZER.save(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(END_TOKEN) && text.contains(PAD_TOKEN));
    std::fs::write(&path, text.replace(PAD_TOKEN, "<|other|>")).unwrap();
    let again = Tokenizer::load(&path).unwrap();
    assert_eq!(again.pad(), again.end());
}

#[test]
fn padding_and_truncation_in_a_file_are_switched_off() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    TOKENIZER.save(&path).unwrap();
    let mut file: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    file["truncation"] = serde_json::json!({
        "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0
    });
    file["padding"] = serde_json::json!({
        "strategy": { "Fixed": 64 }, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 1, "pad_type_id": 0, "pad_token": PAD_TOKEN
    });
    std::fs::write(&path, file.to_string()).unwrap();
    let again = Tokenizer::load(&path).unwrap();
    assert_eq!(again.encode(TEXTS[0]).unwrap(), TOKENIZER.encode(TEXTS[0]).unwrap());
}
