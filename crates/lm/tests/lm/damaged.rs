//! Damaged folders are refused with a message that names the file, the tensor or key, what was
//! found and what was expected.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lm::architecture::{Gpt2Activation, Gpt2Config, LoraConfig};
use lm::{Config, DecoderConfig, LmError, files};
use safetensors::tensor::{TensorView, serialize_to_file};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{device, fixture};

pub(crate) type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

pub(crate) fn copy_of_fixture() -> TempDir {
    copy_of("gpt2")
}

/// A copy of a fixture, but for what transformers computes with it.
pub(crate) fn copy_of(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let file = entry.unwrap().file_name();
        if file != "expected.json" {
            fs::copy(fixture(name).join(&file), folder.path().join(&file)).unwrap();
        }
    }
    folder
}

pub(crate) fn edit_tensors(folder: &Path, edit: impl FnOnce(&mut Tensors)) {
    edit_tensors_of(&folder.join("model.safetensors"), edit);
}

pub(crate) fn edit_tensors_of(path: &Path, edit: impl FnOnce(&mut Tensors)) {
    let bytes = fs::read(path).unwrap();
    let mut tensors: Tensors = SafeTensors::deserialize(&bytes)
        .unwrap()
        .tensors()
        .into_iter()
        .map(|(name, view)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec())))
        .collect();
    edit(&mut tensors);
    let views = tensors.iter().map(|(name, (dtype, shape, data))| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    serialize_to_file(views, None, path).unwrap();
}

fn edit_config(folder: &Path, key: &str, value: Value) {
    edit_json(folder, "config.json", |config| config[key] = value);
}

pub(crate) fn edit_json(folder: &Path, file: &str, edit: impl FnOnce(&mut Value)) {
    let path = folder.join(file);
    let mut content: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    edit(&mut content);
    fs::write(&path, content.to_string()).unwrap();
}

/// The message with which a folder is refused; it must hold all of `parts` and the path of `file`.
#[track_caller]
pub(crate) fn assert_refused(folder: &Path, file: &str, parts: &[&str]) {
    let message = files::load_policy(folder, 1.0, &device()).expect_err("a damaged folder").to_string();
    let path = folder.join(file).display().to_string();
    for part in parts.iter().chain([&path.as_str()]) {
        assert!(message.contains(part), "`{message}` does not say `{part}`");
    }
}

const QKV: &str = "transformer.h.1.attn.c_attn.weight";

#[test]
fn a_missing_tensor_is_named() {
    let folder = copy_of_fixture();
    edit_tensors(folder.path(), |tensors| {
        tensors.remove(QKV).unwrap();
    });
    assert_refused(folder.path(), "model.safetensors", &[QKV, "found no such tensor", "shape [24, 72]"]);
}

#[test]
fn a_misshapen_tensor_is_named() {
    let folder = copy_of_fixture();
    edit_tensors(folder.path(), |tensors| tensors.get_mut(QKV).unwrap().1 = vec![72, 24]);
    let parts = [QKV, "found shape [72, 24]", "expected shape [24, 72]"];
    assert_refused(folder.path(), "model.safetensors", &parts);
}

#[test]
fn a_tensor_of_another_type_is_named() {
    let folder = copy_of_fixture();
    edit_tensors(folder.path(), |tensors| tensors.get_mut(QKV).unwrap().0 = Dtype::I32);
    assert_refused(folder.path(), "model.safetensors", &[QKV, "found type I32", "expected F32, F16 or BF16"]);
}

#[test]
fn weights_that_are_not_finite_are_counted_and_their_tensor_named() {
    let folder = copy_of_fixture();
    edit_tensors(folder.path(), |tensors| {
        let (dtype, _, data) = tensors.get_mut(QKV).unwrap();
        assert_eq!(*dtype, Dtype::F32);
        data[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        data[8..12].copy_from_slice(&f32::NEG_INFINITY.to_le_bytes());
    });
    assert_refused(folder.path(), "model.safetensors", &[QKV, "2 values that are not finite"]);
}

#[test]
fn a_pointer_of_git_lfs_is_told_from_weights() {
    let folder = copy_of_fixture();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n";
    fs::write(folder.path().join("model.safetensors"), pointer).unwrap();
    assert_refused(folder.path(), "model.safetensors", &["a pointer of Git LFS", "git lfs pull"]);
}

#[test]
fn truncated_weights_are_refused_at_any_length() {
    let folder = copy_of_fixture();
    let path = folder.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    for length in [0, 4, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..length]).unwrap();
        assert_refused(folder.path(), "model.safetensors", &["expected a safetensors file"]);
    }
}

