//! Folders that are written here: read back bit-equal, laid out as Hugging Face lays them out, and left with
//! this crate's own logits beside them for `scripts/reference/check_export.py`.

use std::fs;
use std::path::{Path, PathBuf};

use lm::files::{self, Precision};
use lm::sequences::to_vec;
use lm::{Packing, Policy, ScalarModel, Scorer, Sequence, Stream, Tokenizer, Tokens};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::support::{device, families, fixture, parameters, random_policy, shape};

const TEXTS: [&str; 4] =
    ["The film was warm and funny.", "Zoë's café — 😀🎬!", "one\ntwo\n\n  three ", "not good, not good"];

fn policy_and_tokenizer() -> (Policy, Tokenizer) {
    let tokenizer = Tokenizer::train(&TEXTS, 300).unwrap();
    (random_policy(&shape(tokenizer.vocab_size(), 24, 16, 2), 0.4, 11, 1.0), tokenizer)
}

/// A Llama with a head of its own.
fn llama_and_tokenizer() -> (Policy, Tokenizer) {
    let tokenizer = Tokenizer::train(&TEXTS, 300).unwrap();
    let [_, _, untied, _] = families(tokenizer.vocab_size(), 24, 16, 2);
    (random_policy(&untied, 0.4, 11, 1.0), tokenizer)
}

fn gptj_and_tokenizer() -> (Policy, Tokenizer) {
    let tokenizer = Tokenizer::train(&TEXTS, 300).unwrap();
    let [.., gptj] = families(tokenizer.vocab_size(), 24, 16, 2);
    (random_policy(&gptj, 0.4, 11, 1.0), tokenizer)
}

fn target_folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

fn token_ids() -> [Vec<u32>; 3] {
    [vec![0_u32, 5, 259, 120, 7], vec![0], (0..24).map(|i| i * 11).collect()]
}

/// Writes token ids with the logits that `policy` gives them, and texts with their ids.
fn write_logits(dir: &Path, policy: &Policy, tokenizer: &Tokenizer) {
    let sequences = token_ids();
    let logits: Vec<Vec<f32>> = sequences
        .iter()
        .map(|ids| {
            let tokens = Tokens::new(ids, Packing::equal(1, ids.len()), &device());
            to_vec(policy.model().logits(policy.model().hidden(&tokens, None)))
        })
        .collect();
    let texts: Vec<Value> =
        TEXTS.iter().map(|text| json!({ "text": text, "ids": tokenizer.encode(text).unwrap() })).collect();
    let content = json!({ "sequences": sequences, "logits": logits, "texts": texts });
    fs::write(dir.join("logits.json"), content.to_string()).unwrap();
}

#[test]
fn f32_folders_are_bit_equal_when_read_back() {
    for (name, (policy, tokenizer)) in [
        ("export-f32", policy_and_tokenizer()),
        ("export-llama", llama_and_tokenizer()),
        ("export-gptj", gptj_and_tokenizer()),
    ] {
        let dir = target_folder(name);
        files::save_policy(&dir, &policy, &tokenizer, Precision::F32).unwrap();
        write_logits(&dir, &policy, &tokenizer);
        let (again, tokenizer_again) = files::load_policy(&dir, 1.0, &device()).unwrap();
        assert_eq!(parameters(&again), parameters(&policy));
        assert_eq!(again.model().config(), policy.model().config());
        assert_eq!(again.end(), tokenizer.end());
        for text in TEXTS {
            assert_eq!(tokenizer_again.encode(text).unwrap(), tokenizer.encode(text).unwrap());
        }
    }
}

#[test]
fn f16_folders_are_rounded_once() {
    let (policy, tokenizer) = policy_and_tokenizer();
    let dir = target_folder("export-f16");
    files::save_policy(&dir, &policy, &tokenizer, Precision::F16).unwrap();
    let (again, _) = files::load_policy(&dir, 1.0, &device()).unwrap();
    write_logits(&dir, &again, &tokenizer);
    let (exact, rounded) = (parameters(&policy), parameters(&again));
    assert_eq!(exact.keys().collect::<Vec<_>>(), rounded.keys().collect::<Vec<_>>());
    assert_ne!(exact, rounded);
    for (name, values) in &exact {
        for (want, got) in values.iter().zip(&rounded[name]) {
            // Half a unit in the last of 11 significant bits, or half the smallest subnormal.
            let half_unit = want.abs() * 2.0_f32.powi(-11) + 2.0_f32.powi(-25);
            assert!((want - got).abs() <= half_unit, "{name}: {got} is not {want}");
        }
    }
    // What f16 holds exactly survives a second trip unchanged.
    files::save_policy(&dir, &again, &tokenizer, Precision::F16).unwrap();
    assert_eq!(parameters(&files::load_policy(&dir, 1.0, &device()).unwrap().0), rounded);
}

