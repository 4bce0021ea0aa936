//! The configuration of a GPT-J: keys that files may lack, keys that are refused, sizes.

use std::path::Path;

use lm::architecture::GptJConfig;
use lm::{Config, Decoder, DecoderConfig, LmError, Stream, files};
use serde_json::{Map, Value, json};

use crate::damaged::{assert_refused, copy_of, edit_json};
use crate::support::{device, fixture, gptj, parameters};

fn read(folder: &Path) -> GptJConfig {
    match files::read_config(&folder.join("config.json")).unwrap() {
        DecoderConfig::GptJ(config) => config,
        other => panic!("{other:?}"),
    }
}

fn edit_config(folder: &Path, edit: impl FnOnce(&mut Map<String, Value>)) {
    edit_json(folder, "config.json", |config| edit(config.as_object_mut().unwrap()));
}

#[test]
fn keys_that_a_file_lacks_have_the_values_of_transformers() {
    let folder = copy_of("gptj/partial");
    let written = read(folder.path());
    assert_eq!(
        written,
        GptJConfig { n_inner: 128, rotary_dim: 8, layer_norm_epsilon: 1e-5, ..written.clone() }
    );
    edit_config(folder.path(), |config| {
        for key in ["n_inner", "layer_norm_epsilon", "initializer_range", "tie_word_embeddings"] {
            config.remove(key).unwrap();
        }
    });
    assert_eq!(read(folder.path()), written);
    // 64 columns, which the heads of this one have not.
    edit_config(folder.path(), |config| drop(config.remove("rotary_dim")));
    let parts = ["rotary_dim: found 64", "expected an even number of a head's 16 columns"];
    assert_impossible(folder.path(), &parts);
}

/// Sizes that cannot be are problems of the configuration.
#[track_caller]
fn assert_impossible(folder: &Path, parts: &[&str]) {
    let error = files::read_config(&folder.join("config.json")).unwrap_err().to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{error}");
}

#[test]
fn what_is_not_computed_is_refused_by_name() {
    for (key, value, expected) in [
        ("activation_function", json!("gelu"), "\"gelu_new\""),
        ("rotary", json!(false), "true"),
        ("scale_attn_weights", json!(false), "true"),
        ("tie_word_embeddings", json!(true), "false"),
        ("quantization_config", json!({ "quant_method": "bitsandbytes" }), "null"),
        ("rotary_dim", json!(null), "a number of columns of a head"),
    ] {
        let folder = copy_of("gptj/partial");
        edit_config(folder.path(), |config| drop(config.insert(key.to_owned(), value.clone())));
        let parts = [&format!("found {key} = {value}"), &format!("expected {expected}")];
        assert_refused(folder.path(), "config.json", &parts.map(String::as_str));
    }
    let folder = copy_of("gptj/partial");
    edit_config(folder.path(), |config| drop(config.remove("n_head")));
    assert_refused(
        folder.path(),
        "config.json",
        &["missing field `n_head`", "the keys of a GPT-J config.json"],
    );
}

#[test]
fn a_head_without_its_bias_is_refused() {
    let folder = copy_of("gptj/partial");
    crate::damaged::edit_tensors(folder.path(), |tensors| drop(tensors.remove("lm_head.bias").unwrap()));
    let parts = ["lm_head.bias", "no such tensor", "expected shape [300]"];
    assert_refused(folder.path(), "model.safetensors", &parts);
}

#[test]
fn impossible_numbers_are_all_named() {
    let keys = |config: GptJConfig| -> Vec<String> {
        config.problems().into_iter().map(|problem| problem.key).collect()
    };
    let possible = gptj(10, 8, 16, 1);
    assert!(possible.problems().is_empty());
    let impossible = GptJConfig { n_positions: 0, n_head: 5, initializer_range: -1.0, ..possible.clone() };
    assert_eq!(keys(impossible), ["n_positions", "n_head", "rotary_dim", "initializer_range"]);
    assert_eq!(keys(GptJConfig { n_head: 0, ..possible.clone() }), ["n_head"]);
    assert_eq!(keys(GptJConfig { rotary_dim: 0, ..possible.clone() }), ["rotary_dim"]);
    // Odd, and more than a head of 8.
    for rotary_dim in [3, 10] {
        assert_eq!(keys(GptJConfig { rotary_dim, ..possible.clone() }), ["rotary_dim"]);
    }
}