#[test]
fn what_the_architecture_does_not_compute_is_refused() {
    for (key, value, expected) in [
        ("activation_function", json!("relu"), "\"gelu_new\" or \"gelu\""),
        ("model_type", json!("mistral"), "\"gpt2\", \"gptj\" or \"llama\""),
        ("tie_word_embeddings", json!(false), "true"),
        ("scale_attn_by_inverse_layer_idx", json!(true), "false"),
        ("n_inner", json!(95), "4 * n_embd"),
    ] {
        let folder = copy_of_fixture();
        edit_config(folder.path(), key, value.clone());
        let parts = [&format!("found {key} = {value}"), &format!("expected {expected}")];
        assert_refused(folder.path(), "config.json", &parts.map(String::as_str));
    }
}

#[test]
fn impossible_and_missing_keys_are_named() {
    let folder = copy_of_fixture();
    edit_config(folder.path(), "n_head", json!(5));
    let message = files::load_policy(folder.path(), 1.0, &device()).unwrap_err().to_string();
    assert_eq!(message, "n_head: found 5, expected a divisor of n_embd = 24");

    let impossible = Gpt2Config {
        vocab_size: 0,
        n_positions: 8,
        n_embd: 25,
        n_layer: 1,
        n_head: 2,
        layer_norm_epsilon: 0.0,
        activation_function: Gpt2Activation::GeluNew,
    };
    let keys: Vec<String> = impossible.problems().into_iter().map(|problem| problem.key).collect();
    assert_eq!(keys, ["vocab_size", "n_head", "layer_norm_epsilon"]);

    edit_config(folder.path(), "n_head", json!("three"));
    assert_refused(folder.path(), "config.json", &["string \"three\""]);
    edit_config(folder.path(), "n_head", json!(3));
    edit_config(folder.path(), "n_layer", Value::Null);
    assert_refused(folder.path(), "config.json", &["null"]);

    fs::write(folder.path().join("config.json"), "{ \"model_type\": \"gpt2\" }").unwrap();
    assert_refused(folder.path(), "config.json", &["missing field `vocab_size`"]);
    fs::write(folder.path().join("config.json"), "not JSON").unwrap();
    assert_refused(folder.path(), "config.json", &["expected JSON"]);
}

#[test]
fn an_impossible_size_is_refused_before_anything_is_allocated() {
    for (key, part) in [
        ("n_layer", "found 28 tensors, expected those of 1000000000000 layers"),
        ("vocab_size", "expected shape [1000000000000, 24]"),
        ("n_positions", "expected shape [1000000000000, 24]"),
    ] {
        let folder = copy_of_fixture();
        edit_config(folder.path(), key, json!(1_000_000_000_000_u64));
        assert_refused(folder.path(), "model.safetensors", &[part]);
    }
}

#[test]
fn a_tokenizer_larger_than_the_model_is_refused() {
    let folder = copy_of_fixture();
    edit_config(folder.path(), "vocab_size", json!(299));
    let parts = ["found 300 tokens", "at most the model's vocab_size of 299"];
    assert_refused(folder.path(), "tokenizer.json", &parts);
}

#[test]
fn a_giant_tokenizer_file_is_not_read() {
    let folder = copy_of_fixture();
    let bytes = (32 << 20) + 1;
    // A sparse file: it takes no space.
    let file = fs::File::create(folder.path().join("tokenizer.json")).unwrap();
    file.set_len(bytes).unwrap();
    assert_refused(folder.path(), "tokenizer.json", &[&format!("found {bytes} bytes"), "at most 33554432"]);
}

#[test]
fn broken_tokenizer_files_are_errors_and_not_panics() {
    let folder = copy_of_fixture();
    let path = folder.path().join("tokenizer.json");
    let good: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();

    fs::write(&path, "{}").unwrap();
    assert_refused(folder.path(), "tokenizer.json", &["expected a tokenizer.json"]);
    fs::write(&path, &good.to_string()[..2000]).unwrap();
    assert_refused(folder.path(), "tokenizer.json", &["expected a tokenizer.json"]);

    let mut merges = good.clone();
    merges["model"]["merges"] = json!([["no such", "tokens"]]);
    fs::write(&path, merges.to_string()).unwrap();
    assert_refused(folder.path(), "tokenizer.json", &["expected a tokenizer.json"]);

    // A hole: id 299 becomes 310.
    let mut hole = good.clone();
    let vocabulary = hole["model"]["vocab"].as_object_mut().unwrap();
    *vocabulary.values_mut().find(|id| **id == json!(299)).unwrap() = json!(310);
    fs::write(&path, hole.to_string()).unwrap();
    assert_refused(
        folder.path(),
        "tokenizer.json",
        &["300 tokens with ids up to 310", "a token for every id"],
    );

    let text = good.to_string().replace("<|endoftext|>", "<|end|>");
    fs::write(&path, text).unwrap();
    edit_config(folder.path(), "eos_token_id", Value::Null);
    edit_config(folder.path(), "bos_token_id", Value::Null);
    assert_refused(folder.path(), "tokenizer.json", &["found no end token", "`<|endoftext|>`"]);
}