/// Names, shapes and bytes of a folder's tensors.
fn sorted_tensors(dir: &Path) -> Vec<(String, Vec<usize>, Vec<u8>)> {
    let bytes = fs::read(dir.join("model.safetensors")).unwrap();
    let mut tensors: Vec<_> = SafeTensors::deserialize(&bytes)
        .unwrap()
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, view.shape().to_vec(), view.data().to_vec()))
        .collect();
    tensors.sort();
    tensors
}

#[test]
fn a_hugging_face_file_is_written_back_tensor_for_tensor() {
    let (policy, tokenizer) = files::load_policy(&fixture("gpt2"), 1.0, &device()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    files::save_policy(dir.path(), &policy, &tokenizer, Precision::F32).unwrap();
    assert!(sorted_tensors(&fixture("gpt2")) == sorted_tensors(dir.path()), "names, shapes or bytes differ");

    let read = |dir: &Path| -> Value {
        serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap()
    };
    let (theirs, ours) = (read(&fixture("gpt2")), read(dir.path()));
    for key in ["architectures", "model_type", "activation_function", "bos_token_id", "eos_token_id"] {
        assert_eq!(theirs[key], ours[key], "{key}");
    }
}

#[test]
fn scalar_models_are_bit_equal_when_read_back() {
    for (name, (policy, tokenizer)) in [
        ("export-score", policy_and_tokenizer()),
        ("export-llama-score", llama_and_tokenizer()),
        ("export-gptj-score", gptj_and_tokenizer()),
    ] {
        let model = ScalarModel::with_random_head(policy.model().clone(), Stream::new(3, "test head"));
        let dir = target_folder(name);
        files::save_scalar_model(&dir, &model, &tokenizer, Precision::F32).unwrap();
        let again = files::load_scalar_model(&dir, &device()).unwrap();
        assert_eq!(parameters(&again), parameters(&model));
        assert_eq!(to_vec(again.head()), to_vec(model.head()));
        // The padding token has no place in a sequence: transformers takes what is before it for the end.
        let sequences = token_ids()
            .map(|ids| ids.into_iter().map(|id| if id == tokenizer.pad() { 2 } else { id }).collect());
        let whole = |ids: &Vec<u32>| Sequence { prompt: ids.clone(), response: vec![] };
        let scores = again.score(&sequences.each_ref().map(whole)).unwrap();
        let content = json!({ "sequences": sequences, "scores": scores, "texts": [] });
        fs::write(dir.join("logits.json"), content.to_string()).unwrap();
    }
}

#[test]
fn other_families_of_hugging_face_are_written_back_tensor_for_tensor() {
    for name in ["llama/full-tied", "gptj/partial"] {
        is_written_back(&fixture(name));
    }
}

fn is_written_back(folder: &Path) {
    let (policy, tokenizer) = files::load_policy(folder, 1.0, &device()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    files::save_policy(dir.path(), &policy, &tokenizer, Precision::F32).unwrap();
    assert!(sorted_tensors(folder) == sorted_tensors(dir.path()), "names, shapes or bytes differ");
    let read = |dir: &Path, name: &str| -> Value {
        serde_json::from_slice(&fs::read(dir.join(name)).unwrap()).unwrap()
    };
    let (theirs, ours) = (read(folder, "config.json"), read(dir.path(), "config.json"));
    // What they write and we need not, and the type, which they rename.
    let left = ["transformers_version", "dtype", "pretraining_tp"];
    for (key, value) in theirs.as_object().unwrap().iter().filter(|(key, _)| !left.contains(&key.as_str())) {
        assert_eq!(&ours[key], value, "{key}");
    }
    let (theirs, ours) = (read(folder, "generation_config.json"), read(dir.path(), "generation_config.json"));
    for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
        assert_eq!(theirs[key], ours[key], "{key}");
    }
    let (theirs, ours) = (read(folder, "tokenizer_config.json"), read(dir.path(), "tokenizer_config.json"));
    for key in ["bos_token", "eos_token", "pad_token", "model_max_length", "tokenizer_class"] {
        assert_eq!(theirs[key], ours[key], "{key}");
    }
    assert_eq!(ours["model_input_names"], json!(["input_ids", "attention_mask"]));
}
