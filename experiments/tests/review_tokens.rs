//! Tokenizers agree with `transformers` on 1,000 reviews of IMDb, which cannot be in the repository: what
//! `scripts/reference/review_tokens.py` keeps of each is the number of token ids and a digest of them.
//!
//! ```sh
//! cargo run -p experiments -- fetch imdb        # data/cache/aclImdb_v1.tar.gz
//! SMOLLM2=DIR MINILM=DIR cargo test --workspace --test review_tokens -- --ignored
//! ```
//!
//! `REVIEWS` names another place of the archive, `SMOLLM2` and `MINILM` the folders of the models,
//! which the script describes.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use imdb::reviews::archive::read_tar_gz;
use lm::classifier::{TextTokenizer, Truncation, Window};
use lm::{DeviceSpec, Stream, Tokenizer, files};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const SIDE: usize = 500;

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The place that a variable of the environment names.
fn place(variable: &str) -> PathBuf {
    std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} names no folder of a model")).into()
}

/// The first reviews of each side of the test split, in the order of their names.
fn reviews() -> Vec<(String, String)> {
    let archive = std::env::var_os("REVIEWS")
        .map_or_else(|| repository().join("data/cache/aclImdb_v1.tar.gz"), PathBuf::from);
    let file = File::open(&archive).unwrap_or_else(|error| panic!("{}: {error}", archive.display()));
    let raw = read_tar_gz(file, &archive).unwrap().reviews;
    let side =
        |prefix: &'static str| raw.iter().filter(move |review| review.id.starts_with(prefix)).take(SIDE);
    let chosen: Vec<_> = side("test/neg/").chain(side("test/pos/")).collect();
    assert_eq!(chosen.len(), 2 * SIDE);
    chosen.into_iter().map(|review| (review.id.clone(), review.text.clone())).collect()
}

/// Number of ids, and the first 8 bytes of SHA-256 over the ids as little-endian u32.
fn digest(ids: &[u32]) -> String {
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    let hash = Sha256::digest(&bytes);
    let start = u64::from_be_bytes(*hash.first_chunk().unwrap());
    format!("{}:{start:016x}", ids.len())
}

/// Every review has the ids of a column of the fixture.
fn assert_agree(column: &str, encode: impl Fn(&str) -> Vec<u32>) {
    let fixture = repository().join("experiments/tests/fixtures/review_tokens.csv");
    let mut rows = csv::Reader::from_path(fixture).unwrap();
    let known: Vec<BTreeMap<String, String>> = rows.deserialize().map(Result::unwrap).collect();
    let reviews = reviews();
    assert_eq!(known.len(), reviews.len());
    for (known, (id, text)) in known.iter().zip(&reviews) {
        assert_eq!(known["review"], *id);
        assert_eq!(digest(&encode(text)), known[column], "{column} of {id}");
    }
}

#[test]
#[ignore = "needs the reviews of IMDb"]
fn the_shipped_tokenizer() {
    let tokenizer = Tokenizer::load(&repository().join("data/reference-lm/tokenizer.json")).unwrap();
    assert_agree("shipped", |text| tokenizer.encode(text).unwrap());
}

/// The shipped vocabulary as RoBERTa's two files, with its special tokens at the end.
#[test]
#[ignore = "needs the reviews of IMDb"]
fn vocabulary_and_merges() {
    let file = fs::read(repository().join("data/reference-lm/tokenizer.json")).unwrap();
    let model = serde_json::from_slice::<Value>(&file).unwrap()["model"].take();
    let mut vocabulary = model["vocab"].as_object().unwrap().clone();
    for token in ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] {
        assert_eq!(vocabulary.insert(token.to_owned(), json!(vocabulary.len())), None);
    }
    let merge = |merge: &Value| match merge.as_array() {
        Some(pair) => format!("{} {}\n", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
        None => format!("{}\n", merge.as_str().unwrap()),
    };
    let merges: String = model["merges"].as_array().unwrap().iter().map(merge).collect();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("vocab.json"), Value::from(vocabulary).to_string()).unwrap();
    fs::write(folder.path().join("merges.txt"), format!("#version: 0.2\n{merges}")).unwrap();
    let tokenizer = TextTokenizer::load(folder.path(), false).unwrap();
    assert_agree("vocab_merges", |text| tokenizer.encode(text, usize::MAX, Truncation::Head).unwrap());
}

#[test]
#[ignore = "needs the reviews of IMDb and SmolLM2"]
fn smollm2() {
    let tokenizer = files::load_tokenizer(&place("SMOLLM2")).unwrap();
    assert_agree("smollm2", |text| tokenizer.encode(text).unwrap());
}

/// Special tokens included; also cut to the window, as a [`lm::Classifier`] reads a text.
#[test]
#[ignore = "needs the reviews of IMDb and all-MiniLM-L6-v2"]
fn minilm() {
    let device = DeviceSpec::CPU.open().unwrap();
    let labels = ["NEGATIVE", "POSITIVE"];
    let classifier = files::load_encoder(&place("MINILM"), &labels, Stream::new(0, "head"), &device).unwrap();
    assert_eq!(classifier.window(), Window { tokens: 512, truncation: Truncation::Head });
    let whole = |text: &str| classifier.tokenizer().encode(text, usize::MAX, Truncation::Head).unwrap();
    assert_agree("minilm", whole);
    assert_agree("minilm_cut", |text| classifier.encode(&[text]).unwrap().remove(0));
    assert!(reviews().iter().any(|(_, text)| whole(text).len() > 512), "no review is cut");
}