#[test]
fn missing_files_are_named() {
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        let folder = copy_of_fixture();
        fs::remove_file(folder.path().join(file)).unwrap();
        assert_refused(folder.path(), file, &["No such file"]);
    }
}

#[test]
fn impossible_temperatures_are_refused() {
    for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let message = files::load_policy(&fixture("gpt2"), temperature, &device()).unwrap_err().to_string();
        assert_eq!(message, format!("temperature: found {temperature}, expected a positive number"));
    }
}

fn small_config(family: &str) -> Value {
    let mut config = match family {
        "llama" => json!({
            "vocab_size": 8, "max_position_embeddings": 12, "hidden_size": 4, "intermediate_size": 8,
            "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 2, "rms_norm_eps": 1e-5,
        }),
        _ => json!({
            "vocab_size": 8, "n_positions": 12, "n_embd": 4, "n_layer": 1, "n_head": 2, "rotary_dim": 2,
            "layer_norm_epsilon": 1e-5,
        }),
    };
    config["model_type"] = family.into();
    config
}

fn read(config: &Value) -> Result<DecoderConfig, LmError> {
    files::parse_config(Path::new("config.json"), config.clone())
}

/// Their products would overflow: a fuzzer's finding.
#[test]
fn sizes_that_no_model_has_are_refused_by_key() {
    let families = [
        ("gpt2", "n_embd"),
        ("gpt2", "n_layer"),
        ("gpt2", "n_positions"),
        ("gptj", "n_inner"),
        ("llama", "head_dim"),
        ("llama", "intermediate_size"),
    ];
    for (family, key) in families {
        let mut config = small_config(family);
        read(&config).unwrap();
        config[key] = json!(1_u64 << 62);
        let message = read(&config).unwrap_err().to_string();
        assert!(
            message.contains(&format!("{key}: found 4611686018427387904, expected at most")),
            "{message}"
        );
    }
}

/// Each size alone might be a model's.
#[test]
fn sizes_that_no_model_has_together_are_refused_before_they_are_multiplied() {
    let wide = 1_u64 << 40;
    for (family, changes, found) in [
        // Products beyond 64 bits, some of which would wrap around to 0.
        ("gpt2", vec![("n_embd", wide)], "2^64 or more"),
        ("gpt2", vec![("vocab_size", wide), ("n_embd", wide)], "2^64 or more"),
        ("gptj", vec![("n_embd", wide)], "2^64 or more"),
        ("gptj", vec![("n_embd", 1 << 33), ("n_inner", 1 << 33)], "2^64 or more"),
        ("llama", vec![("num_attention_heads", wide), ("head_dim", wide)], "2^64 or more"),
        ("llama", vec![("hidden_size", 1 << 32), ("intermediate_size", 1 << 32)], "2^64 or more"),
        // (8 + 12) d + 12 d^2 + 13 d + 2 d, of d = 2^27.
        ("gpt2", vec![("n_embd", 1 << 27)], "216172786811404288"),
    ] {
        let mut config = small_config(family);
        for (key, size) in changes {
            config[key] = size.into();
        }
        let message = read(&config).unwrap_err().to_string();
        let expected = format!("parameters: found {found}, expected at most 72057594037927936 by the sizes");
        assert!(message.contains(&expected), "{family}: {message}");
    }
    // A file may also say what it makes of the width.
    let mut config = small_config("gpt2");
    (config["n_embd"], config["n_inner"]) = ((1_u64 << 63).into(), 16.into());
    let message = read(&config).unwrap_err().to_string();
    assert!(message.contains("n_inner = 16"), "{message}");
}

#[test]
fn adapters_of_a_rank_or_a_depth_that_none_has_are_counted_at_once() {
    let lora = LoraConfig { rank: usize::MAX, alpha: 1.0, rslora: false, targets: vec!["c_attn".to_owned()] };
    assert_eq!(read(&small_config("gpt2")).unwrap().adapter_parameters(&lora).unwrap(), usize::MAX);

    let mut deep = small_config("llama");
    deep["num_hidden_layers"] = json!(1_u64 << 30);
    let lora = LoraConfig { targets: vec!["q_proj".to_owned()], ..lora };
    let message = read(&deep).unwrap().adapter_parameters(&lora).unwrap_err().to_string();
    assert_eq!(message, "layers: found 1073741824, expected at most 1024");

    // The one layer would take 12 TB, which counting its adapter's 2^20 + 3 * 2^20 numbers does not.
    let mut wide = small_config("gpt2");
    wide["n_embd"] = json!(1 << 20);
    let lora = LoraConfig { rank: 1, targets: vec!["c_attn".to_owned()], ..lora };
    assert_eq!(read(&wide).unwrap().adapter_parameters(&lora).unwrap(), 1 << 22);
}