#[test]
fn impossible_sizes_are_refused_before_anything_is_allocated() {
    for (key, part) in [
        ("n_layer", "expected those of 1000000000000 layers"),
        ("vocab_size", "expected shape [1000000000000, 32]"),
        ("n_inner", "1000000000000"),
    ] {
        let folder = copy_of("gptj/partial");
        edit_config(folder.path(), |config| {
            config.insert(key.to_owned(), json!(1_000_000_000_000_u64));
        });
        assert_refused(folder.path(), "model.safetensors", &[part]);
    }
}

#[test]
fn parameters_and_operations_are_counted() -> Result<(), LmError> {
    let config = DecoderConfig::GptJ(gptj(20, 8, 16, 2));
    let model = Decoder::random(&config, Stream::new(1, "test"), &device())?;
    let values = parameters(&model);
    let counted: usize = values.values().map(Vec::len).sum();
    assert_eq!(config.parameters(), counted);
    // 2 per weight of every matrix but the embedding, which is looked up.
    let multiplies =
        |name: &str| name.ends_with("_proj.weight") || name.contains("fc_") || name.contains("lm_head");
    let multiply: usize = values
        .iter()
        .filter(|(name, _)| multiplies(name) && name.ends_with("weight"))
        .map(|(_, values)| values.len())
        .sum();
    assert_eq!(config.forward_flops_per_token(), 2.0 * multiply as f64);
    assert!(values["transformer.h.1.ln_1.weight"].iter().all(|&x| x == 1.0));
    assert!(values["lm_head.bias"].iter().all(|&x| x == 0.0));
    let inner = &values["transformer.h.0.mlp.fc_in.weight"];
    let variance = inner.iter().map(|x| x * x).sum::<f32>() / inner.len() as f32;
    assert!((variance.sqrt() - 0.02).abs() < 0.003, "{variance}");
    Ok(())
}

/// The configuration of EleutherAI/gpt-j-6b, by hand.
#[test]
fn the_real_one_has_six_billion_parameters() {
    let file = json!({
        "model_type": "gptj", "activation_function": "gelu_new", "n_embd": 4096, "n_head": 16, "n_inner": null,
        "n_layer": 28, "n_positions": 2048, "rotary": true, "rotary_dim": 64, "scale_attn_weights": true,
        "layer_norm_epsilon": 1e-5, "initializer_range": 0.02, "tie_word_embeddings": false, "vocab_size": 50400,
        "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0, "gradient_checkpointing": false, "use_cache": true,
    });
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), file.to_string()).unwrap();
    let config = read(folder.path());
    assert!(config.problems().is_empty());
    // A block: q, k, v and out of 4096 x 4096 are 67,108,864; the MLP is 2 x 4096 x 16384 = 134,217,728,
    // with biases of 16384 + 4096; the norm is 2 x 4096. Two tables of 50400 x 4096 = 206,438,400, a bias
    // of 50400, a norm of 8192.
    let block = 67_108_864 + 134_217_728 + 20_480 + 8_192;
    assert_eq!(config.parameters(), 28 * block + 2 * 206_438_400 + 50_400 + 8_192);
    assert_eq!(config.parameters(), 6_050_882_784);
    // 28 x 201,326,592 + 206,438,400 = 5,843,582,976 weights multiply.
    assert_eq!(config.forward_flops_per_token(), 2.0 * 5_843_582_976.0);
}

#[test]
fn rows_and_biases_beyond_the_tokenizers_ids_are_left_out() {
    let folder = fixture("gptj/whole-padded");
    let (policy, tokenizer) = files::load_policy(&folder, 1.0, &device()).unwrap();
    assert_eq!(read(&folder).vocab_size, 304);
    assert_eq!((policy.model().shape().vocabulary, tokenizer.vocab_size()), (300, 300));
    let head = policy.model().head();
    assert_eq!((head.weight.dims(), head.bias.unwrap().dims()), ([300, 24], [300]));
    // What is written has no such rows either.
    let dir = tempfile::tempdir().unwrap();
    files::save_policy(dir.path(), &policy, &tokenizer, files::Precision::F32).unwrap();
    assert_eq!(read(dir.path()).vocab_size, 300);
    let (again, _) = files::load_policy(dir.path(), 1.0, &device()).unwrap();
    assert_eq!(parameters(&again), parameters(&policy));
}
