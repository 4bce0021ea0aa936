//! Damaged and hostile GGUF files are refused with the key or the tensor, before anything is written.

use std::fs;

use lm::files::import_gguf;
use proptest::prelude::*;

use crate::gguf_file::{File, Tensor, Value, of_fixture, text, written};

fn file() -> File {
    of_fixture("llama/full-tied")
}

/// The message with which a file is refused.
fn refusal(bytes: &[u8]) -> String {
    let (folder, path) = written(bytes);
    let out = folder.path().join("out");
    let message = import_gguf(&path, &out).expect_err("a damaged file").to_string();
    assert!(!out.exists(), "something was written");
    assert!(message.contains(&path.display().to_string()), "`{message}` does not name the file");
    message
}

#[track_caller]
fn assert_refused(edit: impl FnOnce(&mut File), parts: &[&str]) {
    let mut file = file();
    edit(&mut file);
    let message = refusal(&file.bytes());
    for part in parts {
        assert!(message.contains(part), "`{message}` does not say `{part}`");
    }
}

#[test]
fn what_is_no_gguf_file_is_told() {
    let bytes = file().bytes();
    assert!(refusal(&[]).contains("expected a whole GGUF file"));
    assert!(refusal(b"PK\x03\x04 and so on").contains("expected GGUF"));
    assert_refused(|file| file.version = 1, &["found version 1", "2 or 3"]);
    assert_refused(|file| file.version = 3_u32.swap_bytes(), &["expected 2 or 3, little-endian"]);
    for length in [3, 7, 15, 23, 24, 100, 5000, bytes.len() / 2, bytes.len() - 1] {
        let message = refusal(&bytes[..length]);
        assert!(message.contains("expected"), "{message}");
    }
}

#[test]
fn counts_and_lengths_that_lie_allocate_nothing() {
    const HUGE: u64 = u64::MAX / 16;
    assert_refused(|file| file.claimed = Some([HUGE, 2]), &["keys of metadata", "elements where"]);
    assert_refused(
        |file| file.claimed = Some([file.metadata.len() as u64, HUGE]),
        &["tensors: ", "elements where"],
    );
    let long = [&HUGE.to_le_bytes()[..], b"short"].concat();
    assert_refused(
        |file| file.set("general.name", Value::Raw(8, long)),
        &["general.name: ", "elements where"],
    );
    let array = [&4_u32.to_le_bytes()[..], &HUGE.to_le_bytes(), &[0; 8]].concat();
    assert_refused(
        |file| file.set("general.numbers", Value::Raw(9, array)),
        &["general.numbers: ", "elements where"],
    );
    let nested = [&9_u32.to_le_bytes()[..], &1_u64.to_le_bytes(), &[0; 16]].concat();
    assert_refused(
        |file| file.set("general.nested", Value::Raw(9, nested)),
        &["general.nested: a value of type 9", "0 to 8 or 10 to 12"],
    );
    assert_refused(|file| file.set("general.odd", Value::Raw(13, vec![0; 8])), &["general.odd", "type 13"]);
    assert_refused(
        |file| file.set("general.odd", Value::Raw(7, vec![2])),
        &["general.odd = 2", "truth value"],
    );
    let bytes = [&2_u64.to_le_bytes()[..], &[0xff, 0xfe]].concat();
    assert_refused(
        |file| file.set("general.odd", Value::Raw(8, bytes)),
        &["general.odd: ", "expected UTF-8"],
    );
    assert_refused(
        |file| file.metadata.push(("llama.block_count".to_owned(), Value::U32(3))),
        &["the key llama.block_count twice"],
    );
}

#[test]
fn impossible_places_of_tensors_are_refused() {
    const NAME: &str = "blk.1.ffn_up.weight";
    let named = format!("tensor `{NAME}`");
    let refused = |edit: &dyn Fn(&mut Tensor), part: &str| {
        assert_refused(|file| edit(file.tensor(NAME)), &[&named, part]);
    };
    refused(&|tensor| tensor.kind = 14, "found type 14, expected 0 (F32)");
    refused(&|tensor| tensor.dims = vec![], "found 0 dimensions");
    refused(&|tensor| tensor.dims = vec![1; 5], "found 5 dimensions");
    refused(&|tensor| tensor.dims = vec![0, 40], "the dimensions [0, 40]");
    refused(&|tensor| tensor.dims = vec![1 << 40, 1 << 40], "expected rows of whole blocks of 1, F32");
    refused(&|tensor| tensor.dims = vec![1 << 40, 2], "expected an end within the");
    refused(&|tensor| tensor.kind = 8, "expected rows of whole blocks of 32, Q8_0");
    refused(&|tensor| tensor.offset = Some(4), "the offset 4, expected a multiple of 32");
    refused(&|tensor| tensor.offset = Some(u64::MAX - 31), "expected an end within the");
    refused(&|tensor| tensor.offset = Some(1 << 40), "expected an end within the");
    assert_refused(|file| file.tensor(NAME).offset = Some(0), &["tensor `", "that `", "a place of its own"]);
    assert_refused(
        |file| {
            let twin = file.tensor(NAME).clone();
            file.tensors.push((NAME.to_owned(), twin));
        },
        &[&named, "found it twice"],
    );
    for alignment in [0, 4, 48] {
        assert_refused(
            |file| file.set("general.alignment", Value::U32(alignment)),
            &[&format!("general.alignment = {alignment}"), "a power of 2"],
        );
    }
}

