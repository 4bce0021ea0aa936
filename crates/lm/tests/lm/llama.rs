//! The configuration of a Llama: keys that files may lack, keys that are refused, sizes.

use std::path::Path;

use lm::architecture::LlamaConfig;
use lm::{Config, Decoder, DecoderConfig, LmError, Stream, files};
use serde_json::{Value, json};

use crate::damaged::{assert_refused, copy_of, edit_json};
use crate::support::{device, fixture, llama, parameters};

fn read(folder: &Path) -> LlamaConfig {
    match files::read_config(&folder.join("config.json")).unwrap() {
        DecoderConfig::Llama(config) => config,
        other => panic!("{other:?}"),
    }
}

fn edit_config(folder: &Path, edit: impl FnOnce(&mut serde_json::Map<String, Value>)) {
    edit_json(folder, "config.json", |config| edit(config.as_object_mut().unwrap()));
}

#[test]
fn keys_that_a_file_lacks_have_the_values_of_transformers() {
    let folder = copy_of("llama/full-tied");
    let written = read(folder.path());
    assert_eq!(written, LlamaConfig { rope_theta: 10_000.0, rms_norm_eps: 1e-6, ..written.clone() });
    edit_config(folder.path(), |config| {
        for key in ["num_key_value_heads", "head_dim", "rms_norm_eps", "rope_theta", "initializer_range"] {
            config.remove(key).unwrap();
        }
    });
    // 3 heads of 8 columns, and as many of keys.
    assert_eq!(read(folder.path()), written);
    // LlamaConfig does not tie unless told to; a tied file lacks the tensor.
    edit_config(folder.path(), |config| drop(config.remove("tie_word_embeddings")));
    assert!(!read(folder.path()).tie_word_embeddings);
    assert_refused(folder.path(), "model.safetensors", &["lm_head.weight", "no such tensor"]);
}

#[test]
fn the_base_of_the_rotation_may_stand_in_rope_parameters() {
    let folder = copy_of("llama/grouped-untied");
    assert_eq!(read(folder.path()).rope_theta, 100_000.0);
    edit_config(folder.path(), |config| {
        config.remove("rope_theta").unwrap();
        config.insert("rope_parameters".to_owned(), json!({ "rope_theta": 5000, "rope_type": "default" }));
    });
    assert_eq!(read(folder.path()).rope_theta, 5000.0);
    edit_config(folder.path(), |config| drop(config.insert("rope_theta".to_owned(), json!(10_000.0))));
    assert_refused(folder.path(), "config.json", &["found rope_theta = 10000.0", "expected 5000"]);
    edit_config(folder.path(), |config| {
        config.insert("rope_parameters".to_owned(), json!({ "rope_type": "llama3" }));
    });
    assert_refused(folder.path(), "config.json", &["found rope_type = \"llama3\"", "expected \"default\""]);
}

#[test]
fn what_is_not_computed_is_refused_by_name() {
    for (key, value, expected) in [
        ("hidden_act", json!("gelu"), "\"silu\""),
        ("attention_bias", json!(true), "false"),
        ("mlp_bias", json!(true), "false"),
        ("rope_scaling", json!({ "rope_type": "linear", "factor": 2.0 }), "null"),
        ("rope_interleaved", json!(true), "false"),
        ("partial_rotary_factor", json!(0.5), "1.0"),
        ("quantization_config", json!({ "quant_method": "gptq" }), "null"),
    ] {
        let folder = copy_of("llama/full-tied");
        edit_config(folder.path(), |config| drop(config.insert(key.to_owned(), value.clone())));
        let parts = [&format!("found {key} = {value}"), &format!("expected {expected}")];
        assert_refused(folder.path(), "config.json", &parts.map(String::as_str));
    }
    let folder = copy_of("llama/full-tied");
    edit_config(folder.path(), |config| {
        config.remove("head_dim").unwrap();
        config.insert("hidden_size".to_owned(), json!(25));
    });
    let parts = ["found hidden_size = 25", "a multiple of num_attention_heads = 3, or a head_dim"];
    assert_refused(folder.path(), "config.json", &parts);
    edit_config(folder.path(), |config| drop(config.remove("intermediate_size")));
    edit_config(folder.path(), |config| drop(config.insert("head_dim".to_owned(), json!(8))));
    assert_refused(folder.path(), "config.json", &["missing field `intermediate_size`"]);
}