#[test]
fn tensors_that_are_not_a_llamas_are_refused() {
    let remove = |file: &mut File, name: &str| file.tensors.retain(|(found, _)| found != name);
    assert_refused(
        |file| remove(file, "blk.0.attn_k.weight"),
        &["tensor `blk.0.attn_k.weight`", "no such tensor"],
    );
    assert_refused(|file| remove(file, "token_embd.weight"), &["tensor `token_embd.weight`", "no such"]);
}

#[test]
fn misshapen_and_foreign_tensors_are_refused() {
    assert_refused(
        |file| file.tensor("blk.1.ffn_gate.weight").dims.reverse(),
        &["tensor `blk.1.ffn_gate.weight`", "found shape [24, 40]", "expected shape [40, 24]"],
    );
    assert_refused(
        |file| {
            let norm = file.tensor("output_norm.weight").clone();
            file.tensors.push(("rope_freqs.weight".to_owned(), norm));
        },
        &["tensor `rope_freqs.weight`", "the tensors of a Llama only"],
    );
    assert_refused(
        |file| file.tensor("output_norm.weight").data[..4].copy_from_slice(&f32::NAN.to_le_bytes()),
        &["tensor `output_norm.weight`", "1 values that are not finite"],
    );
}

#[test]
fn keys_that_are_missing_impossible_or_not_computed_are_named() {
    for (key, value, part) in [
        ("general.architecture", Value::Text("qwen2".to_owned()), "\"qwen2\", expected \"llama\""),
        ("llama.block_count", Value::U32(u32::MAX), "blk.2.attn_norm.weight"),
        ("llama.block_count", Value::Text("two".to_owned()), "\"two\", expected a count"),
        ("llama.attention.head_count", Value::U32(5), "expected a divisor of llama.embedding_length = 24"),
        ("llama.attention.head_count", Value::U32(0), "expected a divisor of llama.embedding_length = 24"),
        ("llama.attention.key_length", Value::U32(10), "llama.rope.dimension_count = 8, expected 10"),
        ("llama.attention.value_length", Value::U32(10), "= 10, expected 8"),
        ("llama.rope.scaling.type", Value::Text("yarn".to_owned()), "\"yarn\", expected \"none\""),
        ("llama.rope.scaling.factor", Value::F32(2.0), "= 2, expected 1"),
        ("llama.expert_count", Value::U32(8), "= 8, expected no experts"),
        ("llama.rope.freq_base", Value::F32(-1.0), "rope_theta: found -1"),
        ("llama.rope.freq_base", Value::U32(1), "= 1, expected a number with a fraction"),
        ("tokenizer.ggml.model", Value::Text("llama".to_owned()), "\"llama\", expected \"gpt2\""),
        ("tokenizer.ggml.pre", Value::Text("qwen2".to_owned()), "\"qwen2\", expected \"gpt-2\""),
        ("tokenizer.ggml.tokens", Value::Texts(vec!["a".to_owned()]), "an array of 1, expected 300"),
        ("tokenizer.ggml.tokens", Value::Texts(vec!["a".to_owned(); 300]), "\"a\" at 0 and at 1"),
        ("tokenizer.ggml.tokens", Value::U32(1), "expected an array of texts"),
        ("tokenizer.ggml.token_type", Value::I32s(vec![-1; 300]), "expected an array of counts"),
        ("tokenizer.ggml.merges", Value::Texts(vec!["no such".to_owned()]), "\"no such\" at 0, expected two"),
        ("tokenizer.ggml.merges", Value::Texts(vec!["one".to_owned()]), "\"one\" at 0, expected two tokens"),
        ("tokenizer.ggml.eos_token_id", Value::U32(300), "= 300, expected an id below 300"),
    ] {
        assert_refused(|file| file.set(key, value), &[part]);
    }
    for key in ["general.architecture", "llama.context_length", "tokenizer.ggml.tokens", "tokenizer.ggml.pre"]
    {
        let without = |file: &mut File| file.metadata.retain(|(found, _)| found != key);
        assert_refused(without, &[&format!("no key {key}")]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to its bytes, a file is read or refused.
    #[test]
    fn any_damage_is_an_error_or_harmless(
        places in proptest::collection::vec((0.0..1.0_f64, any::<u8>()), 1..8),
        header_only in any::<bool>(),
        cut in proptest::option::of(0.0..1.0_f64),
    ) {
        let mut bytes = file().bytes();
        let reach = if header_only { bytes.len() / 8 } else { bytes.len() };
        for (place, byte) in places {
            bytes[(place * reach as f64) as usize] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate((cut * bytes.len() as f64) as usize);
        }
        let (folder, path) = written(&bytes);
        let out = folder.path().join("out");
        let outcome = import_gguf(&path, &out);
        prop_assert_eq!(outcome.is_ok(), fs::exists(out.join("model.safetensors")).unwrap());
    }

    /// Bytes behind a plausible beginning.
    #[test]
    fn any_header_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200), key in "[a-z.]{0,12}") {
        let start = [&b"GGUF\x03\x00\x00\x00"[..], &1_u64.to_le_bytes(), &1_u64.to_le_bytes(), &text(&key)];
        let (folder, path) = written(&[&start.concat()[..], &bytes].concat());
        prop_assert!(import_gguf(&path, &folder.path().join("out")).is_err());
    }
}