#[test]
fn impossible_numbers_are_all_named() {
    let impossible = LlamaConfig {
        vocab_size: 0,
        num_key_value_heads: 3,
        head_dim: 5,
        rope_theta: -1.0,
        ..llama(10, 8, 12, 1)
    };
    let keys: Vec<String> = impossible.problems().into_iter().map(|problem| problem.key).collect();
    assert_eq!(keys, ["vocab_size", "num_key_value_heads", "head_dim", "rope_theta"]);
    assert!(llama(10, 8, 12, 1).problems().is_empty());
}

#[test]
fn impossible_sizes_are_refused_before_anything_is_allocated() {
    for (key, part) in [
        ("num_hidden_layers", "expected those of 1000000000000 layers"),
        ("vocab_size", "expected shape [1000000000000, 24]"),
        ("intermediate_size", "1000000000000"),
    ] {
        let folder = copy_of("llama/full-tied");
        edit_config(folder.path(), |config| {
            config.insert(key.to_owned(), json!(1_000_000_000_000_u64));
        });
        assert_refused(folder.path(), "model.safetensors", &[part]);
    }
    // The longest sequence is a limit and takes no memory.
    let folder = copy_of("llama/full-tied");
    edit_config(folder.path(), |config| {
        config.insert("max_position_embeddings".to_owned(), json!(1_000_000_000_000_u64));
    });
    assert!(files::load_policy(folder.path(), 1.0, &device()).is_ok());
}

#[test]
fn parameters_and_operations_are_counted() -> Result<(), LmError> {
    for tie_word_embeddings in [true, false] {
        let config = LlamaConfig { tie_word_embeddings, ..llama(20, 8, 12, 2) };
        let config = DecoderConfig::Llama(config);
        let model = Decoder::random(&config, Stream::new(1, "test"), &device())?;
        let values = parameters(&model);
        let counted: usize = values.values().map(Vec::len).sum();
        assert_eq!(config.parameters(), counted);
        // 2 per weight of every matrix; the embedding is looked up, and its transpose
        // multiplies if it is tied.
        let multiply: usize = values
            .iter()
            .filter(|(name, _)| !name.contains("norm") && (tie_word_embeddings || !name.contains("embed")))
            .map(|(_, values)| values.len())
            .sum();
        assert_eq!(config.forward_flops_per_token(), 2.0 * multiply as f64);
        assert!(values["model.layers.1.post_attention_layernorm.weight"].iter().all(|&x| x == 1.0));
        let gate = &values["model.layers.0.mlp.gate_proj.weight"];
        let variance = gate.iter().map(|x| x * x).sum::<f32>() / gate.len() as f32;
        assert!((variance.sqrt() - 0.02).abs() < 0.003, "{variance}");
    }
    Ok(())
}

#[test]
fn rows_beyond_the_tokenizers_ids_are_left_out() {
    let (policy, tokenizer) = files::load_policy(&fixture("llama/wide-heads"), 1.0, &device()).unwrap();
    assert_eq!(read(&fixture("llama/wide-heads")).vocab_size, 304);
    assert_eq!((policy.model().shape().vocabulary, tokenizer.vocab_size()), (300, 300));
    assert_eq!(policy.model().head().weight.dims(), [300, 24]);
    // What is written has no such rows either.
    let dir = tempfile::tempdir().unwrap();
    files::save_policy(dir.path(), &policy, &tokenizer, files::Precision::F32).unwrap();
    assert_eq!(read(dir.path()).vocab_size, 300);
    let (again, _) = files::load_policy(dir.path(), 1.0, &device()).unwrap();
    assert_eq!(parameters(&again), parameters(&policy));

    let folder = copy_of("gpt2");
    crate::damaged::edit_tensors(folder.path(), |tensors| {
        let (_, shape, bytes) = tensors.get_mut("transformer.wte.weight").unwrap();
        shape[0] += 4;
        bytes.extend(std::iter::repeat_n(1, 4 * 24 * 4));
    });
    edit_json(folder.path(), "config.json", |config| config["vocab_size"] = json!(304));
    let (padded, _) = files::load_policy(folder.path(), 1.0, &device()).unwrap();
    let (plain, _) = files::load_policy(&fixture("gpt2"), 1.0, &device()).unwrap();
    assert_eq!(parameters(&padded), parameters(&plain));
    assert_eq!(padded.model().config(), plain.model().config());
}
